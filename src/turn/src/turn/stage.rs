//! A reactor's life: recovered, repairing, serving, draining, quiet.

use tidings_core::{Mono, Now, Verifier};

use super::Turn;
use crate::{config::SWEPT_AT_ONCE, connections::State, machine::Machine};

/// Most that a draining reactor waits for output to be taken and for others.
const DRAIN_MAX_MS: u64 = 5000;

/// Where a reactor is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The first tip, which vouches for everything that recovery found, waits for a segment.
    Recovered,
    /// It is being written.
    Repairing,
    /// Serving.
    Serving,
    /// No new connections, sessions told, the rest is being written; until when.
    Draining(Mono),
    /// As above, and nothing is left to do here.
    Quiet(Mono),
}

impl<M: Machine, V: Verifier> Turn<M, V> {
    /// Some of the connections leave, whether they have a session or not. All of them again and again: new ones may have been on their way from another reactor.
    fn say_bye(&mut self, now: Now) {
        let places = self.io.connections.places();
        let first = if self.leaving < places { self.leaving } else { 0 };
        self.leaving = first.saturating_add(SWEPT_AT_ONCE);
        for place in first..self.leaving.min(places) {
            let Some(key) = self.io.connections.key_at(place) else { continue };
            if let Some(State::Live(session)) = self.io.connections.get(key).map(|connection| connection.state) {
                self.node.at(now, &mut self.io).say_bye(session);
            }
            self.io.leave(key);
        }
    }

    /// Moves on from repairing to serving, to draining, to the end. True at the end.
    pub(super) fn step_stage(&mut self, now: Now) -> bool {
        match self.stage {
            Stage::Recovered => false,
            Stage::Repairing => {
                if self.io.log.log.is_idle() {
                    self.stage = Stage::Serving;
                    self.shared.set_accepting();
                }
                false
            }
            Stage::Serving => {
                if !self.was_listening {
                    self.listen();
                    self.was_listening = self.listening;
                }
                if self.shared.is_draining() {
                    self.machine.stop_accepting();
                    self.node.at(now, &mut self.io).drain();
                    self.io.log.log.want();
                    self.stage = Stage::Draining(now.mono.plus_ms(DRAIN_MAX_MS));
                }
                false
            }
            Stage::Draining(until) => {
                self.node.at(now, &mut self.io).drain();
                self.say_bye(now);
                if self.io.log.log.has_records() {
                    self.io.log.log.want();
                }
                let log = &self.io.log.log;
                let written = log.is_idle() && !log.has_records() && !log.needs_tip();
                let done = written
                    && self.io.parking.is_empty()
                    && self.has_read_all()
                    && self.io.connections.is_empty()
                    && self.io.lanes.is_idle();
                if done || until <= now.mono {
                    self.stage = Stage::Quiet(until);
                    self.shared.set_quiet();
                }
                false
            }
            Stage::Quiet(until) => {
                if self.io.log.log.has_records() {
                    self.io.log.log.want();
                }
                self.shared.all_quiet() || until.plus_ms(DRAIN_MAX_MS) <= now.mono
            }
        }
    }
}
