//! A conversation: its committed [`state`], which only records change, and an [`overlay`] of what is proposed. An attempt is judged on
//! both ([`view`]) and changes neither; it becomes a record and a row of the overlay, and the record's commit moves the row into the state.
//! The overlay can be dropped at any time before its records are sealed.

pub(crate) mod blocks;
pub(crate) mod changes;
pub(crate) mod dedup;
pub(crate) mod erasures;
pub(crate) mod members;
pub(crate) mod membership;
pub(crate) mod overlay;
pub(crate) mod state;
pub(crate) mod undelivered;
pub(crate) mod view;
