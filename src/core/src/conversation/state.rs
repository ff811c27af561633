//! The committed state of a conversation: a function of its records, and of nothing else. A commit, recovery and (later) a follower
//! change it by the same [`State::apply_message`] and [`receipt::apply`](crate::features::receipt::apply).

use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};

use tidings_canary::{self as canary, Canary};
use tidings_wire::{ClientMsgId, ConversationId, DeviceId, Seq, Timestamp, UserId, frames::Control};

use super::{
    changes::{Change, Changes},
    dedup::DeviceAttempts,
    erasures::{Erasure, Erasures},
    members::Members,
    membership::Membership,
    view::View,
};
use crate::{
    digest::Digest,
    features::{self, Act, Row, Seen, Weight},
};

/// Recovery read a record that cannot follow what it read before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayError {
    /// A record's body is not what its kind says.
    Body,
    /// A record of a kind that this node cannot have written.
    Kind,
    /// A message's number does not follow the one before.
    Jump {
        /// Where.
        conversation: ConversationId,
        /// The number before.
        head: Seq,
        /// The number found.
        found: Seq,
    },
}

impl core::fmt::Display for ReplayError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Body => f.write_str("a record's body is invalid"),
            Self::Kind => f.write_str("a record is of a kind that is not understood here"),
            Self::Jump { conversation, head, found } => {
                write!(f, "conversation {conversation} jumps from {head} to {found}")
            }
        }
    }
}

impl core::error::Error for ReplayError {}

/// What a message's record says that changes the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MessageFact {
    /// Its number.
    pub(crate) seq: Seq,
    /// Its time.
    pub(crate) ts: Timestamp,
    /// Who sent it.
    pub(crate) sender: UserId,
    /// The sender's place among the members.
    pub(crate) member: u32,
    /// The device that it was written on.
    pub(crate) device: DeviceId,
    /// The device's attempt.
    pub(crate) client_msg_id: ClientMsgId,
    /// What it does.
    pub(crate) control: Control,
    /// The message that it is about.
    pub(crate) target: Seq,
    /// Whether it has content.
    pub(crate) weight: Weight,
    /// Messages with content up to and including it.
    pub(crate) ordinal: u64,
    /// What the conversation is with it.
    pub(crate) size: Size,
    /// When it disappears; 0: never.
    pub(crate) expires_at: Timestamp,
}

/// Whether a conversation is told to the homes of all its members, or only where somebody listens. One that became large stays so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Size {
    #[default]
    Small = 0,
    Large = 1,
}

/// What features keep of a conversation, each its own bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings(BTreeMap<Control, Box<[u8]>>);

impl Settings {
    /// What one of them keeps; empty if it keeps nothing.
    pub(crate) fn get(&self, control: Control) -> &[u8] {
        self.0.get(&control).map_or(&[], |kept| kept)
    }

    /// True if none keeps anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One of them keeps something else.
    pub(crate) fn set(&mut self, control: Control, kept: &[u8]) {
        if kept.is_empty() {
            self.0.remove(&control);
        } else {
            self.0.insert(control, kept.into());
        }
    }

    /// All of them, by their numbers.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (Control, &[u8])> {
        self.0.iter().map(|(control, kept)| (*control, &**kept))
    }
}

/// What a message changes in a conversation that looks like this.
pub(crate) fn changes_of(
    features: &'static [Row],
    id: ConversationId,
    view: &View<'_>,
    fact: &MessageFact,
    body: &[u8],
) -> Changes {
    let mut changes = Changes::default();
    // What a later version of the server knew is kept as a message, and changes nothing here.
    if fact.control != Control::TEXT
        && let Some(row) = features::find(features, fact.control)
    {
        let seen = Seen::new(*view, (id, fact.sender), fact.control);
        let act = Act { seq: fact.seq, ordinal: fact.ordinal, target: fact.target, body };
        row.feature.apply(&seen, &act, &mut changes);
    }
    changes
}

/// The state.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// Who is in it.
    pub(crate) members: Members,
    /// The last message.
    pub(crate) head: Seq,
    /// The last message's time.
    pub(crate) last_ts: Timestamp,
    /// Messages with content.
    pub(crate) ordinal: u64,
    /// What features keep.
    pub(crate) settings: Settings,
    /// What was withdrawn.
    pub(crate) erasures: Erasures,
    /// Whether it is large.
    pub(crate) size: Size,
}

impl State {
    /// A one-to-one conversation without messages.
    pub(crate) fn direct(a: UserId, b: UserId) -> Self {
        Self { members: Members::pair(a, b), ..Self::default() }
    }

    /// A group before its first message, which makes it: its creator may write that.
    pub(crate) fn group(creator: UserId) -> Self {
        let mut state = Self::default();
        state.members.entry(creator, Membership::default);
        state
    }

    /// Which member a user is.
    pub(crate) fn member(&self, user: UserId) -> Option<usize> {
        self.members.find(user)
    }

