//! What users do not want to see any more: what they asked for, what is durable of it, and what devices were told.

use std::collections::{BTreeMap, BTreeSet};

use tidings_client::{ConversationId, Seq, UserId};
use tidings_core::records::{ForgottenRecord, take};
use tidings_wire::frames::ForgottenRange;

use super::{Given, Oracle};

/// What each user has forgotten of each conversation.
#[derive(Debug, Default)]
pub struct Forgotten {
    of: BTreeMap<(UserId, ConversationId), BTreeSet<Seq>>,
}

impl Forgotten {
    /// The next record of it.
    ///
    /// # Errors
    /// Why that cannot be.
    pub fn add(&mut self, mut body: &[u8]) -> Result<(), String> {
        let record: ForgottenRecord = take(&mut body).map_err(|error| error.to_string())?;
        let ForgottenRange { first, last } = take(&mut body).map_err(|error| error.to_string())?;
        if record.count != 1 || first > last || !body.is_empty() {
            return Err(format!("what is forgotten of {} is not one range", record.conversation));
        }
        self.insert(record.user, record.conversation, (first, last));
        Ok(())
    }

    fn insert(&mut self, user: UserId, conversation: ConversationId, (first, last): (Seq, Seq)) {
        self.of.entry((user, conversation)).or_default().extend((first.0..=last.0).map(Seq));
    }

    /// True if a user does not want to see a message any more.
    pub fn has(&self, user: UserId, conversation: ConversationId, seq: Seq) -> bool {
        self.of.get(&(user, conversation)).is_some_and(|all| all.contains(&seq))
    }
}

impl Oracle {
    /// A user does not want to see these any more.
    pub fn wants_forgotten(&mut self, user: UserId, at: usize, range: (Seq, Seq)) {
        let id = self.id(at);
        self.to_forget.insert(user, id, range);
    }

    /// A device was told that its user does not want to see these any more.
    pub fn forgotten(&mut self, user: UserId, given: &mut Given, id: ConversationId, (first, last): (Seq, Seq)) {
        let untrue = (first.0..=last.0).map(Seq).find(|seq| !self.durable.forgotten.has(user, id, *seq));
        self.check(untrue.is_none(), "I22", || format!("{untrue:?} of {id} is told to be forgotten, and is not"));
        given.forgotten.extend((first.0..=last.0).map(|seq| (id, Seq(seq))));
    }

    /// What a user does not want to see any more, and a device of it was not told: one message, if there is any.
    pub fn unforgotten(&self, user: UserId, given: &Given) -> Option<(ConversationId, Seq)> {
        let of_user = self.durable.forgotten.of.iter().filter(|((of, _), _)| *of == user);
        let mut all = of_user.flat_map(|((_, id), all)| all.iter().map(|seq| (*id, *seq)));
        all.find(|of| !given.forgotten.contains(of))
    }

    /// Checks whether a message that a device was given is held back since its user does not want to see it. In the end, and once the device was told, it must be.
    pub(super) fn check_forgotten(
        &mut self,
        user: UserId,
        (audits, told): (bool, bool),
        message: &tidings_client::Message,
    ) {
        let (id, seq, says) = (message.conversation, message.seq, message.is_forgotten());
        let about = Some(message.target).filter(|_| message.control.is_about_target());
        let of = |all: &Forgotten| all.has(user, id, seq) || about.is_some_and(|target| all.has(user, id, target));
        let (wanted, must) = (of(&self.to_forget), told || audits && of(&self.durable.forgotten));
        // What changes a conversation is only marked.
        let emptied = message.is_emptied() || !message.control.has_content() && about.is_none();
        let right = says && wanted && emptied || !says && !must;
        self.check(right, "I22", || {
            format!("{seq:?} of {id} is given as forgotten {says}; wanted {wanted}, must {must}")
        });
    }
}
