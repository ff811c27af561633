//! The longest turns of a reactor while conversations begin and very many connections are there: nothing on a turn may grow with what is
//! there. Over a machine that does nothing, so that the turn's own time is all that is measured.
//!
//! `cargo run --release --package tidings-gates --example longest_turn -- CONVERSATIONS CONNECTIONS LOG_MIB`
#![allow(clippy::print_stdout, reason = "it is what this is for")]

use std::time::{Duration, Instant};

use tidings_core::{Mono, Now};
use tidings_gates::{
    greeting,
    machine::{NullMachine, Socket},
    turn_of,
};
use tidings_testkit::{AnyToken, frames::append_send, reactor::beginning, user};
use tidings_turn::{Completion, Turn};
use tidings_wire::Timestamp;

/// How much later each turn is than the one before.
const STEP_NS: u64 = 200_000;
/// Connections that come in one turn.
const COME: u32 = 8;
/// Conversations that one user begins in one turn, and in all.
const BEGIN: u64 = 64;
const OF_ONE: u64 = 1024;
/// The longest turns that are shown.
const SHOWN: usize = 5;

struct Run {
    turn: Turn<NullMachine, AnyToken>,
    now: Now,
    took: Vec<Duration>,
}

impl Run {
    fn step(&mut self) {
        let told = std::mem::take(&mut self.turn.machine().told);
        self.now.mono = Mono(self.now.mono.0 + STEP_NS);
        self.now.wall = Timestamp(self.now.wall.0 + STEP_NS / 1000);
        let began = Instant::now();
        self.turn.turn(self.now, told).expect("nothing fails here");
        self.took.push(began.elapsed());
    }

    /// What turns took since this was asked last.
    fn tell(&mut self, what: &str) {
        let mut took: Vec<_> = std::mem::take(&mut self.took).into_iter().enumerate().collect();
        took.sort_by_key(|(_, took)| std::cmp::Reverse(*took));
        let at = |part: f64| took[(took.len() as f64 * part) as usize].1.as_micros();
        let longest: Vec<_> =
            took.iter().take(SHOWN).map(|(nth, took)| format!("{} us (turn {nth})", took.as_micros())).collect();
        println!(
            "{what}: {} turns, p50 {} us, p99.9 {} us, longest {}",
            took.len(),
            at(0.5),
            at(0.001),
            longest.join(", ")
        );
    }
}

fn main() {
    let arguments: Vec<u64> = std::env::args().skip(1).map(|text| text.parse().expect("a number")).collect();
    let [conversations, connections, log_mib] = arguments[..] else {
        panic!("usage: longest_turn CONVERSATIONS CONNECTIONS LOG_MIB");
    };
    let connections = u32::try_from(connections).expect("fewer than 2^32");
    let turn = turn_of(connections as usize + 1, 3_600_000, log_mib << 20);
    let mut run = Run { turn, now: beginning(), took: Vec::new() };
    while !run.turn.machine().accepts {
        run.step();
    }
    for first in (0..connections).step_by(COME as usize) {
        for at in first..(first + COME).min(connections) {
            run.turn.machine().told.push(Completion::Accepted { result: Ok(Socket(at)), more: true });
        }
        run.step();
        for at in first..(first + COME).min(connections) {
            run.turn.machine().receive_bytes(Socket(at), greeting(&format!("user {at}")));
        }
        run.step();
    }
    run.tell(&format!("{connections} connections come"));
    for first in (0..conversations).step_by(BEGIN as usize) {
        let from = u32::try_from(first / OF_ONE).expect("fewer than 2^32") % connections;
        let mut bytes = Vec::new();
        for id in first..first + BEGIN {
            append_send(&mut bytes, user(&format!("user {from}")), user(&format!("peer {id}")), id + 1, 0, b"hello");
        }
        run.turn.machine().receive_bytes(Socket(from), bytes);
        run.step();
    }
    run.tell(&format!("{conversations} conversations begin"));
    for _ in 0..20_000 {
        run.step();
    }
    run.tell("nobody does anything");
}
