//! The fixed part of every kind of frame, grouped by what they are about.

pub mod about;
pub mod clear;
pub mod forget;
pub mod group;
pub mod message;
pub mod presence;
pub mod receipt;
pub mod session;
pub mod streamed;
pub mod sync;
pub mod user;

pub use about::Timer;
pub use clear::{Clear, Media};
pub use forget::{Forget, Forgotten, ForgottenRange};
pub use group::{
    Describe, Described, DescribedMember, GroupAct, GroupSettings, HistoryFrom, LinkBody, Role, RoleBody, Users,
};
pub use message::{Control, Message, MessageFlags, Send, Sent, TraceId};
pub use presence::{Activity, Doing, Presence, PresenceState, SetActivity, Typing, Watch};
pub use receipt::{Delivered, Read, Receipt, ReceiptKind, ReceiptOk};
pub use session::{Bye, ByeReason, ErrorFrame, Hello, Ping, Pong, Reauth, ReauthOk, Welcome};
pub use streamed::{Fragment, More, Opened};
pub use sync::{Changed, ChangedConversation, Fetch, FetchOrder, Fetched, Resume, ResumeStatus, SyncDone};
pub use user::{DeviceList, Devices, ListedDevice, Revoke, Set, Setting, SettingKey, Visibility};

/// Declares the kind and the pinned sizes of fixed parts: `first` is the size that was first published, and the
/// compiler checks that today's is what is written here.
macro_rules! fixed_parts {
    ($($name:ident: $kind:ident, first $first:literal, now $now:literal;)*) => {$(
        impl crate::archive::Archived for $name {
            const FIRST_LEN: usize = $first;
        }
        impl crate::frame::FixedPart for $name {
            const KIND: crate::header::Kind = crate::header::Kind::$kind;
        }
        const _: () = {
            assert!(size_of::<<$name as rkyv::Archive>::Archived>() == $now);
            assert!(align_of::<<$name as rkyv::Archive>::Archived>() == 1);
            assert!($now <= crate::limits::FIXED_MAX && $first <= $now);
        };
    )*};
}
pub(crate) use fixed_parts;
