//! Sessions: who is connected to this reactor. Live state in memory only; losing it costs a reconnect, never a message.

use alloc::{boxed::Box, vec::Vec};
use core::num::NonZeroU32;

use tidings_canary::{self as canary, Canary};
use tidings_wire::{
    ConversationId, DeviceId, Timestamp, UserId, Uv,
    frames::{Activity, Message},
};

use super::{
    authentication::Scope,
    index::{EntryKey, HomeKey},
    retry::{Pushes, Unacknowledged},
};
use crate::{
    budget::Network,
    effects::ConnId,
    emptied::unpacked,
    limits::RUNG_MAX,
    slab::{Key, Slab},
};

/// A session of one reactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub Key);

impl SessionId {
    /// No session.
    pub const NONE: Self = Self(Key::NONE);
}

/// How far a session's device is with what its home knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// It has not resumed: it gets answers, and nothing is pushed.
    Fresh,
    /// It has resumed: it is pushed what is new.
    Live,
    /// Nobody looks at it: it is pushed the first that is new in each conversation, and gets the list of what changed after this once somebody
    /// does.
    Dozing(Uv),
    /// Something newer than this change could not be pushed: it gets the list of changes once its output is gone.
    Behind(Uv),
}

impl Sync {
    /// It is told what is newer than this change, too, if it is told anything.
    pub fn back_to(self, since: Uv) -> Self {
        match self {
            Self::Fresh => Self::Fresh,
            Self::Live => Self::Behind(since),
            Self::Dozing(upto) => Self::Dozing(upto.min(since)),
            Self::Behind(from) => Self::Behind(from.min(since)),
        }
    }
}

/// Lists of what changed that a session is being told page by page. What changes meanwhile may move from a later page to before the first, and what is
/// pushed of it says all of it only if it is a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// What had changed when the first of them began.
    since: Uv,
    /// How many have begun and not ended.
    open: u8,
}

impl Lists {
    /// One begins, with what has changed up to now.
    pub fn begin(&mut self, upto: Uv) {
        self.since = if self.open == 0 { upto } else { self.since.min(upto) };
        self.open = self.open.saturating_add(1);
    }

    /// The last page of one was told. What had changed when it began at the latest; `None` if none is known to have begun.
    pub fn end(&mut self) -> Option<Uv> {
        self.open = self.open.checked_sub(1)?;
        Some(self.since)
    }
}

/// A live session.
#[derive(Debug)]
pub struct Session {
    /// Its connection.
    pub conn: ConnId,
    /// The home of its user.
    pub home: HomeKey,
    /// Its user.
    pub user: UserId,
    /// Its device.
    pub device: DeviceId,
    /// Where it connects from.
    pub network: Network,
    /// The number of the device's connection.
    pub connection_number: u64,
    /// SENDs that are not answered.
    pub in_flight: u16,
    /// FETCHes that are not answered.
    pub fetches: u8,
    /// How far its device is.
    pub sync: Sync,
    /// The second in which it ends with its token, if it does.
    pub ends: Option<NonZeroU32>,
    /// Whether it acknowledges what is pushed.
    pub pushes: Pushes,
    /// How it takes packed payloads.
    pub payloads: Payloads,
    /// What it has not acknowledged.
    pub unacknowledged: Unacknowledged,
    /// When its token was issued; [`AGELESS`](super::settings::AGELESS) of one that is good for this device only.
    pub issued: Timestamp,
    /// Whether somebody looks at it.
    pub activity: Activity,
    /// Conversations of which it was pushed something since nobody looks; most are looked at.
    #[allow(clippy::box_collection, reason = "one word in each session")]
    pub rung: Option<Box<Vec<ConversationId>>>,
    /// The entry of the one-to-one conversation that it last sent a SEND or a receipt to: what comes next is mostly of the same one.
    pub entry: EntryKey,
    /// What its token lets it do.
    pub scope: Scope,
    /// It is to end once the revocation of its device is durable.
    pub revoked: bool,
    /// It asks for what changed, and waits for a turn that answers.
    pub resuming: bool,
    /// The lists of what changed that it is being told page by page.
    pub lists: Lists,
    /// Its token has ended: nothing more is taken, and it ends once its SENDs are answered.
    pub ending: bool,
}

impl Session {
    /// True if its user is there: the device has resumed, and somebody looks at it.
    pub fn is_there(&self) -> bool {
        self.sync != Sync::Fresh && self.activity == Activity::Active
    }

    /// True the first time since nobody looks, of each conversation; of the oldest again where there are many.
    pub fn rings(&mut self, conversation: ConversationId) -> bool {
        let rung = self.rung.get_or_insert_default();
        let rings = !rung.contains(&conversation);
        if rings {
            if rung.len() == RUNG_MAX {
                rung.remove(0);
            }
            rung.push(conversation);
        }
        rings
    }
}

/// How a device takes payloads that whoever wrote them has packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payloads {
    /// As they are.
    AsTheyAre,
    /// Unpacked.
    Unpacked,
}

impl Payloads {
    /// A frame as such a device takes it, which for those that do not unpack is put together once, in `plain`.
    #[inline]
    pub fn of<'f>(self, frame: &'f [u8], plain: &'f mut Vec<u8>) -> &'f [u8] {
        if !Message::says_packed(frame) || self == Self::AsTheyAre || canary::is(Canary::PackedToAll) {
            return frame;
        }
        unpack_once(frame, plain)
    }
}

#[cold]
fn unpack_once<'f>(frame: &'f [u8], plain: &'f mut Vec<u8>) -> &'f [u8] {
    if plain.is_empty() {
        // What cannot be unpacked was never taken.
        *plain = unpacked(frame).unwrap_or_else(|| frame.to_vec());
    }
    plain
}

/// The sessions of a reactor.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    sessions: Slab<Session>,
}

impl Sessions {
    /// Takes a session in.
    pub fn open(&mut self, session: Session) -> SessionId {
        SessionId(self.sessions.insert(session))
    }

    /// Lets it go.
    pub fn close(&mut self, id: SessionId) -> Option<Session> {
        self.sessions.remove(id.0)
    }

    /// A session, if it still lives.
    pub fn get(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(id.0)
    }

    /// A session, if it still lives.
    pub fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.get_mut(id.0)
    }
}
