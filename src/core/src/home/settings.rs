//! SET: what a user wants, on all its devices. The last one wins; it is answered, and told to the other devices, once it is durable.

use alloc::vec::Vec;

use tidings_wire::{
    ConversationId, ErrorCode, Frame, Seq, Timestamp, Uv, WireError,
    frame::{self},
    frames::{Changed, ForgottenRange, Set, Setting, SettingKey, Visibility},
};

use super::{
    Command, Homes, SessionId,
    index::{EntryKey, HomeKey},
    listening::NOWHERE,
    own::{Bound, OWN_RECORD_MAX, Own},
    preferences::Preferences,
    session::Sync,
    upkeep::{HOME_RECORD_MAX, Waiting},
};
use crate::{
    context::{Context, HomeContext},
    counters::Counter,
    ephemeral::Administrator,
    lanes::{Asker, Privacy},
    limits::{OUT_SOFT, REGISTERING_TOKENS},
    records::RecordKind,
};

/// Somebody waits for what it changed in its home to be durable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    home: HomeKey,
    until: Until,
    asker: Asker,
    answer: Answer,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// This version of what the user keeps.
    Version(u32),
    /// This change of the index.
    Change(Uv),
}

/// What is answered then.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    Setting(Setting),
    /// What was added to what the user does not want to see any more, and how often something was then; none: all of it, to who asked.
    Forgotten(ConversationId, Option<(ForgottenRange, u32)>),
    Devices,
    /// The same, after what a revocation ends has ended.
    Revoked,
    /// The same, to an administrator.
    RevokedFor(Administrator),
    /// The list alone, to an administrator.
    DevicesFor(Administrator),
}

