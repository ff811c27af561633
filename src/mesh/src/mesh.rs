//! All lanes between all reactors.

use crate::{LaneReceiver, LaneSender, lane};

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
pub struct Port<Up, Down> {
    /// To conversations elsewhere.
    pub up_out: Vec<Option<LaneSender<Up>>>,
    /// From homes elsewhere.
    pub up_in: Vec<Option<LaneReceiver<Up>>>,
    /// To homes elsewhere.
    pub down_out: Vec<Option<LaneSender<Down>>>,
    /// From conversations elsewhere.
    pub down_in: Vec<Option<LaneReceiver<Down>>>,
}

impl<Up: Copy + Send, Down: Copy + Send> Port<Up, Down> {
    fn empty(reactors: usize) -> Self {
        fn none<T>(count: usize) -> Vec<Option<T>> {
            (0..count).map(|_| None).collect()
        }
        Self { up_out: none(reactors), up_in: none(reactors), down_out: none(reactors), down_in: none(reactors) }
    }

    /// True if no lane holds anything to receive.
    pub fn is_idle(&mut self) -> bool {
        self.is_up_idle() && self.is_down_idle()
    }

    /// True if no lane from a home holds anything to receive.
    pub fn is_up_idle(&mut self) -> bool {
        self.up_in.iter_mut().flatten().all(|lane| lane.is_empty())
    }

    /// True if no lane from a conversation holds anything to receive.
    pub fn is_down_idle(&mut self) -> bool {
        self.down_in.iter_mut().flatten().all(|lane| lane.is_empty())
    }
}

/// Connects `reactors` reactors: the ports, in their order.
pub fn connect<Up: Copy + Send, Down: Copy + Send>(reactors: usize, size: LaneSize) -> Vec<Port<Up, Down>> {
    let mut ports: Vec<_> = (0..reactors).map(|_| Port::empty(reactors)).collect();
    for from in 0..reactors {
        for to in (0..reactors).filter(|to| *to != from) {
            let (sender, receiver) = lane(size.slots, size.arena);
            ports[from].up_out[to] = Some(sender);
            ports[to].up_in[from] = Some(receiver);
            let (sender, receiver) = lane(size.slots, size.arena);
            ports[from].down_out[to] = Some(sender);
            ports[to].down_in[from] = Some(receiver);
        }
    }
    ports
}
