//! Lanes with a delay: between two reactors lie two real lanes, and what leaves the first comes out of the second later.
//!
//! Between two real cores a value is seen some time after it was published, and its slot is free some time after it was
//! read. Here both take as long as the world says, each lane on its own: what a reactor put into two lanes may arrive in
//! either order.

use tidings_mesh::{LaneReceiver, LaneSender, LaneSize, Port, connect, lossy::LossySender};

use crate::random::{MILLION, Random};

/// The way from one reactor to another, in one of its lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// From which reactor.
    pub from: usize,
    /// To which.
    pub to: usize,
    /// In which of its lanes.
    pub lane: Lane,
}

/// The lanes from one reactor to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// From homes to conversations.
    ToConversation,
    /// From conversations to homes.
    ToHome,
    /// For what may be lost.
    Ephemeral,
}

impl Lane {
    const ALL: [Self; 3] = [Self::ToConversation, Self::ToHome, Self::Ephemeral];
}

/// What a step of a lane came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stepped {
    /// Something arrived: the reactor there must hear of it.
    pub arrived: bool,
    /// Something still waits.
    pub waits: bool,
}

/// The far halves of all lanes.
#[derive(Debug)]
pub struct Relay<U, D, E> {
    /// Per reactor: what it put into its lanes comes out here, and goes in here to reach it.
    ends: Ports<U, D, E>,
    /// Steps that are planned: from, to, lane.
    planned: Vec<[bool; 3]>,
}

/// A port for each reactor.
pub type Ports<U, D, E> = Vec<Port<U, D, E>>;

/// Connects reactors by way of a relay: their ports, and the relay.
pub fn connect_by_relay<U: Copy + Send, D: Copy + Send, E: Copy + Send>(
    reactors: usize,
    size: LaneSize,
    lossy_size: LaneSize,
) -> (Ports<U, D, E>, Relay<U, D, E>) {
    let (mut ports, mut ends) = (connect(reactors, size, lossy_size), connect(reactors, size, lossy_size));
    for from in 0..reactors {
        for to in (0..reactors).filter(|to| *to != from) {
            // The reactor keeps its sender into the first lane, and is given the receiver of the second.
            std::mem::swap(&mut ports[to].conversation_in[from], &mut ends[to].conversation_in[from]);
            std::mem::swap(&mut ports[to].home_in[from], &mut ends[to].home_in[from]);
            std::mem::swap(&mut ports[to].ephemeral_in[from], &mut ends[to].ephemeral_in[from]);
        }
    }
    (ports, Relay { ends, planned: vec![[false; 3]; reactors * reactors] })
}

impl<U: Copy + Send, D: Copy + Send, E: Copy + Send> Relay<U, D, E> {
    /// Lanes out of a reactor that hold something and whose step is not planned yet. It is from now on.
    pub fn take_unplanned(&mut self, from: usize) -> Vec<Way> {
        let mut ways = Vec::new();
        for to in (0..self.ends.len()).filter(|to| *to != from) {
            let holds = |end: &mut Port<U, D, E>| {
                let up = end.conversation_in[from].as_mut().is_some_and(|lane| !lane.is_empty());
                let down = end.home_in[from].as_mut().is_some_and(|lane| !lane.is_empty());
                [up, down, end.ephemeral_in[from].as_mut().is_some_and(|lane| !lane.is_empty())]
            };
            let holds = holds(&mut self.ends[to]);
            for lane in Lane::ALL {
                let planned = &mut self.planned[from * self.ends.len() + to][lane as usize];
                if holds[lane as usize] && !std::mem::replace(planned, true) {
                    ways.push(Way { from, to, lane });
                }
            }
        }
        ways
    }

    /// Some of what waits in a lane arrives, as far as there is room.
    pub fn step(&mut self, way: Way, random: &mut Random) -> Stepped {
        let Way { from, to, lane } = way;
        self.planned[from * self.ends.len() + to][lane as usize] = false;
        let most = if random.chance(MILLION / 4) { 1 + random.below(3) as usize } else { usize::MAX };
        let (source, target) = pick_two(&mut self.ends, to, from);
        match lane {
            Lane::ToConversation => {
                pass(source.conversation_in[from].as_mut(), target.conversation_out[to].as_mut(), most)
            }
            Lane::ToHome => pass(source.home_in[from].as_mut(), target.home_out[to].as_mut(), most),
            Lane::Ephemeral => pass_lossy(source.ephemeral_in[from].as_mut(), target.ephemeral_out[to].as_mut(), most),
        }
    }

    /// The step of a lane is planned again.
    pub fn plan_again(&mut self, way: Way) {
        self.planned[way.from * self.ends.len() + way.to][way.lane as usize] = true;
    }
}

fn pick_two<T>(of: &mut [T], first: usize, second: usize) -> (&mut T, &mut T) {
    let [first, second] = of.get_disjoint_mut([first, second]).expect("no reactor has a lane to itself");
    (first, second)
}

fn pass<T: Copy + Send>(
    source: Option<&mut LaneReceiver<T>>,
    target: Option<&mut LaneSender<T>>,
    most: usize,
) -> Stepped {
    let (Some(source), Some(target)) = (source, target) else { return Stepped::default() };
    for _ in 0..most {
        let Some((value, payload)) = source.receive() else { break };
        if target.send(value, &[payload]).is_err() {
            source.put_back();
            break;
        }
    }
    source.release();
    Stepped { arrived: target.publish(), waits: !source.is_empty() }
}

fn pass_lossy<T: Copy + Send>(
    source: Option<&mut LaneReceiver<T>>,
    target: Option<&mut LossySender<T>>,
    most: usize,
) -> Stepped {
    let (Some(source), Some(target)) = (source, target) else { return Stepped::default() };
    for _ in 0..most {
        let Some((value, payload)) = source.receive() else { break };
        target.send(value, &[payload]);
    }
    source.release();
    Stepped { arrived: target.publish(), waits: !source.is_empty() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: LaneSize = LaneSize { slots: 4, arena: 64 };

    #[test]
    fn what_is_put_into_a_lane_arrives_once_the_relay_steps() {
        let (mut ports, mut relay) = connect_by_relay::<u8, u32, ()>(3, SIZE, SIZE);
        let lane = ports[2].home_out[1].as_mut().unwrap();
        lane.send(7, &[b"some", b"thing"]).unwrap();
        assert!(relay.take_unplanned(2).is_empty(), "not published");
        lane.publish();
        let way = Way { from: 2, to: 1, lane: Lane::ToHome };
        assert_eq!(relay.take_unplanned(2), [way]);
        assert!(relay.take_unplanned(2).is_empty() && ports[1].is_idle(), "planned once, and not there yet");
        assert_eq!(relay.step(way, &mut Random::new(1)), Stepped { arrived: true, waits: false });
        let (value, payload) = ports[1].home_in[2].as_mut().unwrap().receive().unwrap();
        assert_eq!((value, payload), (7, &b"something"[..]));
        assert!(ports[0].is_idle() && ports[2].is_idle());
    }
}
