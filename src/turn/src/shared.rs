//! The little that reactors and their host share: flags, counters that one writes and others read, and connections that
//! change hands.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crossbeam::{queue::ArrayQueue, utils::CachePadded};
use tidings_core::{Authenticated, Counters, Damage, OverBudget, ReactorId, counters::COUNTERS};
use tidings_door::Door;
use tidings_mesh::Sleeper;
use tidings_wire::{ErrorCode, Generation, LogId};

use crate::{
    config::HANDOVERS_MAX,
    machine::{Machine, Wake},
};

/// An authenticated connection on its way to the reactor of its user's home, with nothing in flight on the old machine.
#[derive(Debug)]
pub struct Handover<S> {
    /// The socket.
    pub socket: S,
    /// Who is at the other end.
    pub who: Authenticated,
    /// What is between the socket and its frames.
    pub door: Option<Box<Door>>,
    /// Bytes received behind HELLO.
    pub unparsed: Vec<u8>,
}

/// One reactor, as the others see it.
#[derive(Debug)]
pub struct Peer<M: Machine> {
    /// Whether it sleeps.
    pub sleeper: CachePadded<Sleeper>,
    /// Wakes it.
    pub waker: M::Waker,
    /// Connections that it is to adopt.
    pub handovers: ArrayQueue<Handover<M::Socket>>,
    counters: CachePadded<[AtomicU64; COUNTERS]>,
    /// Open connections.
    pub connections: AtomicUsize,
    /// See [`Shared::fullness`].
    state_share: AtomicU8,
    entities_share: AtomicU8,
}

/// What all reactors of a node share.
#[derive(Debug)]
pub struct Shared<M: Machine> {
    peers: Vec<Peer<M>>,
    floors: Vec<AtomicU32>,
    draining: AtomicBool,
    accepting: AtomicUsize,
    settled: AtomicUsize,
    quiet: AtomicUsize,
    over_budget: ArrayQueue<OverBudget>,
    damages: ArrayQueue<Damage>,
    /// Reactors whose disk takes nothing.
    stuck: AtomicUsize,
}

/// People over their budget that nobody has heard of yet: more of them say nothing new.
const OVER_BUDGET_MAX: usize = 64;

/// Damaged messages that nobody has heard of yet: more of them say nothing new.
const DAMAGES_MAX: usize = 64;

impl<M: Machine> Shared<M> {
    /// For as many reactors as there are wakers.
    pub fn new(wakers: Vec<M::Waker>) -> Self {
        let peer = |waker| Peer {
            sleeper: CachePadded::new(Sleeper::default()),
            waker,
            handovers: ArrayQueue::new(HANDOVERS_MAX),
            counters: CachePadded::new(std::array::from_fn(|_| AtomicU64::new(0))),
            connections: AtomicUsize::new(0),
            state_share: AtomicU8::new(0),
            entities_share: AtomicU8::new(0),
        };
        Self {
            peers: wakers.into_iter().map(peer).collect(),
            floors: (0..=u8::MAX).map(|_| AtomicU32::new(0)).collect(),
            draining: AtomicBool::new(false),
            accepting: AtomicUsize::new(0),
            settled: AtomicUsize::new(0),
            quiet: AtomicUsize::new(0),
            over_budget: ArrayQueue::new(OVER_BUDGET_MAX),
            damages: ArrayQueue::new(DAMAGES_MAX),
            stuck: AtomicUsize::new(0),
        }
    }

    /// How many reactors there are.
    pub fn reactors(&self) -> usize {
        self.peers.len()
    }

    /// A reactor.
    pub fn peer(&self, id: ReactorId) -> &Peer<M> {
        &self.peers[id.0 as usize]
    }

    /// Shows a reactor's counters to others.
    pub(crate) fn publish(&self, id: ReactorId, counters: &Counters) {
        for (shown, count) in self.peer(id).counters.iter().zip(counters.all()) {
            shown.store(count, Ordering::Relaxed);
        }
    }

