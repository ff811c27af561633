//! Time-outs of connections: slow handshakes, frames that never end, sessions that fell silent, peers that do not read.

use std::ops::Range;

use tidings_core::{Counter, Mono, Node, Now, slab::Key};
use tidings_wire::{ErrorCode, frames::ErrorFrame};

use crate::{
    config::{ConnectionLimits, LINGER_LESS_MS, LINGER_MS, SWEEP_MS, SWEEP_STEP_MS, SWEPT_AT_ONCE},
    connections::{Connection, State},
    io::Io,
    machine::Machine,
};

/// Which connections are looked at when: a part of them in a step, so that no turn takes longer the more there are.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    /// When the next step is due, and its first place.
    due: Mono,
    next: u32,
    /// When all of them are looked at again.
    again: Mono,
}

impl Sweep {
    /// When the next step is due.
    pub(crate) fn due(&self) -> Mono {
        self.due
    }

    /// The places of the step that is due, if one is, where there are so many.
    pub(crate) fn next(&mut self, places: u32, now: Mono) -> Option<Range<u32>> {
        if now < self.due {
            return None;
        }
        if self.next == 0 {
            self.again = now.plus_ms(SWEEP_MS);
        }
        let first = self.next;
        let end = first.saturating_add(SWEPT_AT_ONCE).min(places.max(first));
        let is_last = end >= places;
        self.next = if is_last { 0 } else { end };
        let step = now.plus_ms(SWEEP_STEP_MS);
        self.due = if is_last { self.again.max(step) } else { step };
        Some(first..end)
    }
}

/// What is to be done about a connection.
enum Verdict {
    /// Nothing.
    Fine,
    /// Too slow: it is told and closed.
    TooSlow(&'static str),
    /// It is not there any more, or will not listen: both directions are shut.
    Cut,
}

fn judge<S>(connection: &Connection<S>, limits: &ConnectionLimits, now: Now) -> Verdict {
    let passed = |since: tidings_core::Mono, ms: u64| since.plus_ms(ms) < now.mono;
    if connection.sending > 0 && passed(connection.send_since, limits.send_timeout_ms) {
        return Verdict::Cut;
    }
    match connection.state {
        State::Greeting if passed(connection.since, limits.handshake_timeout_ms) => {
            Verdict::TooSlow("HELLO took too long")
        }
        State::Live(_)
            if !connection.parked
                && connection.is_inside_a_frame()
                && passed(connection.frame_since, limits.frame_timeout_ms) =>
        {
            Verdict::TooSlow("a frame took too long")
        }
        State::Live(_) if passed(connection.heard, limits.idle_timeout_ms) => Verdict::Cut,
        // Its time to read the last words begins once they are sent.
        State::Leaving
            if connection.sending == 0
                && passed(connection.since, if connection.hurried { LINGER_LESS_MS } else { LINGER_MS }) =>
        {
            Verdict::Cut
        }
        _ => Verdict::Fine,
    }
}

/// Looks at the connections of these places.
pub(crate) fn sweep<M: Machine>(
    machine: &mut M,
    node: &mut Node,
    io: &mut Io<M::Socket>,
    limits: &ConnectionLimits,
    places: Range<u32>,
    now: Now,
) {
    for place in places {
        let Some(key) = io.connections.key_at(place) else { continue };
        let Some(connection) = io.connections.get(key) else { continue };
        match judge(connection, limits, now) {
            Verdict::Fine => {}
            Verdict::TooSlow(text) => match connection.state {
                State::Live(session) => node.at(now, io).close_with(session, ErrorCode::TooSlow, 0, 0, text),
                _ => {
                    node.counters.error(ErrorCode::TooSlow);
                    ErrorFrame::new(ErrorCode::TooSlow, 0).append(io.connections.out(key), 0, text);
                    io.leave(key);
                }
            },
            Verdict::Cut => cut(machine, node, io, key),
        }
    }
}

/// Ends a connection at once: its session, its output, its socket.
pub(crate) fn cut<M: Machine>(machine: &mut M, node: &mut Node, io: &mut Io<M::Socket>, key: Key) {
    let Some(connection) = io.connections.get_mut(key) else { return };
    if let State::Live(session) = connection.state {
        node.close_session(session);
    }
    if connection.state != State::Gone {
        if connection.is_inside_a_frame() {
            node.counters.count(Counter::CutFrames);
        }
        connection.state = State::Gone;
        connection.pending.clear();
        // With nothing in flight the socket goes right away.
        if connection.receiving || connection.sending > 0 {
            machine.shut(&connection.socket);
        }
    }
    io.connections.hurry(key);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_places_are_looked_at_in_steps_and_again_after_a_while() {
        let (mut sweep, mut now) = (Sweep::default(), Mono(1_000_000_000));
        let mut look = |places: u32, ms: u64| {
            now = now.plus_ms(ms);
            sweep.next(places, now)
        };
        let step = SWEPT_AT_ONCE;
        assert_eq!((look(10, 0), look(10, 249), look(10, 1)), (Some(0..10), None, Some(0..10)));
        // Many: step after step, and those that come meanwhile are not forgotten.
        assert_eq!((look(3 * step, 250), look(3 * step, 1)), (Some(0..step), None));
        assert_eq!(look(3 * step, 4), Some(step..2 * step));
        assert_eq!(look(3 * step + 1, 5), Some(2 * step..3 * step));
        assert_eq!(look(3 * step + 1, 5), Some(3 * step..3 * step + 1));
        assert_eq!((look(3 * step, 5), look(3 * step, 230)), (None, Some(0..step)), "250 ms after the first step");
        assert_eq!(look(5, 5), Some(step..step), "none there any more");
        assert_eq!((look(0, 5), look(0, 250)), (None, Some(0..0)));
    }
}
