//! Where reactors live: one glommio executor on one pinned thread each.

use std::sync::Arc;

use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use tidings_core::Verifier;
use tidings_turn::Report;

use crate::reactor::{Reactor, ReactorError, Seed};

/// A reactor that runs.
pub struct Hosted {
    handle: ExecutorJoinHandle<Result<Report, ReactorError>>,
}

impl std::fmt::Debug for Hosted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hosted")
    }
}

/// Memory for glommio's own I/O, which reactors do not use: the least it takes.
const GLOMMIO_IO_MEMORY: usize = 64 << 10;
/// Depth of glommio's own rings.
const GLOMMIO_RING_DEPTH: usize = 16;

/// Starts a reactor on its core. `ended` is called on its thread when it ends, for whatever reason.
///
/// # Errors
/// If there is no thread to be had, or no such core.
pub fn start<V: Verifier + Send + 'static>(
    seed: Seed<V>,
    ended: impl FnOnce() + Send + 'static,
) -> Result<Hosted, String> {
    let core = seed.config.core;
    let name = format!("reactor-{}", seed.turn.node.config().me.0);
    let handle = LocalExecutorBuilder::new(Placement::Fixed(core))
        .name(&name)
        .io_memory(GLOMMIO_IO_MEMORY)
        .ring_depth(GLOMMIO_RING_DEPTH)
        .spawn(move || async move {
            let _ended = OnDrop(Some(ended));
            let shared = Arc::clone(&seed.turn.shared);
            let result = match Reactor::new(seed) {
                Ok(reactor) => reactor.run().await,
                Err(error) => Err(error),
            };
            if result.is_err() {
                shared.set_quiet(); // the others must not wait for this one
            }
            result
        })
        .map_err(|error| format!("no executor on core {core}: {error}"))?;
    Ok(Hosted { handle })
}

/// Calls what it holds when it goes, also while a panic unwinds.
struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call();
        }
    }
}

impl Hosted {
    /// Waits for the reactor's end.
    ///
    /// # Errors
    /// Why it ended, if not since it drained.
    pub fn join(self) -> Result<Report, String> {
        match self.handle.join() {
            Ok(Ok(report)) => Ok(report),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(format!("a reactor's thread failed: {error}")),
        }
    }
}
