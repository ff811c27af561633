//! All lanes between all reactors.

use crate::{
    LaneReceiver, LaneSender, lane,
    lossy::{LossySender, lossy},
};

/// How large each lane is.
#[derive(Clone, Copy, Debug)]
pub struct LaneSize {
    /// Values in flight; a power of two.
    pub slots: usize,
    /// Payload bytes in flight; a power of two.
    pub arena: usize,
}

/// One reactor's ends of the lanes to and from every other, indexed by reactor; `None` at its own place.
#[derive(Debug)]
pub struct Port<ToConversation, ToHome, Ephemeral> {
    /// To conversations elsewhere.
    pub conversation_out: Vec<Option<LaneSender<ToConversation>>>,
    /// From homes elsewhere.
    pub conversation_in: Vec<Option<LaneReceiver<ToConversation>>>,
    /// To homes elsewhere.
    pub home_out: Vec<Option<LaneSender<ToHome>>>,
    /// From conversations elsewhere.
    pub home_in: Vec<Option<LaneReceiver<ToHome>>>,
    /// To either half elsewhere, for what may be lost.
    pub ephemeral_out: Vec<Option<LossySender<Ephemeral>>>,
    /// The same, from elsewhere.
    pub ephemeral_in: Vec<Option<LaneReceiver<Ephemeral>>>,
}

impl<ToConversation: Copy + Send, ToHome: Copy + Send, Ephemeral: Copy + Send> Port<ToConversation, ToHome, Ephemeral> {
    fn empty(reactors: usize) -> Self {
        fn none<T>(count: usize) -> Vec<Option<T>> {
            (0..count).map(|_| None).collect()
        }
        Self {
            conversation_out: none(reactors),
            conversation_in: none(reactors),
            home_out: none(reactors),
            home_in: none(reactors),
            ephemeral_out: none(reactors),
            ephemeral_in: none(reactors),
        }
    }

    /// True if no lane holds anything to receive.
    pub fn is_idle(&mut self) -> bool {
        self.is_conversation_idle() && self.is_home_idle() && self.is_ephemeral_idle()
    }

    /// True if no lane from a home holds anything to receive.
    pub fn is_conversation_idle(&mut self) -> bool {
        self.conversation_in.iter_mut().flatten().all(|lane| lane.is_empty())
    }

    /// True if no lane from a conversation holds anything to receive.
    pub fn is_home_idle(&mut self) -> bool {
        self.home_in.iter_mut().flatten().all(|lane| lane.is_empty())
    }

    /// True if no ephemeral lane holds anything to receive.
    pub fn is_ephemeral_idle(&mut self) -> bool {
        self.ephemeral_in.iter_mut().flatten().all(|lane| lane.is_empty())
    }
}

/// Connects `reactors` reactors: the ports, in their order.
pub fn connect<ToConversation: Copy + Send, ToHome: Copy + Send, Ephemeral: Copy + Send>(
    reactors: usize,
    size: LaneSize,
    lossy_size: LaneSize,
) -> Vec<Port<ToConversation, ToHome, Ephemeral>> {
    let mut ports: Vec<_> = (0..reactors).map(|_| Port::empty(reactors)).collect();
    for from in 0..reactors {
        for to in (0..reactors).filter(|to| *to != from) {
            let (sender, receiver) = lane(size.slots, size.arena);
            ports[from].conversation_out[to] = Some(sender);
            ports[to].conversation_in[from] = Some(receiver);
            let (sender, receiver) = lane(size.slots, size.arena);
            ports[from].home_out[to] = Some(sender);
            ports[to].home_in[from] = Some(receiver);
            let (sender, receiver) = lossy(lossy_size.slots, lossy_size.arena);
            ports[from].ephemeral_out[to] = Some(sender);
            ports[to].ephemeral_in[from] = Some(receiver);
        }
    }
    ports
}
