//! What may be lost: that somebody is typing, and who is there. It goes over lanes of its own that nobody waits for
//! (`mesh/lossy.rs`), in all directions: from homes to conversations, which know who is with whom, from those to homes, and from home to
//! home. What finds no room, or whose entity is not in memory, is dropped and counted; what matters is said again by whoever asked.

use alloc::{collections::VecDeque, vec::Vec};

use tidings_wire::{
    ConversationId, DeviceId, Seq, Timestamp, UserId,
    frames::{Doing, PresenceState},
};

use crate::{
    context::Context, effects::ReactorId, home::SessionId, lanes::Asker, placement::Layout, residency::Entity,
};

/// A message that may be lost.
#[derive(Clone, Copy, Debug)]
pub enum Ephemeral {
    /// To a conversation: a member is doing something.
    Typing(Typing),
    /// To homes on a reactor: the same, for the users whose ids are the payload.
    Typed(Typing),
    /// To a group: somebody wants to know which of its members are there.
    WatchMembers {
        /// The group.
        conversation: ConversationId,
        /// Who.
        watcher: Watcher,
    },
    /// To a conversation: more of what a message says that is being written, which is the payload.
    Fragment(Fragment),
    /// To a conversation: what does such a message say from an offset on?
    More {
        /// Who wants to know.
        reader: Reader,
        /// How much it has.
        offset: u32,
    },
    /// To homes on a reactor: the same, for the users whose ids the payload begins with.
    Grown {
        /// Where.
        conversation: ConversationId,
        /// The message.
        seq: Seq,
        /// How many bytes it said before.
        offset: u32,
        /// Who writes it.
        writer: UserId,
        /// On which device, which knows what it wrote.
        device: DeviceId,
        /// How many users.
        members: u16,
    },
    /// To the home's own reactor: a session wants to know whether the users are there whose ids are the payload.
    Watches {
        /// Who.
        watcher: Watcher,
    },
    /// To the one-to-one conversations on a reactor: somebody wants to know whether the users are there whose ids are the payload.
    Watch {
        /// Who.
        watcher: Watcher,
    },
    /// To a home: somebody wants to know whether its user is there.
    Watched {
        /// The user.
        user: UserId,
        /// Who.
        watcher: Watcher,
        /// What is between the two.
        relation: Relation,
    },
    /// To a home: an administrator wants to know which devices its user has, or lets them in no more.
    Administer {
        /// The user.
        user: UserId,
        /// Who.
        administrator: Administrator,
        /// What.
        act: Act,
    },
    /// To a session: the answer, a frame, which is the payload.
    Administered {
        /// Whose.
        session: SessionId,
    },
    /// To sessions on a reactor, whose numbers are the payload: whether a user is there.
    Presence {
        /// The user.
        user: UserId,
        /// Whether.
        state: PresenceState,
        /// When it was there last; 0: it is, or that is not known.
        last_seen: Timestamp,
    },
}

/// A member of a conversation is doing something.
#[derive(Clone, Copy, Debug)]
pub struct Typing {
    /// The conversation.
    pub conversation: ConversationId,
    /// The member.
    pub user: UserId,
    /// What.
    pub doing: Doing,
}

/// A device, and a message that is being written.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    /// Who asks.
    pub asker: Asker,
    /// On which reactor it is.
    pub reactor: ReactorId,
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// Where.
    pub conversation: ConversationId,
    /// The message.
    pub seq: Seq,
}

/// More of what a message says.
#[derive(Clone, Copy, Debug)]
pub struct Fragment {
    /// Who writes it.
    pub reader: Reader,
    /// How many bytes it said before.
    pub offset: u32,
}

/// Who wants to know whether somebody is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watcher {
    /// The user.
    pub user: UserId,
    /// Where its session is.
    pub reactor: ReactorId,
    /// The session.
    pub session: SessionId,
}

/// A session whose token lets it administer its tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Administrator {
    /// What it asked with.
    pub asker: Asker,
    /// Where its session is.
    pub reactor: ReactorId,
}

impl Administrator {
    /// What brings it an answer.
    pub fn answered(self) -> Ephemeral {
        Ephemeral::Administered { session: self.asker.session }
    }
}

/// What is asked about devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Which there are.
    List,
    /// To let some in no more.
    Revoke(Which),
}

/// Which devices are let in no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// One.
    One(DeviceId),
    /// All, but for the one that asks.
    All,
}

