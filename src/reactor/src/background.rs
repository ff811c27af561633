//! What must not happen on the turn: creating and deleting files. Runs in glommio's blocking pool, awaited in a task queue
//! of low shares; the turn picks the results up.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    rc::Rc,
    time::Duration,
};

use glommio::{Latency, Shares, TaskQueueHandle};
use tidings_log::{SlotId, files::Files};
use tidings_ring::Waker;

/// A finished creation: the file, opened for being filled and for appending.
pub type Created = (SlotId, io::Result<(std::fs::File, std::fs::File)>);

/// The background queue of one reactor.
#[derive(Debug)]
pub struct Background {
    queue: TaskQueueHandle,
    waker: Waker,
    pending: Rc<Cell<usize>>,
    done: Rc<RefCell<VecDeque<Created>>>,
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
        let (files, done, waker) = (files.clone(), Rc::clone(&self.done), self.waker.clone());
        let create = async move {
            let create = move || {
                files.create(slot, len)?;
                Ok((files.open_for_fill(slot)?, files.open_for_append(slot)?))
            };
            let made = glommio::executor().spawn_blocking(create).await;
            done.borrow_mut().push_back((slot, made));
            waker.wake();
        };
        let task = glommio::spawn_local_into(create, self.queue).expect("the queue was made on this executor");
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

    /// A creation that is done.
    pub fn take_created(&mut self) -> Option<Created> {
        let created = self.done.borrow_mut().pop_front()?;
        self.pending.set(self.pending.get() - 1);
        Some(created)
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
