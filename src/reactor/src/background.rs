//! What must not happen on the turn: creating and deleting files. Runs in glommio's blocking pool, awaited in a task queue
//! of low shares; the turn picks the results up.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fs::File,
    io,
    rc::Rc,
    time::Duration,
};

use glommio::{Latency, Shares, TaskQueueHandle};
use tidings_log::{SlotId, files::Files};
use tidings_ring::Waker;
use tidings_wire::LogId;

/// What is finished.
#[derive(Debug)]
pub enum Done {
    /// A creation: the file, opened for being filled and for appending.
    Created(SlotId, io::Result<(File, File)>),
    /// A deletion.
    Removed(LogId, io::Result<()>),
}

/// The background queue of one reactor.
#[derive(Debug)]
pub struct Background {
    queue: TaskQueueHandle,
    waker: Waker,
    pending: Rc<Cell<usize>>,
    done: Rc<RefCell<VecDeque<Done>>>,
}

/// Shares of the background queue against the turn's 1000.
const SHARES: usize = 50;

impl Background {
    /// The queue, on the executor that runs here. `waker` is called when something is done.
    pub fn new(waker: Waker) -> Self {
        let queue = glommio::executor().create_task_queue(Shares::Static(SHARES), Latency::NotImportant, "background");
        Self { queue, waker, pending: Rc::default(), done: Rc::default() }
    }

    /// Creates a segment's file.
    ///
    /// # Panics
    /// If the executor is gone: it runs this code.
    pub fn create(&mut self, files: &Files, slot: SlotId, len: u64) {
        let files = files.clone();
        self.begin(move || {
            let create = || {
                files.create(slot, len)?;
                Ok((files.open_for_fill(slot)?, files.open_for_append(slot)?))
            };
            Done::Created(slot, create())
        });
    }

    /// Deletes a segment's file.
    ///
    /// # Panics
    /// If the executor is gone: it runs this code.
    pub fn remove(&mut self, files: &Files, log: LogId, slot: SlotId) {
        let files = files.clone();
        self.begin(move || Done::Removed(log, files.remove(slot)));
    }

    fn begin(&mut self, work: impl FnOnce() -> Done + std::marker::Send + 'static) {
        let (done, waker) = (Rc::clone(&self.done), self.waker.clone());
        let work = async move {
            let finished = glommio::executor().spawn_blocking(work).await;
            done.borrow_mut().push_back(finished);
            waker.wake();
        };
        let task = glommio::spawn_local_into(work, self.queue).expect("the queue was made on this executor");
        task.detach();
        self.pending.set(self.pending.get() + 1);
        if self.pending.get() == 1 {
            self.tick();
        }
    }

    /// The executor may park although the turn is runnable (glommio 0.9): while it is entered at all, a timer bounds that.
    fn tick(&self) {
        let pending = Rc::clone(&self.pending);
        let tick = async move {
            while pending.get() > 0 {
                glommio::timer::sleep(Duration::from_millis(1)).await;
            }
        };
        let task = glommio::spawn_local_into(tick, self.queue).expect("the queue was made on this executor");
        task.detach();
    }

    /// Something that is done.
    pub fn take_done(&mut self) -> Option<Done> {
        let done = self.done.borrow_mut().pop_front()?;
        self.pending.set(self.pending.get() - 1);
        Some(done)
    }

    /// Lets background tasks run, if there are any. To be awaited once a turn.
    pub async fn run(&self) {
        if self.is_busy() {
            glommio::executor().yield_task_queue_now().await;
        }
    }

    /// True if something is under way.
    pub fn is_busy(&self) -> bool {
        self.pending.get() > 0
    }
}
