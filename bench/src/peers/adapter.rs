//! A server that is not ours, as the load sees it: two ends of a conversation, and what must be told to each.

use std::net::SocketAddr;

use crate::Failure;

/// A server, connected.
pub trait Adapter: Sized {
    /// The end that writes.
    type Sender: Sender + 'static;
    /// The end that reads.
    type Receiver: Receiver + 'static;

    /// Connects, and makes what all pairs need; fails as long as the server is not ready.
    async fn connect(addr: SocketAddr, pairs: usize) -> Result<Self, Failure>;

    /// The two ends of a pair, each with a connection of its own if that is how the server is used.
    async fn pair(&self, at: usize) -> Result<(Self::Sender, Self::Receiver), Failure>;
}

/// Writes. Messages keep the order in which `send` was called and first polled.
pub trait Sender {
    /// Sends; done when the server acknowledged.
    fn send(&self, body: Vec<u8>) -> impl Future<Output = Result<(), Failure>>;
}

/// Reads.
pub trait Receiver {
    /// A message's content.
    type Body: AsRef<[u8]>;

    /// What came, at least one.
    async fn receive(&mut self) -> Result<Vec<Self::Body>, Failure>;

    /// Tells the server how far this end is, if the server wants to know it.
    async fn confirm(&mut self) -> Result<(), Failure>;
}
