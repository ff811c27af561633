//! Something that goes on beside what is measured, on a thread of its own and the load's core: a ring stays on its thread.

use std::{
    cell::Cell,
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

    /// Waits until it is told to go on.
    ///
    /// # Errors
    /// If it is over instead.
    pub fn wait_to_go(&self) -> Result<(), Failure> {
        Ok(self.go.recv().map_err(|_over| "it was over before it began")?)
    }

    /// Waits until it is over.
    pub fn wait_for_the_end(&self) {
        while self.go.recv().is_ok() {}
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
    was_ready: Cell<bool>,
}

impl Here {
    /// Waits until the other is ready.
    ///
    /// # Errors
    /// If it has ended instead: why is told where it is joined.
    pub fn wait(&self) -> Result<(), Failure> {
        self.ready.recv()?;
        self.was_ready.set(true);
        Ok(())
    }

    fn was_ready(&self) -> bool {
        self.was_ready.get()
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
/// If one of them fails. Where `other` failed before it was ready, or first, that is why.
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
        let here_too = Here { ready: hear, go, was_ready: Cell::new(false) };
        let done = here(&here_too);
        let is_ready = here_too.was_ready();
        over.store(true, Ordering::Relaxed);
        drop(here_too);
        let other = thread.join().map_err(|_| "a thread beside the load panicked")?;
        match (done, other) {
            (Ok(done), other) => Ok((other?, done)),
            (Err(error), Ok(_)) => Err(error),
            // It never came so far that it could be waited for.
            (Err(_), Err(error)) if !is_ready => Err(error.into()),
            (Err(error), Err(other)) => Err(format!("{error}; beside it: {other}").into()),
        }
    })
}