/// What is between a user and somebody who wants to know whether it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The user has not written to it.
    Stranger,
    /// It has, one to one.
    WrittenTo,
    /// It blocks it, as its home knows.
    Blocked,
}

impl Ephemeral {
    /// What must be in memory for it; `None`: nothing, or several, of which each is looked for.
    pub fn entity(&self) -> Option<Entity> {
        match self {
            Self::Typing(Typing { conversation, .. })
            | Self::WatchMembers { conversation, .. }
            | Self::Fragment(Fragment { reader: Reader { conversation, .. }, .. })
            | Self::More { reader: Reader { conversation, .. }, .. } => Some(Entity::Conversation(*conversation)),
            Self::Watched { user, .. } | Self::Administer { user, .. } => Some(Entity::Home(*user)),
            // Who has a session has a home in memory.
            Self::Typed(_)
            | Self::Grown { .. }
            | Self::Watches { .. }
            | Self::Watch { .. }
            | Self::Administered { .. }
            | Self::Presence { .. } => None,
        }
    }
}

/// The users whose ids are a payload.
pub(crate) fn ids(payload: &[u8]) -> impl Iterator<Item = UserId> + '_ {
    payload.as_chunks().0.iter().map(|id| UserId(*id))
}

/// Sends the same to each of these reactors, once, with the ids that are for it.
pub(crate) fn spread<const N: usize>(mut to: Vec<(ReactorId, [u8; N])>, message: Ephemeral, cx: &mut impl Context) {
    to.sort_unstable();
    for of_one in to.chunk_by(|one, other| one.0 == other.0) {
        let payload: Vec<u8> = of_one.iter().flat_map(|(_, id)| *id).collect();
        cx.ephemeral(of_one[0].0, message, &payload);
    }
}

/// Sends the same to each of these reactors, once: the ids of users that are for it, and then `bytes`.
pub(crate) fn spread_over(
    mut to: Vec<(ReactorId, [u8; 16])>,
    bytes: &[u8],
    cx: &mut impl Context,
    message: impl Fn(u16) -> Ephemeral,
) {
    to.sort_unstable();
    for of_one in to.chunk_by(|one, other| one.0 == other.0) {
        let ids = of_one.iter().flat_map(|(_, id)| *id);
        let payload: Vec<u8> = ids.chain(bytes.iter().copied()).collect();
        // Those who are told of everything are few.
        cx.ephemeral(of_one[0].0, message(u16::try_from(of_one.len()).unwrap_or(u16::MAX)), &payload);
    }
}

/// Asks the one-to-one conversations of somebody with these users what is between the two.
pub(crate) fn watch(watcher: Watcher, users: impl Iterator<Item = UserId>, layout: Layout, cx: &mut impl Context) {
    let between = |user: UserId| ConversationId::direct(watcher.user, user);
    let to = users.map(|user| (layout.conversation(&between(user)), user.0));
    spread(to.collect(), Ephemeral::Watch { watcher }, cx);
}

/// What a message costs, in users that it is about; those to a group look at all of its members.
pub(crate) fn cost(message: &Ephemeral, payload: &[u8]) -> usize {
    match message {
        Ephemeral::Typing(_) | Ephemeral::WatchMembers { .. } | Ephemeral::Fragment(_) | Ephemeral::More { .. } => {
            MEMBERS_COST
        }
        Ephemeral::Grown { members, .. } => 1 + usize::from(*members),
        _ => 1 + payload.len() / size_of::<UserId>(),
    }
}

/// See [`cost`].
const MEMBERS_COST: usize = 64;

/// What goes from one half of a reactor to the other, or the same one, in the next turn.
#[derive(Debug, Default)]
pub(crate) struct Passing(VecDeque<(Ephemeral, Vec<u8>)>);

/// How many wait at most; more are dropped.
const PASSING_MAX: usize = 1024;

impl Passing {
    /// Takes one in; false if it is dropped.
    pub(crate) fn push(&mut self, message: Ephemeral, payload: &[u8]) -> bool {
        let fits = self.0.len() < PASSING_MAX;
        if fits {
            self.0.push_back((message, payload.to_vec()));
        }
        fits
    }

    /// True if there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next.
    pub(crate) fn pop(&mut self) -> Option<(Ephemeral, Vec<u8>)> {
        self.0.pop_front()
    }
}
