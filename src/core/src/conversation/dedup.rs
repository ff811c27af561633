//! What a conversation remembers of a device's attempts to send, so that a repeat never makes a second message.

use alloc::collections::VecDeque;

use tidings_wire::{ClientMsgId, DeviceId, Seq, limits::REMEMBERED};

/// Which session made an attempt, on which reactor; only compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The reactor.
    pub(crate) reactor: u16,
    /// The session there.
    pub(crate) session: u64,
}

/// The accepted attempts of one device in one conversation, the newest of them with their numbers.
#[derive(Clone, Debug)]
pub(crate) struct DeviceAttempts {
    /// The device.
    pub(crate) device: DeviceId,
    accepted: VecDeque<(ClientMsgId, Seq)>,
}

impl DeviceAttempts {
    /// Of a device that never sent here.
    pub(crate) fn new(device: DeviceId) -> Self {
        Self { device, accepted: VecDeque::new() }
    }

    /// The highest accepted attempt; 0 if there is none.
    pub(crate) fn highest(&self) -> ClientMsgId {
        self.accepted.back().map_or(ClientMsgId(0), |(id, _)| *id)
    }

    /// The last message of the device.
    pub(crate) fn last(&self) -> Seq {
        self.accepted.back().map_or(Seq(0), |(_, seq)| *seq)
    }

    /// The message that an attempt became, if that is still known.
    pub(crate) fn find(&self, id: ClientMsgId) -> Option<Seq> {
        let at = self.accepted.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(self.accepted[at].1)
    }

    /// Remembers an accepted attempt, unless it is not higher than the ones before.
    pub(crate) fn accept(&mut self, id: ClientMsgId, seq: Seq) {
        if id <= self.highest() {
            return;
        }
        if self.accepted.len() == REMEMBERED {
            self.accepted.pop_front();
        }
        self.accepted.push_back((id, seq));
    }

    /// What is remembered, oldest first.
    pub(crate) fn pairs(&self) -> impl ExactSizeIterator<Item = (ClientMsgId, Seq)> {
        self.accepted.iter().copied()
    }
}