impl Homes {
    pub(super) fn on_set<'f>(
        &mut self,
        id: SessionId,
        frame: &Frame<'f>,
        cx: &mut impl HomeContext,
    ) -> Result<Option<Command<'f>>, WireError> {
        let (set, request_id): (Set, _) = (frame.fixed()?, frame.header().request_id);
        let asker = Asker { session: id, request_id };
        let Some(home) = self.sessions.get(id).map(|session| session.home) else { return Ok(None) };
        let done = match set.key {
            SettingKey::BLOCKED => self.block(id, asker, &set, cx),
            _ => self.set(home, asker, set, cx).map(|()| None),
        };
        Ok(done.unwrap_or_else(|code| {
            self.refuse_frame(id, frame, code, cx);
            None
        }))
    }

    fn set(&mut self, home: HomeKey, asker: Asker, set: Set, cx: &mut impl HomeContext) -> Result<(), ErrorCode> {
        let (rate, now) = (self.config.user_rate, cx.now());
        self.index.get_mut(home).bucket.take(rate, now.mono).map_err(|_| ErrorCode::Busy)?;
        let Set { conversation, key, value, .. } = set;
        let (until, value) = match (key, conversation) {
            (SettingKey::READ_PRIVATE | SettingKey::VISIBILITY, ConversationId::NONE) => {
                let set = setting_of_user(key, value).ok_or(ErrorCode::SettingInvalid)?;
                if cx.room() < OWN_RECORD_MAX {
                    return Err(ErrorCode::Busy);
                }
                let state = self.index.get_mut(home);
                state.bucket.owe(REGISTERING_TOKENS); // all of what the user keeps is written
                let own = state.own.get_or_insert_default();
                let before = own.settings;
                own.settings = set(own.settings);
                let unchanged = own.settings == before;
                let until = if unchanged { Until::Version(own.version) } else { self.changed_own(home, cx) };
                if !unchanged && key == SettingKey::VISIBILITY {
                    self.show_presence(home, Changed::visibility_in(before), cx);
                }
                (until, value)
            }
            (SettingKey::READ_PRIVATE | SettingKey::VISIBILITY, _) => return Err(ErrorCode::SettingInvalid),
            (key, conversation) => self.set_preference(home, conversation, (key, value), cx)?,
        };
        self.answer_at(home, until, asker, Answer::Setting(Setting::new(conversation, key, value)), cx);
        Ok(())
    }

    /// The last message of a conversation that a user's home has heard of: of a large group the index does not know it.
    pub(super) fn head_of(&self, entry: EntryKey) -> Seq {
        let known = self.index.entry_at(entry);
        if known.listens_at == NOWHERE { known.head } else { known.head.max(self.head_heard(known.conversation)) }
    }

    /// What a user wants of a conversation, and what it is set to.
    fn set_preference(
        &mut self,
        home: HomeKey,
        conversation: ConversationId,
        (key, value): (SettingKey, u64),
        cx: &mut impl HomeContext,
    ) -> Result<(Until, u64), ErrorCode> {
        let found = self.index.find(home, conversation);
        let known = found.map(|entry| self.index.entry_at(entry));
        let preferences = known.map_or(Preferences::default(), |known| known.preferences.get());
        let head = found.map_or(Seq(u64::MAX), |entry| self.head_of(entry));
        let (preferences, value) = preferences.with(key, value, head)?;
        let entry = found.ok_or(ErrorCode::NotMember)?;
        if cx.room() < HOME_RECORD_MAX {
            return Err(ErrorCode::Busy);
        }
        let change = |entry: &mut super::index::Entry| entry.preferences.set(preferences);
        if self.index.change(home, entry, change) {
            self.mark_dirty(home, cx.now().mono);
            self.flush_home(home, cx);
        }
        Ok((Until::Change(self.index.entry_at(entry).uv), value))
    }

    /// Whether what a user reads is shown to others.
    pub(super) fn privacy(&self, home: HomeKey) -> Privacy {
        let is_private = self.index.get(home).own.as_ref().is_some_and(|own| own.is_private());
        if is_private { Privacy::Private } else { Privacy::Shown }
    }

    /// What a user keeps was changed: it is put into the log, at once if there is room. The caller made sure of that, or does not wait.
    pub(super) fn changed_own(&mut self, home: HomeKey, cx: &mut impl Context) -> Until {
        let own = self.index.get_mut(home).own.get_or_insert_default();
        own.version += 1;
        let version = own.version;
        if cx.room() >= OWN_RECORD_MAX {
            self.write_own(home, cx);
        } else {
            self.unwritten.push_back(home);
        }
        Until::Version(version)
    }

    fn write_own(&mut self, home: HomeKey, cx: &mut impl Context) {
        let state = self.index.get_mut(home);
        let (user, Some(own)) = (state.user, &mut state.own) else { return };
        own.written = own.version;
        let (own, shard): (&Own, _) = (own, self.config.layout.user_shard(&user));
        let at = cx.append(RecordKind::Own, shard, |body| own.write(user, body));
        cx.want_write();
        let (version, settings) = (own.version, own.settings);
        self.waiting[shard as usize].push_back((at, Waiting::Own { home, version, settings }));
    }

    /// Puts what users keep into the log that found no room there.
    pub(super) fn flush_own(&mut self, cx: &mut impl Context) {
        while cx.room() >= OWN_RECORD_MAX
            && let Some(home) = self.unwritten.pop_front()
        {
            if self.index.get(home).own.as_ref().is_some_and(|own| own.written < own.version) {
                self.write_own(home, cx);
            }
        }
    }

    /// Whoever asked is answered once something is durable; it may be already.
    pub(super) fn answer_at(
        &mut self,
        home: HomeKey,
        until: Until,
        asker: Asker,
        answer: Answer,
        cx: &mut impl HomeContext,
    ) {
        let asked = Asked { home, until, asker, answer };
        match until {
            Until::Change(uv) if self.index.get(home).durable >= uv => self.answer(&asked, cx),
            Until::Version(version) if self.index.get(home).own.as_ref().is_none_or(|own| own.durable >= version) => {
                self.answer(&asked, cx);
            }
            _ => self.asked.push(asked),
        }
    }

    /// Something of a home is durable: who waited for it is answered.
    pub(super) fn answer_asked(&mut self, home: HomeKey, reached: Until, cx: &mut impl HomeContext) {
        let covers = |asked: &mut Asked| match (asked.until, reached) {
            (Until::Version(until), Until::Version(reached)) => asked.home == home && until <= reached,
            (Until::Change(until), Until::Change(reached)) => asked.home == home && until <= reached,
            _ => false,
        };
        if self.asked.is_empty() {
            return;
        }
        let due: alloc::vec::Vec<_> = self.asked.extract_if(.., covers).collect();
        due.iter().for_each(|asked| self.answer(asked, cx));
    }

    /// The version of what a user keeps that is not durable yet, if there is one.
    pub(super) fn pending_version(&self, home: HomeKey) -> Option<u32> {
        let own = self.index.get(home).own.as_ref()?;
        (own.durable < own.version).then_some(own.version)
    }

    /// True if a session waits for a list of devices.
    pub(super) fn waits_for_devices(&self, id: SessionId) -> bool {
        self.asked.iter().any(|asked| asked.asker.session == id && matches!(asked.answer, Answer::Devices))
    }

    /// Tells whoever asked and the user's other devices of something that is durable: the frame is written with the asker's request id, or 0.
    fn tell_devices(
        &mut self,
        (home, until, asker): (HomeKey, Until, Asker),
        write: impl Fn(u64, &mut Vec<u8>),
        cx: &mut impl HomeContext,
    ) {
        let mut behind = Vec::new();
        for at in 0..self.index.get(home).sessions.len() {
            let id = self.index.get(home).sessions[at];
            let Some(session) = self.sessions.get(id) else { continue };
            if id == asker.session {
                write(asker.request_id, cx.out(session.conn));
            } else if session.sync == Sync::Live && cx.buffered(session.conn) <= OUT_SOFT {
                write(0, cx.out(session.conn));
            } else if session.sync == Sync::Live {
                behind.push(id);
            }
        }
        // Of whoever does not read, the list tells it.
        let since = match until {
            Until::Change(uv) => Uv(uv.0.saturating_sub(1)),
            Until::Version(_) => self.index.get(home).durable,
        };
        for id in behind {
            if let Some(session) = self.sessions.get_mut(id) {
                session.sync = Sync::Behind(since);
                cx.count(Counter::Behind);
            }
        }
    }

    fn answer(&mut self, asked: &Asked, cx: &mut impl HomeContext) {
        let Asked { home, asker, answer, until } = *asked;
        match answer {
            Answer::Setting(setting) => {
                let write = |request_id, out: &mut Vec<u8>| frame::append(out, request_id, &setting);
                self.tell_devices((home, until, asker), write, cx);
            }
            // What was added since is told once it is durable, too.
            Answer::Forgotten(conversation, None) if self.is_forgetting(home, conversation) => {
                let entry = self.index.find(home, conversation);
                let until = entry.map_or(until, |entry| Until::Change(self.index.entry_at(entry).uv));
                self.asked.push(Asked { until, ..*asked });
            }
            Answer::Forgotten(conversation, None) => {
                let mut bytes = core::mem::take(&mut self.frame_scratch);
                bytes.clear();
                self.write_answer(home, (conversation, None), asker.request_id, &mut bytes);
                let conn = self.sessions.get(asker.session).map(|session| session.conn);
                conn.into_iter().for_each(|conn| cx.out(conn).extend_from_slice(&bytes));
                self.frame_scratch = bytes;
            }
            Answer::Forgotten(conversation, added) => {
                let (mut own, mut others) = (Vec::new(), Vec::new());
                self.write_answer(home, (conversation, added), asker.request_id, &mut own);
                self.write_answer(home, (conversation, added), 0, &mut others);
                let write = |request_id, out: &mut Vec<u8>| {
                    out.extend_from_slice(if request_id == 0 { &others } else { &own });
                };
                self.tell_devices((home, until, asker), write, cx);
            }
            // What was changed since is told once it is durable, too.
            Answer::Devices | Answer::DevicesFor(_) if self.pending_version(home).is_some() => {
                let until = self.pending_version(home).map_or(until, Until::Version);
                self.asked.push(Asked { until, ..*asked });
            }
            Answer::Devices => {
                self.list_devices(asker, cx);
                self.end_asker(asker.session, cx);
            }
            Answer::DevicesFor(administrator) => self.list_to(administrator, Some(home), cx),
            // Whoever is to end does so now, whatever it has changed meanwhile.
            Answer::Revoked => {
                self.end_revoked(home, asker.session, cx);
                self.answer(&Asked { answer: Answer::Devices, ..*asked }, cx);
            }
            Answer::RevokedFor(administrator) => {
                self.end_revoked(home, SessionId::NONE, cx);
                self.answer(&Asked { answer: Answer::DevicesFor(administrator), ..*asked }, cx);
            }
        }
    }
}

/// What a user's settings become with one of them changed; `None`: it has no such value.
fn setting_of_user(key: SettingKey, value: u64) -> Option<impl FnOnce(u32) -> u32> {
    let (bits, of_value) = match (key, value) {
        (SettingKey::READ_PRIVATE, 0) => (Changed::READ_PRIVATE, 0),
        (SettingKey::READ_PRIVATE, 1) => (Changed::READ_PRIVATE, Changed::READ_PRIVATE),
        (SettingKey::VISIBILITY, _) => (Changed::VISIBILITY, Visibility::from_u64(value)? as u32 * 2),
        _ => return None,
    };
    Some(move |settings| settings & !bits | of_value)
}

/// When a token counts as issued that is for one device: revoking another does not touch it.
pub(super) const AGELESS: Timestamp = Timestamp(u64::MAX);

/// When a token counts as issued.
pub(super) fn age(issued: Timestamp, bound: Bound) -> Timestamp {
    match bound {
        Bound::ToDevice => AGELESS,
        Bound::ToNone => issued,
    }
}
