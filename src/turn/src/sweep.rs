//! Time-outs of connections: slow handshakes, frames that never end, sessions that fell silent, peers that do not read.

use tidings_core::{Counter, Node, Now, slab::Key};
use tidings_wire::{ErrorCode, frames::ErrorFrame};

use crate::{
    config::{ConnectionLimits, LINGER_LESS_MS, LINGER_MS},
    connections::{Connection, State},
    io::Io,
    machine::Machine,
};

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

/// Looks at every connection. `keys` is scratch space.
pub(crate) fn sweep<M: Machine>(
    machine: &mut M,
    node: &mut Node,
    io: &mut Io<M::Socket>,
    limits: &ConnectionLimits,
    keys: &mut Vec<Key>,
    now: Now,
) {
    keys.clear();
    keys.extend(io.connections.keys());
    for key in keys.drain(..) {
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
