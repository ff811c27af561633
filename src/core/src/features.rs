//! Features: what a message may do besides having a place in a conversation's order. Each is one file that says what is allowed
//! ([`Feature::judge`]) and what it changes ([`Feature::apply`]), and one line of a table. Numbering, repeats, storage, delivery and recovery are
//! the engine's, which knows no feature by name.

mod about;
mod group;
pub(crate) mod receipt;
mod streamed;
mod text;
pub(crate) mod timer;

use core::fmt;

use tidings_wire::{
    ConversationId, ErrorCode, Seq, Timestamp, UserId,
    frames::{Control, Role, about::control as about_control, group::control, streamed::control as streamed_control},
};

pub use crate::conversation::changes::Changes;
use crate::conversation::{changes::Change, membership::Membership, state::Size, view::View};

/// What somebody wants to do, or did.
#[derive(Clone, Copy, Debug)]
pub struct Act<'a> {
    /// The number that it gets, or got.
    pub seq: Seq,
    /// Messages with content up to and including it.
    pub ordinal: u64,
    /// The message that it is about; 0: none.
    pub target: Seq,
    /// What the server must read of it.
    pub body: &'a [u8],
}

/// A message that an act is about, as far as the server remembers of one that is stored.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Who wrote it.
    pub author: UserId,
    /// When, to the second.
    pub written: Timestamp,
    /// What it is.
    pub nature: Nature,
    /// When it disappears, to the second; 0: never.
    pub expires_at: Timestamp,
}

/// What a message is to others that are about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// It has content.
    Content,
    /// It says something about another message.
    About,
    /// It changes the conversation, or ends another message.
    Act,
}

impl Nature {
    /// Of a message with this control and weight.
    pub fn of(control: Control, weight: Weight) -> Self {
        match weight {
            Weight::Content => Self::Content,
            Weight::Control if control.is_about_target() && control != streamed_control::END => Self::About,
            Weight::Control => Self::Act,
        }
    }
}

/// How long after it was written a message may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Seconds in which its author may edit it.
    pub edit_s: u32,
    /// Seconds in which its author may withdraw it.
    pub erase_s: u32,
}

/// What only whoever judges knows: it is not the same on every replica, nor at a start.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// The time.
    pub now: Timestamp,
    /// Bytes of the payload.
    pub payload_len: usize,
    /// The message that the act is about, if that is stored.
    pub target: Option<Target>,
    /// How long messages may be changed.
    pub windows: Windows,
}

impl Situation {
    /// True if a message has disappeared.
    pub fn is_gone(&self, target: &Target) -> bool {
        target.expires_at > Timestamp(0) && target.expires_at <= self.now
    }

    /// True if a message was written longer ago.
    pub fn is_older(&self, target: &Target, than_s: u32) -> bool {
        self.now.0.saturating_sub(target.written.0) > u64::from(than_s) * 1_000_000
    }
}

/// What a feature can see of a conversation: what is committed and what is proposed over it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    view: View<'a>,
    conversation: ConversationId,
    sender: UserId,
    control: Control,
}

impl<'a> Seen<'a> {
    pub(crate) fn new(view: View<'a>, (conversation, sender): (ConversationId, UserId), control: Control) -> Self {
        Self { view, conversation, sender, control }
    }

    /// The conversation.
    pub fn conversation(&self) -> ConversationId {
        self.conversation
    }

    /// Who wants to do it.
    pub fn sender(&self) -> UserId {
        self.sender
    }

    /// The last number that was given out.
    pub fn head(&self) -> Seq {
        self.view.head()
    }

    /// What the feature keeps of the conversation.
    pub fn kept(&self) -> &'a [u8] {
        self.view.kept(self.control)
    }

    /// What a user may do.
    pub fn role(&self, user: UserId) -> Role {
        self.view.membership(user).map_or(Role::None, |membership| membership.role)
    }

    /// True if the sender can read a message of this number.
    pub fn reads(&self, seq: Seq) -> bool {
        seq > Seq(0) && seq <= self.head() && self.view.membership(self.sender).is_some_and(|own| own.reads(seq))
    }

    /// The message that withdrew another one, if one did.
    pub fn erasure(&self, target: Seq) -> Option<Seq> {
        self.view.erasure(target)
    }

    /// True if a message has not ended.
    pub fn grows(&self, seq: Seq) -> bool {
        streamed::Streams::of(&self.view).writer(seq).is_some()
    }

    /// True if a message is committed: else it may yet be dropped.
    pub fn is_committed(&self, seq: Seq) -> bool {
        seq <= self.view.state.head
    }

    /// True of a large group.
    pub fn is_large(&self) -> bool {
        self.view.size() == Size::Large
    }

    /// True if the other member of a one-to-one conversation blocks the sender.
    pub fn is_withheld(&self) -> bool {
        let member = self.view.state.member(self.sender).filter(|_| self.conversation.is_direct());
        member.is_some_and(|member| self.view.is_blocked(self.sender, self.view.state.members.other(member).user))
    }

    /// How many members there are.
    pub fn members(&self) -> usize {
        self.view.current()
    }
}

