//! Messages that grow while they are written: what each will say, what was shown of it, and how it ended, from the log.

use std::collections::{BTreeMap, BTreeSet};

use tidings_client::{ConversationId, Message, MessageFlags, Seq, UserId};

use super::{DeviceAt, Given, Oracle, tags::aborted_tag};

/// The control that opens one.
pub(super) const OPEN: u16 = 14;
/// The control that ends one.
pub(super) const END: u16 = 15;

/// How one ended.
#[derive(Clone, Debug)]
struct End {
    seq: Seq,
    payload: Vec<u8>,
    withheld: bool,
}

/// Those of all conversations.
#[derive(Debug, Default)]
pub struct Streams {
    /// What each will say if it is written to its end, by the tag of what opens it.
    texts: BTreeMap<u64, Vec<u8>>,
    /// Those that have not ended, and who writes them.
    open: BTreeMap<(ConversationId, Seq), UserId>,
    ends: BTreeMap<(ConversationId, Seq), End>,
    /// The tags of those that the node wrote.
    aborted: BTreeSet<u64>,
    /// The most that the running node showed anybody of those that have not ended.
    shown: BTreeMap<(ConversationId, Seq), Vec<u8>>,
}

impl Streams {
    /// What one will say.
    pub fn plan(&mut self, tag: u64, text: Vec<u8>) {
        self.texts.insert(tag, text);
    }

    /// The node has forgotten what was written.
    pub fn forget_shown(&mut self) {
        self.shown.clear();
    }

    /// The next message of a conversation, as it is logged.
    ///
    /// # Errors
    /// Why that cannot be, in words.
    pub(super) fn add(
        &mut self,
        (conversation, seq): (ConversationId, Seq),
        (control, target): (u16, Seq),
        (sender, payload, withheld): (UserId, &[u8], bool),
    ) -> Result<(), String> {
        match control {
            OPEN if payload.is_empty() => drop(self.open.insert((conversation, seq), sender)),
            OPEN => return Err(format!("{seq:?} opens a message that says something already")),
            END => {
                if self.open.remove(&(conversation, target)) != Some(sender) {
                    return Err(format!("{seq:?} ends {target:?}, which is not open, or another's"));
                }
                let shown = self.shown.remove(&(conversation, target)).unwrap_or_default();
                if !payload.starts_with(&shown) {
                    return Err(format!(
                        "{seq:?} ends {target:?} with other words than the {} bytes that were shown",
                        shown.len()
                    ));
                }
                self.aborted.insert(aborted_tag(conversation, target));
                let end = End { seq, payload: payload.to_vec(), withheld };
                self.ends.insert((conversation, target), end);
            }
            // What is withdrawn, or whose group is gone, grows no more.
            11 => drop(self.open.remove(&(conversation, target))),
            7 => self.open.retain(|(of, _), _| *of != conversation),
            _ => {}
        }
        Ok(())
    }

    /// True of the tag of an end that the node wrote for somebody.
    pub fn is_of_node(&self, tag: u64) -> bool {
        self.aborted.contains(&tag)
    }

    /// One that has not ended, and that another user writes.
    pub fn unended_of_another(&self, user: UserId) -> Option<(ConversationId, Seq)> {
        self.open.iter().find(|(_, writer)| **writer != user).map(|(of, _)| *of)
    }

    /// True if a user writes it.
    pub fn is_written_by(&self, user: UserId, of: (ConversationId, Seq)) -> bool {
        self.open.get(&of) == Some(&user)
    }

    /// One that has not ended.
    pub fn unended(&self) -> Option<(ConversationId, Seq)> {
        self.open.keys().next().copied()
    }
}

