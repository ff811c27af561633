//! Something that goes on beside what is measured, on a thread of its own and the load's core: a ring stays on its thread.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

use crate::{Failure, cpu};

/// What the thread beside tells and is told.
#[derive(Debug)]
pub struct Beside<'a> {
    ready: Sender<()>,
    go: Receiver<()>,
    over: &'a AtomicBool,
}

impl Beside<'_> {
    /// It is ready, or has begun.
    pub fn is_ready(&self) {
        // Who is not waited for any more need not say it.
        let _gone = self.ready.send(());
    }

    /// Waits until it is told to go on, or that it is over.
    pub fn wait(&self) {
        let _over = self.go.recv();
    }

    /// What says that it is over.
    pub fn over(&self) -> &AtomicBool {
        self.over
    }
}

/// What the measuring thread tells and is told.
#[derive(Debug)]
pub struct Here {
    ready: Receiver<()>,
    go: Sender<()>,
}

impl Here {
    /// Waits until the other is ready.
    ///
    /// # Errors
    /// If it has ended instead: why is told where it is joined.
    pub fn wait(&self) -> Result<(), Failure> {
        Ok(self.ready.recv()?)
    }

    /// Tells the other to go on.
    pub fn go(&self) {
        // An error of the other's is told where it is joined.
        let _gone = self.go.send(());
    }
}

/// Runs `other` on a thread of its own beside `here`, after which it is told that it is over.
///
/// # Errors
/// If one of them fails: the other's first, since it may be the reason.
pub fn beside<A: Send, B>(
    core: usize,
    other: impl FnOnce(&Beside<'_>) -> Result<A, Failure> + Send,
    here: impl FnOnce(&Here) -> Result<B, Failure>,
) -> Result<(A, B), Failure> {
    let over = AtomicBool::new(false);
    let ((ready, hear), (go, wait)) = (mpsc::channel(), mpsc::channel());
    thread::scope(|scope| {
        let over = &over;
        let thread = scope.spawn(move || {
            cpu::pin(core);
            other(&Beside { ready, go: wait, over }).map_err(|error| error.to_string())
        });
        let here_too = Here { ready: hear, go };
        let done = here(&here_too);
        over.store(true, Ordering::Relaxed);
        drop(here_too);
        let other = thread.join().map_err(|_| "a thread beside the load panicked")??;
        Ok((other, done?))
    })
}