impl Changes {
    /// The feature keeps something else; nothing, if that is empty. An act after which it would be more than [`KEPT_MAX`] is refused by
    /// the engine.
    pub fn keep(&mut self, seen: &Seen<'_>, kept: &[u8]) {
        self.push(Change::Keep(seen.control, kept.into()));
    }

    fn keep_as(&mut self, control: Control, kept: &[u8]) {
        self.push(Change::Keep(control, kept.into()));
    }

    fn member(&mut self, user: UserId, membership: Membership) {
        self.push(Change::Member(user, membership));
    }

    fn erase(&mut self, target: Seq) {
        self.push(Change::Erase(target));
    }
}

/// Bytes that a feature may keep of a conversation.
pub const KEPT_MAX: usize = 4 * 1024;

/// An act that is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// It gets a number.
    New,
    /// It was done before, as this message: answered like a repeat.
    Done(Seq),
}

/// An act that has a place in a conversation's order. Both functions are pure; what [`Feature::apply`] does is the same on every replica, at a
/// commit and at a start.
pub trait Feature: fmt::Debug + Sync {
    /// Whether it is allowed. Changes nothing.
    ///
    /// # Errors
    /// Why it is not.
    fn judge(&self, seen: &Seen<'_>, act: &Act<'_>, situation: &Situation) -> Result<Allowed, ErrorCode>;

    /// What it changes, once it is message `act.seq`.
    fn apply(&self, seen: &Seen<'_>, act: &Act<'_>, changes: &mut Changes);

    /// What of a body that was allowed is in the message, which all members get.
    fn told<'a>(&self, body: &'a [u8]) -> &'a [u8] {
        body
    }
}

/// Whether a message counts as something to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// It has content: it counts.
    Content,
    /// It is about others.
    Control,
}

impl Weight {
    /// How many messages with content it is.
    pub fn counts(self) -> u64 {
        u64::from(self == Self::Content)
    }
}

/// Who may try it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actors {
    /// Members. Whoever was one before is refused without asking the feature.
    Members,
    /// Whoever is or was a member, and whoever makes the conversation by it.
    Creators,
    /// Anybody, if the conversation is there.
    Anybody,
}

/// A line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The number in SEND and MESSAGE.
    pub control: Control,
    /// Its name in documents and reports.
    pub name: &'static str,
    /// Whether its messages count.
    pub weight: Weight,
    /// Who may try it.
    pub actors: Actors,
    /// What it does.
    pub feature: &'static dyn Feature,
}

const fn of_groups(control: Control, name: &'static str, feature: &'static dyn Feature) -> Row {
    let actors = match control {
        control::CREATE => Actors::Creators,
        control::JOIN => Actors::Anybody,
        _ => Actors::Members,
    };
    Row { control, name, weight: Weight::Control, actors, feature }
}

const fn of_members(control: Control, name: &'static str, feature: &'static dyn Feature) -> Row {
    Row { control, name, weight: Weight::Control, actors: Actors::Members, feature }
}

/// The features of this server, by their numbers. Receipts have frames of their own and no number (`features/receipt.rs`).
pub const FEATURES: &[Row] = &[
    Row {
        control: Control::TEXT,
        name: "text",
        weight: Weight::Content,
        actors: Actors::Members,
        feature: &text::Text,
    },
    of_groups(control::CREATE, "create", &group::create::Create),
    of_groups(control::ADD, "add", &group::members::Add),
    of_groups(control::REMOVE, "remove", &group::members::Remove),
    of_groups(control::LEAVE, "leave", &group::members::Leave),
    of_groups(control::ROLE, "role", &group::members::ChangeRole),
    of_groups(control::SETTINGS, "settings", &group::settings::ChangeSettings),
    of_groups(control::DELETE, "delete", &group::settings::Delete),
    of_groups(control::LINK, "link", &group::link::ChangeLink),
    of_groups(control::JOIN, "join", &group::link::Join),
    of_members(about_control::EDIT, "edit", &about::Edit),
    of_members(about_control::ERASE, "erase", &about::Erase),
    of_members(about_control::REACT, "react", &about::React),
    of_members(about_control::TIMER, "timer", &timer::ChangeTimer),
    Row {
        control: streamed_control::OPEN,
        name: "open",
        weight: Weight::Content,
        actors: Actors::Members,
        feature: &streamed::Open,
    },
    of_members(streamed_control::END, "end", &streamed::End),
];

/// The weight of a control. What a later version of the server knew has none here.
pub(crate) fn weight(features: &'static [Row], control: Control) -> Weight {
    find(features, control).map_or(Weight::Control, |row| row.weight)
}

/// The feature of a control.
pub(crate) fn find(features: &'static [Row], control: Control) -> Option<&'static Row> {
    features.iter().find(|row| row.control == control)
}

pub(crate) use group::{Group, is_deleted, refusal_of_former};
pub(crate) use streamed::Streams;
pub(crate) use text::may_write;
