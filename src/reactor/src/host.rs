//! Where reactors live: one glommio executor on one pinned thread each.

use std::{os::fd::OwnedFd, sync::Arc};

use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use tidings_core::{Down, Node, StateStore, Up, Verifier};
use tidings_log::Epoch;
use tidings_mesh::Port;

use crate::{
    config::ReactorConfig,
    log_port::LogFiles,
    reactor::{Reactor, ReactorError},
    report::Report,
    shared::Shared,
};

/// Everything that a reactor begins with. Made by whoever recovered the data directory; moved to the reactor's thread.
pub struct Seed<V> {
    /// Its settings.
    pub config: ReactorConfig,
    /// Its share of the node, recovered.
    pub node: Node,
    /// This run.
    pub epoch: Epoch,
    /// Bytes of a segment.
    pub segment_len: u64,
    /// Its log.
    pub log: LogFiles,
    /// Its lanes.
    pub lanes: Port<Up, Down>,
    /// Checks tokens.
    pub verifier: V,
    /// Loads what is not in memory.
    pub store: Box<dyn StateStore + Send>,
    /// What it shares with others.
    pub shared: Arc<Shared>,
    /// Its listening socket.
    pub listener: OwnedFd,
}

impl<V> std::fmt::Debug for Seed<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Seed({})", self.node.config().me.0)
    }
}

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
    let name = format!("reactor-{}", seed.node.config().me.0);
    let handle = LocalExecutorBuilder::new(Placement::Fixed(core))
        .name(&name)
        .io_memory(GLOMMIO_IO_MEMORY)
        .ring_depth(GLOMMIO_RING_DEPTH)
        .spawn(move || async move {
            let _ended = OnDrop(Some(ended));
            let shared = Arc::clone(&seed.shared);
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
