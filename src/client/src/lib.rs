//! The Rust SDK: what an application uses to talk to tidings.
//!
//! [`Session`] is its heart: a state machine without I/O that any executor can drive. It sends with retry and
//! idempotency, releases messages of a conversation strictly as `last + 1` and fetches what is missing, repeats receipts
//! until they are durable, and resumes after a reconnect. [`blocking::Client`] is a small shell around it, over
//! TCP, TLS or a WebSocket (features `tls` and `websocket`); `asynchronous::Client` is another one for programs on tokio (feature `tokio`):
//!
//! ```no_run
//! use tidings_client::{Config, Event, UserId, blocking::{Client, Server}};
//!
//! // Or tls://chat.example, ws://, wss://
//! let server: Server = "127.0.0.1:7600".parse()?;
//! let mut client = Client::new(server, Config::new("alice", 1, b"token".to_vec()));
//! client.session().send(UserId::derive("default", "bob"), b"hi bob");
//! while let Some(event) = client.poll(std::time::Duration::from_secs(5))? {
//!     if let Event::Sent { seq, .. } = event {
//!         println!("durable as number {seq}");
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

#[cfg(feature = "tokio")]
pub mod asynchronous;
mod backoff;
pub mod blocking;
mod config;
mod content;
mod conversation;
mod event;
mod forgotten;
mod group;
mod history;
mod incoming;
mod outgoing;
mod own;
mod presence;
mod refusals;
mod session;
mod streamed;
mod sync;
mod token;

pub use config::{Config, DEFAULT_TENANT, History, OUTBOX_BYTES, Packing, Time, Tokens};
pub use content::Content;
pub use event::{Event, Group, Loss, Message, Preferences, Watermarks};
pub use own::{Device, ReadReceipts};
pub use session::Session;
pub use sync::{SavedConversation, SavedMessage, SavedState};
pub use tidings_wire::{
    ClientMsgId, ConversationId, DeviceId, ErrorCode, Lineage, Seq, Timestamp, UserId, Uv,
    frames::{
        Activity, Clear, Control, DescribedMember, Doing, GroupAct, GroupSettings, HistoryFrom, LinkBody, Media,
        MessageFlags, PresenceState, Role, RoleBody, Timer, Users, Visibility, about::control as about_control,
        group::control, streamed::control as streamed_control,
    },
};
