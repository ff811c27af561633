//! Who blocks whom: from the log alone.

use std::collections::{BTreeMap, BTreeSet};

use tidings_client::{ConversationId, Message, Seq, UserId, Watermarks};
use tidings_core::records::BlockRecord;
use tidings_wire::archive;

use super::{DeviceAt, Oracle};

/// Who blocks whom in all one-to-one conversations.
#[derive(Debug, Default)]
pub struct Blocks {
    /// How often each began or ceased to, and what the other one is shown of it as delivered and read while it blocks it.
    of: BTreeMap<(ConversationId, UserId), (u32, Seq, Seq)>,
    withheld: BTreeSet<(ConversationId, Seq)>,
    /// Who was ever blocked by somebody.
    blocked: BTreeSet<UserId>,
}

impl Blocks {
    /// The next record of it, of a member that is shown to have so much.
    ///
    /// # Errors
    /// Why that cannot be.
    pub fn add(&mut self, body: &[u8], shown: impl Fn(ConversationId, UserId) -> (Seq, Seq)) -> Result<(), String> {
        let record: BlockRecord = archive::read(body).map_err(|error| error.to_string())?;
        let BlockRecord { conversation, user, peer, blocking, delivered, read, .. } = record;
        let before = self.of.get(&(conversation, user)).map_or(0, |(count, ..)| *count);
        if blocking.0 != before + 1 {
            return Err(format!("{user} blocks or does not for the {}th time after the {before}th", blocking.0));
        }
        let true_one = shown(conversation, user);
        if (delivered, read) != true_one {
            return Err(format!("whom {user} blocks is shown {delivered:?} and {read:?}; logged is {true_one:?}"));
        }
        self.blocked.insert(peer);
        self.of.insert((conversation, user), (blocking.0, delivered, read));
        Ok(())
    }

    /// What whom a user blocks is shown of it; `None`: it does not block it.
    pub fn shown(&self, conversation: ConversationId, user: UserId) -> Option<(Seq, Seq)> {
        let (count, delivered, read) = *self.of.get(&(conversation, user))?;
        (count % 2 == 1).then_some((delivered, read))
    }

    /// The next message, to this user, which may end another one: true if it is withheld from it.
    pub fn withhold(&mut self, (conversation, seq): (ConversationId, Seq), to: UserId, ends: Option<Seq>) -> bool {
        let ends_withheld = ends.is_some_and(|target| self.is_withheld(conversation, target));
        let withheld = ends_withheld || self.shown(conversation, to).is_some();
        if withheld {
            self.withheld.insert((conversation, seq));
        }
        withheld
    }

    /// True if somebody blocks a user, or did.
    pub fn was_blocked(&self, user: UserId) -> bool {
        self.blocked.contains(&user)
    }

    /// True if a message is withheld from who did not write it.
    pub fn is_withheld(&self, conversation: ConversationId, seq: Seq) -> bool {
        self.withheld.contains(&(conversation, seq))
    }
}

impl Oracle {
    /// Checks whether a message that a device was given is withheld from its user, as it must or must not be. True if it is.
    pub(super) fn check_withheld(&mut self, device: DeviceAt, user: UserId, message: &Message) -> bool {
        let (id, seq) = (message.conversation, message.seq);
        let withheld = self.durable.blocks.is_withheld(id, seq) && message.sender != user;
        let says_so = message.is_withheld() && message.is_emptied() && message.control.0 == 0;
        let nothing = message.body.is_empty() && message.payload.is_empty();
        self.check(if withheld { says_so && nothing } else { !message.is_withheld() }, "I21", || {
            format!("device {device} is given {seq:?} of {id}, withheld {says_so}, and should be {withheld}")
        });
        withheld
    }

    /// Checks that a device is shown of somebody who blocks its user no more than when that began.
    pub(super) fn check_frozen(&mut self, device: DeviceAt, (at, member): (usize, usize), peers: Watermarks) {
        let conversation = &self.conversations[at];
        let peer = conversation.members.get(1 - member.min(1)).copied();
        let frozen = peer.and_then(|peer| self.durable.blocks.shown(conversation.id, peer));
        let more = frozen.is_some_and(|(delivered, read)| peers.delivered > delivered || peers.read > read);
        self.check(!more, "I21", || {
            format!("device {device} is shown {peers:?} in conversation {at} of who blocks it from {frozen:?} on")
        });
    }
}
