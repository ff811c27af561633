//! Features: what a message may do besides having a place in a conversation's order. Each is one file that says what is allowed
//! ([`Feature::judge`]) and what it changes ([`Feature::apply`]), and one line of a table. Numbering, repeats, storage, delivery and recovery are
//! the engine's, which knows no feature by name.

pub(crate) mod receipt;
mod text;

use core::fmt;

use tidings_wire::{ErrorCode, Seq, frames::Control};

use crate::conversation::{state::Settings, view::View};

/// What somebody wants to do.
#[derive(Clone, Copy, Debug)]
pub struct Act<'a> {
    /// The message that it is about; 0: none.
    pub target: Seq,
    /// What the server must read of it.
    pub body: &'a [u8],
}

/// What a feature can see of a conversation: what is committed and what is proposed over it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    view: View<'a>,
    control: Control,
}

impl<'a> Seen<'a> {
    pub(crate) fn new(view: View<'a>, control: Control) -> Self {
        Self { view, control }
    }

    /// The last number that was given out.
    pub fn head(&self) -> Seq {
        self.view.head()
    }

    /// What the feature keeps of the conversation.
    pub fn kept(&self) -> &'a [u8] {
        self.view.kept(self.control)
    }
}

/// What a feature can change of a conversation: what it keeps of it.
#[derive(Debug)]
pub struct Kept<'a> {
    settings: &'a mut Settings,
    control: Control,
}

impl<'a> Kept<'a> {
    pub(crate) fn new(settings: &'a mut Settings, control: Control) -> Self {
        Self { settings, control }
    }

    /// What the feature keeps.
    pub fn get(&self) -> &[u8] {
        self.settings.get(self.control)
    }

    /// Keeps something else; nothing, if that is empty. An act after which it would be more than [`KEPT_MAX`] is refused by the engine.
    pub fn set(&mut self, kept: &[u8]) {
        self.settings.set(self.control, kept);
    }
}

/// Bytes that a feature may keep of a conversation.
pub const KEPT_MAX: usize = 4 * 1024;

/// An act that has a place in a conversation's order. Both functions are pure: the same on every replica, at a commit and at a start.
pub trait Feature: fmt::Debug + Sync {
    /// Whether it is allowed. Changes nothing.
    ///
    /// # Errors
    /// Why it is not.
    fn judge(&self, seen: &Seen<'_>, act: &Act<'_>) -> Result<(), ErrorCode>;

    /// It is committed as message `seq`.
    fn apply(&self, kept: &mut Kept<'_>, seq: Seq, act: &Act<'_>);
}

/// Whether a message counts as something to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// It has content: it counts.
    Content,
    /// It is about others.
    Control,
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
    /// What it does.
    pub feature: &'static dyn Feature,
}

/// The features of this server, by their numbers. Receipts have frames of their own and no number (`features/receipt.rs`).
pub const FEATURES: &[Row] =
    &[Row { control: Control::TEXT, name: "text", weight: Weight::Content, feature: &text::Text }];

/// The feature of a control.
pub(crate) fn find(features: &'static [Row], control: Control) -> Option<&'static Row> {
    features.iter().find(|row| row.control == control)
}
