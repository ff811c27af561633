//! The door: what stands between a socket and a stream of frames. A connection is raw, or in TLS, or in a WebSocket, or in both; which,
//! its first bytes say, so one port serves all of them. Nothing here does I/O: received bytes go in, bytes of the stream come out, and
//! the other way round. Connections that are neither in TLS nor in a WebSocket need no door.
#![forbid(unsafe_code)]

pub mod client;
mod door;
mod http;
mod mask;
mod pages;
mod sniff;
pub mod tls;
mod websocket;

pub use door::{Door, End, Last, Opened, Place, Rules};
pub use http::{HEAD_MAX, PATH, SUBPROTOCOL};
pub use pages::{Asked, BODY_MAX, Pages};
pub use sniff::{Speaks, refusal, sniff, too_many};
pub use websocket::{CloseCode, MESSAGE_MAX, WebSocket};
