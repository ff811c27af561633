//! What was said about earlier messages, and how long messages live: from the log alone, as `docs/protocol.md` says it, not as the product does.

use std::collections::{BTreeMap, BTreeSet};

use tidings_client::{Seq, Timestamp, UserId};

const TEXT: u16 = 0;
const EDIT: u16 = 10;
const ERASE: u16 = 11;
const REACT: u16 = 12;
const TIMER: u16 = 13;
const OPEN: u16 = 14;
const END: u16 = 15;

/// How far the clocks of whoever serves and of whoever judges may be apart.
const DOUBT_US: u64 = 60_000_000;

/// A message, as far as others are about it.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// Who wrote it.
    pub sender: UserId,
    /// What it does.
    pub control: u16,
    /// What it is about.
    pub target: Seq,
    /// When.
    pub ts: Timestamp,
    /// When it disappears; 0: never.
    pub expires_at: Timestamp,
    /// Whoever it was for blocked its sender.
    pub withheld: bool,
    /// Its sender may have wanted it to disappear earlier than it must.
    pub may_be_early: bool,
}

/// What is to be seen of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// All of it.
    Whole,
    /// Nothing.
    Emptied,
    /// Nobody can tell: it disappears about now.
    Either,
}

/// The messages of a conversation.
#[derive(Clone, Debug, Default)]
pub struct SaidAbout {
    lines: BTreeMap<Seq, Line>,
    erased: BTreeMap<Seq, Seq>,
    /// Those that grew, and have ended.
    ended: BTreeSet<Seq>,
    timer_s: u64,
}

impl SaidAbout {
    /// The next message. `may_moderate` says whether its sender is above another member.
    ///
    /// # Errors
    /// Why it should have been refused, in words.
    pub fn add(
        &mut self,
        seq: Seq,
        line: Line,
        body: &[u8],
        may_moderate: impl Fn(UserId) -> bool,
    ) -> Result<(), String> {
        let Line { sender, control, target, ts, expires_at, withheld, may_be_early } = line;
        let of = self.lines.get(&target);
        let erased = self.erased.contains_key(&target);
        match control {
            EDIT | ERASE => {
                let is_written = !self.lines.contains_key(&target) || self.ended.contains(&target);
                let may = |of: u16| {
                    of == TEXT || of == OPEN && is_written || control == ERASE && [EDIT, REACT, OPEN].contains(&of)
                };
                let Some(of) = of.filter(|of| may(of.control) && !erased) else {
                    return Err(format!(
                        "{seq:?} does {control} to {target:?}, of which it cannot be said, or which is withdrawn"
                    ));
                };
                let may = of.sender == sender || control == ERASE && may_moderate(of.sender);
                if !may {
                    return Err(format!("{seq:?} does {control} to {target:?}, which is another's"));
                }
            }
            REACT if of.is_none_or(|of| ![TEXT, OPEN].contains(&of.control)) || erased => {
                return Err(format!("{seq:?} reacts to {target:?}, which is no text, or withdrawn"));
            }
            _ => {}
        }
        let expected = match control {
            // Whether what it is about is still stored nobody but the node knows.
            END => expires_at.0,
            TEXT | OPEN if self.timer_s > 0 => ts.0 + self.timer_s * 1_000_000,
            // With what it is about, to the second.
            EDIT | REACT => of.map_or(0, |of| of.expires_at.0 / 1_000_000 * 1_000_000),
            _ => 0,
        };
        let is_earlier = expires_at.0 > 0 && (expected == 0 || expires_at.0 < expected);
        if expires_at.0 != expected && !(may_be_early && is_earlier) {
            return Err(format!("{seq:?} disappears at {expires_at:?}, and should at {expected}"));
        }
        if control == END {
            self.ended.insert(target);
        }
        if control == ERASE {
            self.erased.insert(target, seq);
        }
        // Whoever is blocked changes nothing of what others write.
        if control == TIMER && !withheld {
            let seconds = body.try_into().map(u32::from_le_bytes);
            self.timer_s = u64::from(seconds.map_err(|_| format!("{seq:?} has a timer of {} bytes", body.len()))?);
        }
        self.lines.insert(seq, line);
        Ok(())
    }

    /// The message that withdrew another.
    pub fn erasure(&self, target: Seq) -> Option<Seq> {
        self.erased.get(&target).copied()
    }

    /// What is to be seen of a message, if the node's clock says this (`None`: nobody knows what it says).
    pub fn shown(&self, seq: Seq, now: Option<Timestamp>) -> Shown {
        let Some(line) = self.lines.get(&seq) else { return Shown::Whole };
        let about = [EDIT, REACT, END].contains(&line.control);
        if self.erased.contains_key(&seq) || about && self.erased.contains_key(&line.target) {
            return Shown::Emptied;
        }
        // What changes a conversation is always told.
        if !about && ![TEXT, OPEN].contains(&line.control) {
            return Shown::Whole;
        }
        match (line.expires_at.0, now) {
            (0, _) => Shown::Whole,
            (_, None) => Shown::Either,
            (at, Some(now)) if at + DOUBT_US < now.0 => Shown::Emptied,
            (at, Some(now)) if at > now.0 + DOUBT_US => Shown::Whole,
            _ => Shown::Either,
        }
    }
}