    /// The attempts of a device that is remembered.
    pub(crate) fn attempts(&self, member: u32, device: DeviceId) -> Option<&DeviceAttempts> {
        self.members[member as usize].attempts(device)
    }

    /// The next message, and what it does: gives the places of those whose membership it changed. `features` are those of the server.
    ///
    /// # Panics
    /// If it is not the next one: numbers have no gaps.
    pub(crate) fn apply_message(
        &mut self,
        (features, id): (&'static [Row], ConversationId),
        fact: &MessageFact,
        body: &[u8],
    ) -> Vec<usize> {
        assert_eq!(fact.seq, self.head.next(), "numbers have no gaps");
        // Whoever joins by itself is its message's sender before it is a member.
        if fact.member as usize == self.members.len() {
            self.members.entry(fact.sender, Membership::default);
        }
        assert_eq!(self.members[fact.member as usize].user, fact.sender, "a member keeps its place");
        let changes = changes_of(features, id, &View { state: self, overlay: None }, fact, body);
        (self.head, self.last_ts, self.ordinal) = (fact.seq, fact.ts, fact.ordinal);
        self.size = self.size.max(fact.size);
        self.remember(fact);
        let mut touched = Vec::new();
        if changes.is_empty() {
            return touched; // as of most: text
        }
        for change in changes.into_iter() {
            match change {
                Change::Keep(control, kept) => self.settings.set(control, &kept),
                Change::Member(user, membership) => {
                    let at = self.members.entry(user, Membership::default);
                    let member = &mut self.members[at];
                    if membership.joined == fact.seq && !canary::is(Canary::JoinedUnread) {
                        member.has_seen(fact.ordinal);
                    }
                    self.members.set_membership(at, membership);
                    touched.push(at);
                }
                Change::Erase(target) => self.erasures.add(Erasure { target, by: fact.seq }),
            }
        }
        touched
    }

    /// Remembers the attempt that a message was, and that who wrote it has seen what was there.
    pub(crate) fn remember(&mut self, fact: &MessageFact) {
        let member = &mut self.members[fact.member as usize];
        member.remember(fact.device, fact.client_msg_id, fact.seq);
        if fact.weight == Weight::Content && !canary::is(Canary::OwnUnread) {
            member.has_seen(fact.ordinal);
        }
    }

    /// Recovery goes on after messages that are not there: retention dropped them, and rows will say the rest.
    pub(crate) fn skip_to(&mut self, head: Seq) {
        self.head = head;
    }

    /// Adds all of it to a digest.
    pub(crate) fn digest(&self, digest: &mut Digest) {
        digest.words(&[self.head.0, self.last_ts.0, self.ordinal, self.size as u64, self.erasures.history()]);
        for (control, kept) in self.settings.iter() {
            digest.word(u64::from(control.0));
            digest.bytes(kept);
        }
        self.members.digest(digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        features::FEATURES,
        lanes::Watermarks,
        records::{MemberRow, take},
    };

    #[test]
    fn what_is_written_reads_back_to_the_same_digest_in_any_order() {
        let mut state = State::direct(UserId([1; 16]), UserId([2; 16]));
        for at in 1..=40 {
            let (seq, device, client_msg_id) = (Seq(at), DeviceId((at % 36) as u32), ClientMsgId(at * 10));
            let member = (at % 5 == 0).into();
            let (ts, control, target, ordinal, weight) = (Timestamp(at), Control::TEXT, Seq(0), at, Weight::Content);
            let sender = UserId([1 + member as u8; 16]);
            let (size, expires_at) = (Size::Small, Timestamp(0));
            let fact = MessageFact {
                seq,
                ts,
                sender,
                member,
                device,
                client_msg_id,
                control,
                target,
                weight,
                ordinal,
                size,
                expires_at,
            };
            state.apply_message((FEATURES, ConversationId([5; 16])), &fact, &[]);
        }
        state.members[1].marks.raise_to(Watermarks { delivered: Seq(7), read: Seq(3), shown: Seq(2), seen: 41 });
        let mut again = State { head: state.head, last_ts: state.last_ts, ordinal: state.ordinal, ..State::default() };
        for member in [1, 0] {
            let mut body = Vec::new();
            state.members[member].write(ConversationId([5; 16]), &mut body);
            let mut rest = &body[..];
            let row: MemberRow = take(&mut rest).unwrap();
            let at = again.members.entry(row.user, Membership::of_two);
            again.members.read(at, &row, &mut rest).unwrap();
            assert!(rest.is_empty());
        }
        let digest = |state: &State| {
            let mut digest = Digest::default();
            state.digest(&mut digest);
            digest.value()
        };
        assert_eq!(digest(&again), digest(&state));
        state.members[1].marks.raise_to(Watermarks { delivered: Seq(7), read: Seq(3), shown: Seq(2), seen: 42 });
        assert_ne!(digest(&again), digest(&state));
    }
}