    /// Every counter that is not zero, summed over the reactors, with its name.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let sum = |at: usize| self.peers.iter().map(|peer| peer.counters[at].load(Ordering::Relaxed)).sum();
        let named = Counters::names().enumerate().map(|(at, (name, _))| (name, sum(at)));
        named.filter(|(_, count)| *count > 0).collect()
    }

    /// A counter, summed over the reactors.
    pub fn counter(&self, name: &str) -> u64 {
        self.counters().into_iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| count)
    }

    /// An error's count, summed over the reactors.
    pub fn errors(&self, code: ErrorCode) -> u64 {
        self.counter(code.name())
    }

    /// Somebody has filled as much of the log as it may.
    pub(crate) fn tell_over_budget(&self, who: OverBudget) {
        // Who does not fit is named when it is refused a minute later.
        let _full = self.over_budget.push(who);
    }

    /// The next of those who have filled as much of the log as they may, and were refused.
    pub fn next_over_budget(&self) -> Option<OverBudget> {
        self.over_budget.pop()
    }

    /// A stored message cannot be read.
    pub(crate) fn tell_damage(&self, damage: Damage) {
        // What does not fit is counted.
        let _full = self.damages.push(damage);
    }

    /// The next of the stored messages that were found damaged.
    pub fn next_damage(&self) -> Option<Damage> {
        self.damages.pop()
    }

    /// One more reactor cannot write.
    pub(crate) fn is_stuck(&self) {
        self.stuck.fetch_add(1, Ordering::Relaxed);
    }

    /// One of them can again.
    pub(crate) fn is_free(&self) {
        self.stuck.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many reactors cannot write, since the disk takes nothing.
    pub fn stuck(&self) -> usize {
        self.stuck.load(Ordering::Relaxed)
    }

    /// How full a reactor is, in hundredths: of its log, state that is written again before its segment is dropped; of its memory, conversations or homes.
    pub(crate) fn set_fullness(&self, me: ReactorId, state: u8, entities: u8) {
        self.peer(me).state_share.store(state, Ordering::Relaxed);
        self.peer(me).entities_share.store(entities, Ordering::Relaxed);
    }

    /// The same of the fullest of all, each by itself.
    pub fn fullness(&self) -> (u8, u8) {
        let most = |of: fn(&Peer<M>) -> &AtomicU8| self.peers.iter().map(|peer| of(peer).load(Ordering::Relaxed)).max();
        (most(|peer| &peer.state_share).unwrap_or(0), most(|peer| &peer.entities_share).unwrap_or(0))
    }

    /// Tells every reactor to stop: no new connections, BYE to all, the last batch durable.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.peers.iter().for_each(|peer| peer.waker.wake());
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// A reactor is ready: recovered and repaired. The last one wakes the others, who wait for it to accept connections.
    pub(crate) fn set_accepting(&self) {
        self.accepting.fetch_add(1, Ordering::SeqCst);
        if self.all_accepting() {
            self.peers.iter().for_each(|peer| peer.waker.wake());
        }
    }

    /// True once every reactor is ready.
    pub fn all_accepting(&self) -> bool {
        self.accepting.load(Ordering::SeqCst) == self.peers.len()
    }

    /// A reactor's state is all in its own log: it needs no other's segments any more.
    pub(crate) fn set_settled(&self) {
        self.settled.fetch_add(1, Ordering::SeqCst);
    }

    /// True once no reactor needs another's segments for its state, so that segments may be dropped.
    pub(crate) fn all_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed) == self.peers.len()
    }

    /// A draining reactor has nothing left to do by itself.
    pub fn set_quiet(&self) {
        self.quiet.fetch_add(1, Ordering::SeqCst);
        self.peers.iter().for_each(|peer| peer.waker.wake());
    }

    /// True once no reactor has anything left to do.
    pub(crate) fn all_quiet(&self) -> bool {
        self.quiet.load(Ordering::SeqCst) == self.peers.len()
    }

    /// Segments of `log` below `oldest` are gone.
    pub(crate) fn raise_floor(&self, log: LogId, oldest: Generation) {
        self.floors[log.0 as usize].store(oldest.0, Ordering::Release);
    }

    /// The oldest segment of every log that ever dropped one.
    pub fn floors(&self) -> impl Iterator<Item = (LogId, Generation)> {
        let floors = self.floors.iter().enumerate().map(|(log, floor)| (log as u8, floor.load(Ordering::Acquire)));
        floors.filter(|(_, floor)| *floor > 0).map(|(log, floor)| (LogId(log), Generation(floor)))
    }
}
