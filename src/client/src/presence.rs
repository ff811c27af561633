//! What people do right now: who is typing, who is there. It may be lost, and is only told while this device is connected.

use tidings_wire::{
    ConversationId, UserId,
    frame::{self, FrameBuilder},
    frames::{self, Activity, Doing, SetActivity, SettingKey, Typing, Visibility, Watch},
};

use crate::{config::Time, event::Event, session::Session};

/// Whom this device watches, and whether somebody looks at it.
#[derive(Debug, Default)]
pub(crate) struct Watching {
    asks: Vec<Ask>,
    activity: Activity,
    /// When the server is told again, since it was too busy for it.
    tell_at: Option<Time>,
}

/// Some of those who are watched: what one WATCH names.
#[derive(Debug)]
struct Ask {
    users: Vec<UserId>,
    group: ConversationId,
    /// The last request for them.
    request: u64,
    /// When they are asked for next.
    at: Time,
}

impl Session {
    /// Says that the user is typing, or what else it is doing, to the others in a conversation: who is connected gets [`Event::Typing`]. To be repeated every four
    /// seconds while it goes on, and ended by [`Doing::NOTHING`]. Without a connection nothing is said.
    pub fn typing(&mut self, conversation: ConversationId, doing: Doing) {
        if self.is_up() {
            frame::append(&mut self.out, 0, &Typing { conversation, user: UserId::NONE, doing });
        }
    }

    /// From now on asks for these users, and all members of these groups, instead of those before: [`Event::Presence`] tells of each now, whenever it
    /// changes, and once a minute. Of those before it may be told for two more minutes.
    pub fn watch(&mut self, users: &[UserId], groups: &[ConversationId]) {
        let ask = |users: &[UserId], group| Ask { users: users.to_vec(), group, request: 0, at: self.now };
        let of_users = users.chunks(Watch::USERS_MAX).map(|users| ask(users, ConversationId::NONE));
        self.watching.asks = of_users.chain(groups.iter().map(|group| ask(&[], *group))).collect();
        self.renew_presence();
    }

    /// Says whether somebody looks at this device. While nobody does it is told the first new message of each conversation, and no typing, presence or receipts of others;
    /// once somebody does it is given what it missed.
    pub fn set_activity(&mut self, activity: Activity) {
        if std::mem::replace(&mut self.watching.activity, activity) != activity && self.is_up() {
            frame::append(&mut self.out, 0, &SetActivity { activity });
            self.ask_all_presence();
        }
    }

    /// Says who is told whether the user is there.
    pub fn set_visibility(&mut self, visibility: Visibility) {
        self.want((ConversationId::NONE, SettingKey::VISIBILITY), visibility as u64);
    }

    /// The server let us in: it takes devices for active.
    pub(crate) fn tell_activity(&mut self) {
        self.watching.tell_at = None;
        let activity = self.watching.activity;
        if activity != Activity::default() {
            frame::append(&mut self.out, 0, &SetActivity { activity });
        }
    }

    /// Asks for everybody who is watched now, whenever it was last.
    pub(crate) fn ask_all_presence(&mut self) {
        self.watching.asks.iter_mut().for_each(|ask| ask.at = self.now);
        self.renew_presence();
    }

    /// When [`Self::renew_presence`] has something to do.
    pub(crate) fn presence_due(&self) -> Option<Time> {
        let asks = self.watching.asks.iter().filter(|_| self.watching.activity == Activity::Active);
        asks.map(|ask| ask.at).chain(self.watching.tell_at).min()
    }

    /// Asks for those whose time it is, and again in a minute.
    pub(crate) fn renew_presence(&mut self) {
        if self.is_up() && self.watching.tell_at.take_if(|at| *at <= self.now).is_some() {
            let activity = self.watching.activity;
            frame::append(&mut self.out, 0, &SetActivity { activity });
        }
        if !self.is_up() || self.watching.activity == Activity::Inactive {
            return;
        }
        for ask in self.watching.asks.iter_mut().filter(|ask| ask.at <= self.now) {
            (ask.request, ask.at) = (self.next_request, self.now.plus_ms(u64::from(Watch::RENEW_S) * 1000));
            self.next_request += 1;
            let mut frame = FrameBuilder::<Watch>::new(&mut self.out);
            let mut users = frame.var(&[]);
            ask.users.iter().for_each(|user| users.len += frame.var(&user.0).len);
            frame.finish(ask.request, &Watch { conversation: ask.group, users });
        }
    }

    /// The server was told too often.
    pub(crate) fn on_activity_refused(&mut self, retry_ms: u64) {
        self.watching.tell_at = Some(self.now.plus_ms(retry_ms.max(1)));
    }

    /// The server takes it later, or never.
    pub(crate) fn on_watch_refused(&mut self, request: u64, retry_ms: u64) {
        let again_ms = if retry_ms == 0 { u64::from(Watch::RENEW_S) * 1000 } else { retry_ms };
        let ask = self.watching.asks.iter_mut().find(|ask| ask.request == request);
        ask.into_iter().for_each(|ask| ask.at = self.now.plus_ms(again_ms));
    }

    pub(crate) fn on_typing(&mut self, typing: &Typing) {
        let Typing { conversation, user, doing } = *typing;
        self.events.push_back(Event::Typing { conversation, user, doing });
    }

    pub(crate) fn on_presence(&mut self, presence: &frames::Presence) {
        let frames::Presence { user, state, last_seen } = *presence;
        self.events.push_back(Event::Presence { user, state, last_seen });
    }
}