impl Oracle {
    /// The node shows a piece of a message to a user (`None`: to nobody that is known).
    ///
    /// # Errors
    /// Why it must not, in words.
    pub fn fragment(
        &self,
        user: Option<UserId>,
        (conversation, seq): (ConversationId, Seq),
        offset: u32,
        bytes: &[u8],
    ) -> Result<(), String> {
        let of = (conversation, seq);
        let place = self.place(conversation);
        let may_see = |user| place.is_some_and(|at| self.may_see(at, user, seq));
        if user.is_some_and(|user| !may_see(user)) {
            return Err(format!("what {seq:?} says to somebody who may not read it"));
        }
        let streams = &self.durable.streams;
        let writer = streams.open.get(&of);
        let withheld = self.durable.blocks.is_withheld(conversation, seq) && user != writer.copied();
        if withheld && writer.is_some() {
            return Err(format!("what {seq:?} says to somebody from whom it is withheld"));
        }
        // Another attempt of its writer may have ended it with other words, where the node had forgotten what was shown before it.
        let end = streams.ends.get(&of).map(|end| &end.payload);
        let planned = self.durable.tag(conversation, seq).and_then(|tag| streams.texts.get(&tag));
        let upto = offset as usize + bytes.len();
        let says = |text: Option<&Vec<u8>>| text.and_then(|text| text.get(offset as usize..upto)) == Some(bytes);
        if !says(end) && !says(planned) {
            return Err(format!("that {seq:?} says {} bytes from {offset} on that it does not say", bytes.len()));
        }
        Ok(())
    }

    /// The running node shows a piece of a message: if that has not ended, it will say so.
    pub fn showed(&mut self, of: (ConversationId, Seq), offset: u32, bytes: &[u8]) {
        let tag = self.durable.tag(of.0, of.1);
        let streams = &mut self.durable.streams;
        if streams.open.contains_key(&of) {
            let shown = streams.shown.entry(of).or_default();
            let upto = offset as usize + bytes.len();
            if shown.len() < upto {
                // What is between is shown to somebody else, or has yet to be.
                let text = tag.and_then(|tag| streams.texts.get(&tag));
                *shown = text.and_then(|text| text.get(..upto)).map(<[u8]>::to_vec).unwrap_or_default();
            }
        }
    }

    /// A device is told that a message says more: what it was told of it before it has.
    pub fn grew(
        &mut self,
        (device, user): (DeviceAt, UserId),
        given: &mut Given,
        of: (ConversationId, Seq),
        offset: u32,
        bytes: &[u8],
    ) {
        let known = given.grown.insert(of, offset as usize + bytes.len()).unwrap_or(0);
        self.check(offset == 0 || known == offset as usize, "I23", || {
            format!("device {device} is told what {of:?} says from {offset} on, and has {known} bytes of it")
        });
        if let Err(what) = self.fragment(Some(user), of, offset, bytes) {
            self.violate("I23", format!("device {device} is told {what}"));
        }
    }

    /// What a message must say that grows, or ends one, whose words are not its tag's; `None` of all others.
    pub(super) fn words_of_stream(
        &mut self,
        (device, user): (DeviceAt, UserId),
        audits: bool,
        message: &Message,
    ) -> Option<Vec<u8>> {
        let of = (message.conversation, message.seq);
        match message.control.0 {
            OPEN => {
                let ended = message.flags & MessageFlags::ENDED > 0;
                // Who cannot read its end is not told that it has ended.
                let place = self.place(message.conversation);
                let reads = |end: &&End| place.is_some_and(|at| self.may_see(at, user, end.seq));
                let end = self.durable.streams.ends.get(&of).filter(reads).cloned();
                let is_there = |end: &End| !self.durable.is_dropped(message.conversation, end.seq);
                // Of what is held back nobody needs to know how it ended.
                let must = audits && !message.is_emptied() && end.as_ref().is_some_and(is_there);
                self.check(if ended { end.is_some() } else { !must }, "I23", || {
                    format!(
                        "device {device} is given {of:?}, ended {ended}, and should be as {:?}",
                        end.as_ref().map(|end| end.seq)
                    )
                });
                let is_shown = |end: &End| ended && (!end.withheld || message.sender == user);
                Some(end.filter(is_shown).map(|end| end.payload).unwrap_or_default())
            }
            END if message.was_aborted() => {
                let end = self.durable.streams.ends.get(&(message.conversation, message.target));
                Some(end.map(|end| end.payload.clone()).unwrap_or_default())
            }
            _ => None,
        }
    }
}
