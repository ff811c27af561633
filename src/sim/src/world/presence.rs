//! What users do right now: they type, also where they do not belong, look at their devices or do not, and want to know who is there.

use tidings_client::{Activity, ConversationId, Doing, PresenceState, Seq, Timestamp, UserId, Visibility};

use super::{World, devices::user_id};
use crate::random::MILLION;

/// What a user wants others to be told of it, from the beginning to the end.
pub(super) fn visibility_of(user: usize) -> Visibility {
    match user {
        0 => Visibility::Nobody,
        1 => Visibility::WrittenTo,
        _ => Visibility::Everybody,
    }
}

impl World {
    /// The user of a device does something that is not kept.
    pub(super) fn do_something(&mut self, at: usize, place: usize) {
        let conversation = self.oracle.id(place);
        match self.random.below(100) {
            0..30 => self.session(at).typing(conversation, Doing::TYPING),
            30..35 => self.change_settings(at, place),
            35..45 => {
                if let Some(foreign) = self.foreign_conversation(at) {
                    self.session(at).typing(foreign, Doing::TYPING);
                }
            }
            45..75 => {
                let (users, groups) = self.some_to_watch(at);
                self.session(at).watch(&users, &groups);
            }
            75..85 => self.session(at).set_activity(Activity::Inactive),
            _ => self.session(at).set_activity(Activity::Active),
        }
    }

    fn session(&mut self, at: usize) -> &mut tidings_client::Session {
        self.devices[at].session.as_mut().expect("it is in hand")
    }

    /// A conversation of two others.
    pub(super) fn foreign_conversation(&self, at: usize) -> Option<ConversationId> {
        let user = self.devices[at].user;
        let others: Vec<_> = (0..self.plan.users).filter(|other| *other != user).collect();
        let [first, .., last] = others[..] else { return None };
        Some(ConversationId::direct(user_id(first), user_id(last)))
    }

    fn some_to_watch(&mut self, at: usize) -> (Vec<UserId>, Vec<ConversationId>) {
        let Self { devices, random, plan, .. } = self;
        let user = devices[at].user;
        let others = (0..plan.users).filter(|other| *other != user);
        let users = others.filter(|_| random.chance(2 * MILLION / 3)).map(user_id).collect();
        let groups = devices[at].chats.iter().map(|(place, _)| self.oracle.id(*place)).filter(|id| id.is_group());
        (users, groups.collect())
    }

    /// A device is let in: it says what its user wants others to be told.
    pub(super) fn want_visibility(&mut self, at: usize) {
        self.devices[at].presence.clear();
        let visibility = visibility_of(self.devices[at].user);
        if self.plan.is_ephemeral && visibility != Visibility::Everybody && !self.devices[at].wants_visibility {
            self.devices[at].wants_visibility = true;
            self.session(at).set_visibility(visibility);
        }
    }

    /// A connection of a device begins.
    pub(super) fn note_beginning(&mut self, at: usize) {
        let heads = self.devices[at].chats.iter().map(|(place, _)| (*place, self.oracle.head(*place))).collect();
        (self.devices[at].began, self.devices[at].heads) = (self.now, heads);
    }

    pub(super) fn on_typing(&mut self, at: usize, conversation: ConversationId, other: UserId) {
        self.stats.typings += 1;
        let place = self.oracle.place(conversation);
        let since = place.and_then(|place| self.devices[at].heads.get(&place).copied()).unwrap_or(Seq(0));
        self.oracle.hears_typing(at, user_id(self.devices[at].user), place, (other, since));
    }

    pub(super) fn on_presence(&mut self, at: usize, other: UserId, state: PresenceState, last_seen: Timestamp) {
        self.stats.presences += 1;
        let device = &mut self.devices[at];
        device.presence.insert(other, state);
        let (user, began) = (user_id(device.user), device.began);
        self.oracle.hears_presence(at, user, began, (other, state));
        if state != PresenceState::Offline && last_seen != Timestamp(0) {
            self.oracle.violate("I20", format!("device {at} is told when {other:?} was there last, and {state:?}"));
        }
    }

    /// Everybody watches everybody; of one user nobody looks at its devices.
    pub(super) fn watch_all(&mut self) {
        let away = self.random.below(self.plan.users as u64) as usize;
        for at in 0..self.devices.len() {
            let user = self.devices[at].user;
            let others: Vec<_> = (0..self.plan.users).filter(|other| *other != user).map(user_id).collect();
            let activity = if user == away { Activity::Inactive } else { Activity::Active };
            if let Some(session) = &mut self.devices[at].session {
                session.set_activity(activity);
                session.watch(&others, &[]);
                self.drive(at);
            }
        }
        self.away = Some(away);
    }

    /// Somebody looks at all devices again.
    pub(super) fn all_active(&mut self) {
        self.away = None;
        for at in 0..self.devices.len() {
            if let Some(session) = &mut self.devices[at].session {
                session.set_activity(Activity::Active);
                self.drive(at);
            }
        }
    }

    /// What a device was told wrongly of who is there, in words.
    pub(super) fn mistaken(&self, at: usize) -> Option<String> {
        let (device, away) = (&self.devices[at], self.away?);
        if device.user == away {
            return None;
        }
        let others = (0..self.plan.users).filter(|other| *other != device.user);
        others.into_iter().find_map(|other| {
            let due = self.oracle.due_presence(user_id(device.user), user_id(other), other != away);
            let told = device.presence.get(&user_id(other)).copied();
            (told != Some(due)).then(|| format!("device {at} is told {told:?} of user {other}, and not {due:?}"))
        })
    }
}
