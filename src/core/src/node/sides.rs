//! The two halves' views of the world: what the router lets each of them do.

use alloc::vec::Vec;

use tidings_wire::{BatchPosition, LogPosition, Timestamp};

use crate::{
    context::{Asking, Context, ConversationContext, HomeContext},
    counters::{Counter, Counters},
    effects::{ConnId, Effects, JobId, Passage, ReactorId, RecordMeta},
    ephemeral::{Ephemeral, Passing},
    home::Homes,
    lanes::{Asker, ToHome},
    records::RecordKind,
    residency::Entity,
    time::Now,
};

/// The world of the homes.
#[derive(Debug)]
pub(super) struct HomeSide<'a, F> {
    pub(super) me: ReactorId,
    pub(super) now: Now,
    pub(super) passing: &'a mut Passing,
    pub(super) counters: &'a mut Counters,
    pub(super) clocks: &'a mut [Timestamp],
    pub(super) fx: &'a mut F,
}

/// The world of the conversations: homes are part of it.
#[derive(Debug)]
pub(super) struct ConversationSide<'a, F> {
    pub(super) me: ReactorId,
    pub(super) homes: &'a mut Homes,
    pub(super) now: Now,
    pub(super) passing: &'a mut Passing,
    pub(super) counters: &'a mut Counters,
    pub(super) clocks: &'a mut [Timestamp],
    pub(super) fx: &'a mut F,
}

macro_rules! context {
    ($side:ident) => {
        impl<F: Effects> Context for $side<'_, F> {
            fn now(&self) -> Now {
                self.now
            }

            fn counters(&mut self) -> &mut Counters {
                self.counters
            }

            fn room(&self) -> usize {
                self.fx.room()
            }

            fn is_stuck(&self) -> bool {
                self.fx.is_stuck()
            }

            fn ts(&self, shard: u16) -> Timestamp {
                self.clocks[shard as usize].max(self.now.wall)
            }

            fn append(&mut self, kind: RecordKind, shard: u16, fill: impl FnOnce(&mut Vec<u8>)) -> BatchPosition {
                let ts = self.ts(shard);
                self.clocks[shard as usize] = ts;
                self.fx.append(RecordMeta { kind, shard, ts }, fill)
            }

            fn revise(&mut self, at: BatchPosition, len: usize) -> Option<&mut [u8]> {
                self.fx.revise(at, len)
            }

            fn void(&mut self, at: BatchPosition) -> bool {
                self.fx.void(at)
            }

            fn want_write(&mut self) {
                self.fx.want_write();
            }

            fn is_here(&mut self, entity: Entity) -> bool {
                self.fx.is_here(entity)
            }

            fn ephemeral(&mut self, to: ReactorId, message: Ephemeral, payload: &[u8]) {
                let taken = match to == self.me {
                    true => self.passing.push(message, payload),
                    false => self.fx.ephemeral(to, message, payload),
                };
                if !taken {
                    self.counters.count(Counter::EphemeralDropped);
                }
            }
        }
    };
}

context!(HomeSide);
context!(ConversationSide);

impl<F: Effects> HomeContext for HomeSide<'_, F> {
    fn out(&mut self, conn: ConnId) -> &mut Vec<u8> {
        self.fx.out(conn)
    }

    fn out_later(&mut self, conn: ConnId) -> &mut Vec<u8> {
        self.fx.out_later(conn)
    }

    fn buffered(&self, conn: ConnId) -> usize {
        self.fx.buffered(conn)
    }

    fn close(&mut self, conn: ConnId) {
        self.fx.close(conn);
    }
}

impl<F: Effects> ConversationContext for ConversationSide<'_, F> {
    fn to_home(&mut self, to: ReactorId, message: ToHome, payload: &[u8]) {
        if to == self.me {
            return match self.fx.pass_home(&message, payload) {
                Passage::Free => {
                    let mut side = HomeSide {
                        me: self.me,
                        now: self.now,
                        passing: self.passing,
                        counters: self.counters,
                        clocks: self.clocks,
                        fx: self.fx,
                    };
                    self.homes.told(self.me, &message, payload, &mut side);
                }
                Passage::Parked => self.homes.hold(&message),
                Passage::Full => self.homes.lose(self.me, &message, self.counters),
            };
        }
        self.fx.to_home(to, message, &[payload]).expect("credit was there when the input was taken");
    }

    fn has_home_credit(&mut self, to: ReactorId, count: usize, bytes: usize) -> bool {
        to == self.me || self.fx.has_home_credit(to, count, bytes)
    }

    fn asking(&mut self, to: ReactorId, asker: Asker, len: usize) -> Asking {
        if to != self.me {
            return if self.fx.has_home_credit(to, 2, len) { Asking::Takes } else { Asking::Full };
        }
        match self.homes.conn_of(asker.session) {
            None => Asking::Gone,
            Some(conn) if self.fx.buffered(conn) + len <= crate::limits::OUT_SOFT => Asking::Takes,
            Some(_) => Asking::Full,
        }
    }

    fn read(&mut self, job: JobId, at: LogPosition, len: usize) {
        self.fx.read(job, at, len);
    }
}
