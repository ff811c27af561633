//! One core's loop: a turn, then waiting for the ring, not at all, spinning, or asleep.

use std::{fmt, io, os::fd::OwnedFd, time::Duration};

use tidings_core::{Mono, Verifier};
use tidings_log::files::Files;
use tidings_ring::{Completion, Ring, RingConfig, SetupError, Wait};
use tidings_turn::{Outcome, Report, Turn};
use tidings_wire::LogId;

use crate::{
    clock::Clock,
    scribe::Desk,
    uring::{Uring, Wake},
};

/// Completions taken from the ring in one turn.
const COMPLETIONS_PER_TURN: usize = 1024;
/// Completions that are enough for a turn, however short they gathered.
const GATHERED: usize = 256;
/// How long a reactor that does not rest keeps its core while something is being written.
const YIELD_NS: u64 = 100_000;
/// How often the executor is let at its background tasks while there are any.
const BACKGROUND_TICK: Duration = Duration::from_micros(200);

/// What a reactor is made with besides its turn.
#[derive(Clone, Debug)]
pub struct ReactorConfig {
    /// The core that it is pinned to.
    pub core: usize,
    /// Its ring.
    pub ring: RingConfig,
    /// Longest that it spins for work before it sleeps, in microseconds.
    pub spin_us: u64,
    /// Longest that it lets input gather while a batch of several messages is being written, in microseconds.
    pub gather_us: u64,
}

/// Everything that a reactor begins with; moved to its thread.
pub struct Seed<V> {
    /// Its settings.
    pub config: ReactorConfig,
    /// Its turn.
    pub turn: tidings_turn::Seed<Uring, V>,
    /// Its listening socket.
    pub listener: OwnedFd,
    /// The files of every log.
    pub logs: Vec<(LogId, Files)>,
    /// Where it asks for notes of where logs end.
    pub desk: Desk,
    /// Test only.
    #[cfg(feature = "canary")]
    pub canary: crate::canary::Canary,
}

impl<V> fmt::Debug for Seed<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.turn.fmt(f)
    }
}

/// Why a reactor stopped by itself: the node must stop.
#[derive(Debug)]
pub enum ReactorError {
    /// There is no ring.
    Setup(SetupError),
    /// The log's files cannot be opened.
    Open(io::Error),
    /// A batch could not be made durable. What the disk holds is unknown, so nothing is tried again.
    Log(io::Error),
}

impl fmt::Display for ReactorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setup(error) => error.fmt(f),
            Self::Open(error) => write!(f, "the log cannot be opened: {error}"),
            Self::Log(error) => write!(
                f,
                "a write of the log failed ({error}): stopping, since what is on the disk is unknown; check the disk, \
                 then start again: everything acknowledged is recovered"
            ),
        }
    }
}

impl std::error::Error for ReactorError {}

/// One core's reactor.
#[derive(Debug)]
pub struct Reactor<V> {
    clock: Clock,
    turn: Turn<Uring, V>,
    completions: Vec<Completion>,
    spin_cap_ns: u64,
    spin_ns: u64,
    spin_until: Mono,
    gather: Duration,
    /// When it let others run last.
    yielded: Mono,
}

impl<V: Verifier> Reactor<V> {
    /// A reactor on the calling thread, which runs a glommio executor.
    ///
    /// # Errors
    /// If the kernel or the files do not allow it.
    pub fn new(seed: Seed<V>) -> Result<Self, ReactorError> {
        let Wake(waker) = seed.turn.shared.peer(seed.turn.node.config().me).waker.clone();
        let ring = Ring::new(&seed.config.ring, waker.clone()).map_err(ReactorError::Setup)?;
        #[cfg_attr(not(feature = "canary"), expect(unused_mut, reason = "test only"))]
        let mut machine = Uring::new(ring, waker, seed.listener, seed.turn.node.config().log, seed.logs, seed.desk);
        #[cfg(feature = "canary")]
        machine.misbehave(seed.canary);
        let clock = Clock::default();
        let now = clock.mono();
        Ok(Self {
            clock,
            turn: Turn::new(seed.turn, machine, now).map_err(ReactorError::Open)?,
            completions: Vec::with_capacity(COMPLETIONS_PER_TURN),
            spin_cap_ns: seed.config.spin_us * 1000,
            spin_ns: 0,
            spin_until: now,
            gather: Duration::from_micros(seed.config.gather_us),
            yielded: now,
        })
    }

    /// Turns until the node drains.
    ///
    /// # Errors
    /// If the log fails: the node must stop.
    pub async fn run(mut self) -> Result<Report, ReactorError> {
        let mut events = Vec::with_capacity(COMPLETIONS_PER_TURN);
        loop {
            let now = self.clock.now();
            let machine = self.turn.machine();
            while let Some(done) = machine.done() {
                events.push(done);
            }
            events.extend(self.completions.drain(..).map(Uring::translate));
            let outcome = self.turn.turn(now, events.drain(..)).map_err(ReactorError::Log)?;
            #[cfg_attr(not(feature = "canary"), expect(unused_mut, reason = "test only"))]
            let mut busy = match outcome {
                Outcome::Busy => true,
                Outcome::Idle => false,
                Outcome::Ended => return Ok(self.turn.into_report()),
            };
            #[cfg(feature = "canary")]
            {
                busy |= self.turn.machine().run_cache(&mut events) || !events.is_empty();
            }
            self.turn.machine().background.run().await;
            self.wait(busy, now);
            self.turn.machine().trim_readers(); // waiting submitted everything
        }
    }

    /// Submits, and waits for work: not at all, for enough of it, spinning, or asleep.
    fn wait(&mut self, busy: bool, now: tidings_core::Now) {
        if busy
            && !self.gather.is_zero()
            && let Some(time) = self.turn.gather_time(self.clock.mono())
        {
            let wait = Wait::Gather { enough: GATHERED, time: time.min(self.gather) };
            return self.turn.machine().ring.turn(wait, &mut self.completions);
        }
        if busy {
            self.spin_until = Mono(now.mono.0 + self.spin_ns);
            // What the kernel does for this core's writes runs on this core, and it gets no time from a thread that never rests.
            if self.turn.is_writing() && self.clock.mono().since(self.yielded) > YIELD_NS {
                std::thread::yield_now();
                self.yielded = self.clock.mono();
            }
            return self.poll();
        }
        if now.mono < self.spin_until {
            std::hint::spin_loop();
            return self.poll();
        }
        let Some(mut time) = self.turn.begin_rest(now) else { return self.poll() };
        let machine = self.turn.machine();
        if machine.background.is_busy() {
            time = time.min(BACKGROUND_TICK);
        }
        machine.ring.turn(Wait::Upto(time), &mut self.completions);
        self.turn.end_rest();
        // Spin next time if work came so soon that spinning would have met it; if not, spin less.
        let (slept_ns, cap_ns) = (self.clock.mono().since(now.mono), self.spin_cap_ns);
        self.spin_ns = match cap_ns {
            0 => 0,
            cap_ns if slept_ns <= cap_ns => (self.spin_ns * 2).clamp(1000, cap_ns.max(1000)),
            _ => self.spin_ns / 2,
        };
    }

    fn poll(&mut self) {
        self.turn.machine().ring.turn(Wait::Poll, &mut self.completions);
    }
}
