//! The scribe: one thread of a node that writes down where logs end. Such a note is awaited by nobody on the turn, and takes
//! two durable writes of a small file that all reactors share.

use std::{fmt, io, sync::Arc, thread::JoinHandle};

use crossbeam::{
    channel::{Sender, unbounded},
    queue::SegQueue,
};
use tidings_log::LogEnd;
use tidings_ring::Waker;
use tidings_wire::LogId;

/// Where it is written down where logs end.
pub trait Notes: fmt::Debug + Send + Sync {
    /// A log ends there at least, or is not there any more (`None`). Durable on return.
    ///
    /// # Errors
    /// If it cannot be written; then what was written before still is.
    fn note(&self, log: LogId, end: Option<LogEnd>) -> io::Result<()>;
}

/// A note that was written, or not.
type Noted = (LogId, io::Result<()>);

#[derive(Debug)]
struct Request {
    log: LogId,
    end: Option<LogEnd>,
    done: Arc<SegQueue<Noted>>,
    waker: Waker,
}

/// The thread. It ends once nobody can ask it for anything.
#[derive(Debug)]
pub struct Scribe {
    requests: Sender<Request>,
    thread: JoinHandle<()>,
}

impl Scribe {
    /// Starts it.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn start(notes: Arc<dyn Notes>) -> io::Result<Self> {
        // One note a reactor is under way at most, so the channel is bounded by their number.
        let (requests, received) = unbounded::<Request>();
        let work = move || {
            for Request { log, end, done, waker } in received {
                done.push((log, notes.note(log, end)));
                waker.wake();
            }
        };
        let thread = std::thread::Builder::new().name("scribe".into()).spawn(work)?;
        Ok(Self { requests, thread })
    }

    /// How a reactor asks it, which is woken by `waker`.
    pub fn desk(&self, waker: &crate::Wake) -> Desk {
        Desk { requests: self.requests.clone(), done: Arc::default(), waker: waker.0.clone() }
    }

    /// Waits until everything is written that was asked for. The reactors must have ended.
    pub fn finish(self) {
        drop(self.requests);
        // It only panics if a note does, and then what was written before still is.
        let _ended = self.thread.join();
    }
}

/// A reactor's side of the scribe.
#[derive(Debug)]
pub struct Desk {
    requests: Sender<Request>,
    done: Arc<SegQueue<Noted>>,
    waker: Waker,
}

impl Desk {
    /// Asks for a note.
    pub(crate) fn note(&self, log: LogId, end: Option<LogEnd>) {
        let (done, waker) = (Arc::clone(&self.done), self.waker.clone());
        if self.requests.send(Request { log, end, done, waker }).is_err() {
            self.done.push((log, Err(io::Error::other("nobody writes notes any more"))));
        }
    }

    /// A note that is done.
    pub(crate) fn take_noted(&self) -> Option<Noted> {
        self.done.pop()
    }
}
