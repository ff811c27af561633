//! The load for peers: the same schedule, window and checks as for ours, through their public clients on one thread.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::{
    runtime::{Builder, Runtime},
    sync::Notify,
    task::{LocalSet, yield_now},
};

use super::{
    adapter::{Adapter, Receiver, Sender},
    process::PeerProcess,
};
use crate::{
    Failure,
    drive::{
        Load, Mark, Offer, Outcome, Phases,
        offers::{Measured, Offers},
        pace::Pace,
    },
};

/// How long a server may take until it lets somebody in.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// A schedule is left to the runtime's timer only until so long before its next message, since that counts in milliseconds.
const SPIN: Duration = Duration::from_millis(2);
/// Digits of a message's number, in front of its content.
const DIGITS: usize = 16;

struct Shared {
    ledgers: Vec<RefCell<Offers>>,
    due: Vec<Notify>,
    measured: RefCell<Measured>,
    depth: Cell<Option<u64>>,
    failed: RefCell<Option<Failure>>,
    payload: Vec<u8>,
}

/// Pairs that are connected to a peer.
pub struct Engine {
    runtime: Runtime,
    local: LocalSet,
    shared: Rc<Shared>,
}

impl Engine {
    /// Connects everybody.
    ///
    /// # Errors
    /// If the server ends, or does not let them in.
    pub fn connect<A: Adapter>(process: &PeerProcess, pairs: usize, payload: usize) -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let local = LocalSet::new();
        let shared = Rc::new(Shared {
            ledgers: (0..pairs).map(|_| RefCell::new(Offers::new())).collect(),
            due: (0..pairs).map(|_| Notify::new()).collect(),
            measured: RefCell::new(Measured::nothing()),
            depth: Cell::new(None),
            failed: RefCell::new(None),
            payload: (0..payload.max(DIGITS)).map(|at| b'a' + (at % 26) as u8).collect(),
        });
        let all = Rc::clone(&shared);
        local.block_on(&runtime, async move {
            let adapter = connect_in_time::<A>(process, pairs).await?;
            for at in 0..pairs {
                let (sender, receiver) = adapter.pair(at).await?;
                let (one, other) = (Rc::clone(&all), Rc::clone(&all));
                tokio::task::spawn_local(async move {
                    let ended = one.write(at, sender).await;
                    one.end(ended);
                });
                tokio::task::spawn_local(async move {
                    let ended = other.read(at, receiver).await;
                    other.end(ended);
                });
            }
            Ok::<_, Failure>(())
        })?;
        Ok(Self { runtime, local, shared })
    }
}

async fn connect_in_time<A: Adapter>(process: &PeerProcess, pairs: usize) -> Result<A, Failure> {
    let until = Instant::now() + READY_WITHIN;
    loop {
        process.still_runs()?;
        match A::connect(process.addr, pairs).await {
            Ok(adapter) => return Ok(adapter),
            Err(error) if Instant::now() >= until => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

impl Load for Engine {
    fn run(&mut self, offer: Offer, phases: Phases, mark: &mut dyn FnMut(Mark)) -> Result<Outcome, Failure> {
        let shared = Rc::clone(&self.shared);
        self.local.block_on(&self.runtime, async move { shared.drive(offer, phases, mark).await })
    }

    fn unfinished(&self) -> u64 {
        self.shared.unfinished()
    }
}

impl Shared {
    fn unfinished(&self) -> u64 {
        self.ledgers.iter().map(|offers| offers.borrow().unfinished()).sum()
    }

    fn end(&self, ended: Result<(), Failure>) {
        if let Err(error) = ended {
            self.failed.borrow_mut().get_or_insert(error);
        }
    }

    /// A message: its number, then a pattern.
    fn body(&self, id: u64) -> Vec<u8> {
        let mut body = self.payload.clone();
        body[..DIGITS].copy_from_slice(format!("{id:0DIGITS$x}").as_bytes());
        body
    }

    /// The number of a message, and whether its content is what was sent; none for what is no message.
    fn read_body(&self, body: &[u8]) -> Option<(u64, bool)> {
        let digits = std::str::from_utf8(body.get(..DIGITS)?).ok()?;
        Some((u64::from_str_radix(digits, 16).ok()?, body[DIGITS..] == self.payload[DIGITS..]))
    }

    /// The next message of a pair that may be sent.
    fn next(&self, at: usize) -> Option<u64> {
        let mut offers = self.ledgers[at].borrow_mut();
        if let Some(depth) = self.depth.get() {
            offers.refill(depth, Instant::now());
        }
        offers.next(u64::from(tidings_wire::limits::WINDOW), Instant::now())
    }

    async fn write(&self, at: usize, sender: impl Sender) -> Result<(), Failure> {
        let sender = &sender;
        let mut answers = FuturesUnordered::new();
        loop {
            while let Some(id) = self.next(at) {
                let body = self.body(id);
                answers.push(async move { sender.send(body).await.map(|()| id) });
            }
            tokio::select! {
                biased;
                Some(id) = answers.next(), if !answers.is_empty() => {
                    let (id, now) = (id?, Instant::now());
                    self.ledgers[at].borrow_mut().on_sent(id, true, now, &mut self.measured.borrow_mut());
                }
                () = self.due[at].notified() => {}
            }
        }
    }

    async fn read(&self, at: usize, mut receiver: impl Receiver) -> Result<(), Failure> {
        loop {
            let bodies = receiver.receive().await?;
            let now = Instant::now();
            for body in &bodies {
                let (mut offers, mut measured) = (self.ledgers[at].borrow_mut(), self.measured.borrow_mut());
                match self.read_body(body.as_ref()) {
                    Some((id, right)) => offers.on_message(id, right, now, &mut measured),
                    None => measured.wrong += 1,
                }
            }
            receiver.confirm().await?;
        }
    }

    async fn drive(&self, offer: Offer, phases: Phases, mark: &mut dyn FnMut(Mark)) -> Result<Outcome, Failure> {
        let mut pace = Pace::new(offer, self.ledgers.len(), phases);
        *self.measured.borrow_mut() = Measured::new(pace.window());
        if let Offer::Closed { depth } = offer {
            self.depth.set(Some(depth));
            self.due.iter().for_each(Notify::notify_one);
        }
        loop {
            let now = Instant::now();
            while let Some(reached) = pace.mark(now) {
                if reached == Mark::End {
                    self.depth.set(None);
                }
                mark(reached);
            }
            while let Some((due, pair)) = pace.next(now) {
                self.ledgers[pair].borrow_mut().put(due);
                self.due[pair].notify_one();
            }
            if pace.is_done(|| self.unfinished()) {
                break;
            }
            self.check()?;
            let left = pace.left(now);
            if left > 2 * SPIN { tokio::time::sleep(left - SPIN).await } else { yield_now().await }
        }
        let measured = self.measured.replace(Measured::nothing());
        let (due, seconds) = (pace.due, pace.seconds());
        Ok(Outcome { measured, due, late_us: pace.late_us, unfinished: self.unfinished(), seconds })
    }

    fn check(&self) -> Result<(), Failure> {
        self.failed.borrow_mut().take().map_or(Ok(()), Err)
    }
}
