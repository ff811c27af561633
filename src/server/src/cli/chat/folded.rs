//! What was said about messages, put where they are: edits and withdrawals in their place, reactions beside it.

use std::collections::BTreeMap;

use tidings_client::{Message, Seq, UserId, about_control as about, streamed_control as streamed};

use super::super::{
    out::harmless,
    said::{Said, said},
};

/// Bytes of a message that another one answers, as far as they are shown.
const QUOTED: usize = 40;
/// Characters of a reaction that are shown: an emoji may be of several.
const REACTION_SHOWN: usize = 8;

/// All that was said about the messages that are here, and about others.
#[derive(Debug, Default)]
pub struct Folded {
    edits: BTreeMap<Seq, String>,
    /// What messages said when they ended, and what became of them.
    ends: BTreeMap<Seq, (String, Note)>,
    /// What messages say that have not ended.
    growing: BTreeMap<Seq, String>,
    /// By whom.
    erased: BTreeMap<Seq, (UserId, String)>,
    reactions: BTreeMap<Seq, BTreeMap<UserId, String>>,
}

/// What is told of a message beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Note {
    /// Nothing.
    #[default]
    None,
    /// It was edited.
    Edited,
    /// It is being written.
    Growing,
    /// Who wrote it fell silent.
    BrokenOff,
}

/// How a message looks with what was said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// What it says.
    pub said: Said,
    /// What became of it.
    pub note: Note,
    /// What others think of it: each reaction, and how often if more than once.
    pub reactions: String,
    /// The beginning of what it answers.
    pub answers: Option<String>,
}

impl Folded {
    /// Of messages in their order, and of what those say that are being written.
    pub fn of<'a>(messages: impl Iterator<Item = &'a Message>, growing: &BTreeMap<Seq, Vec<u8>>) -> Self {
        let growing = growing.iter().map(|(seq, text)| (*seq, harmless(&String::from_utf8_lossy(text)))).collect();
        let mut folded = Self { growing, ..Self::default() };
        for message in messages {
            let words = || harmless(&String::from_utf8_lossy(&message.payload));
            match message.control {
                about::EDIT if !message.is_emptied() => drop(folded.edits.insert(message.target, words())),
                streamed::END if !message.is_emptied() => {
                    let note = if message.was_aborted() { Note::BrokenOff } else { Note::None };
                    folded.ends.insert(message.target, (words(), note));
                }
                about::ERASE => {
                    let who = (message.sender, harmless(&message.sender_name));
                    folded.erased.insert(message.target, who);
                }
                about::REACT => {
                    let of = folded.reactions.entry(message.target).or_default();
                    of.remove(&message.sender);
                    // A few characters: more would be words in another's line.
                    let reaction: String =
                        words().chars().filter(|character| *character != ' ').take(REACTION_SHOWN).collect();
                    if !reaction.is_empty() {
                        of.insert(message.sender, reaction);
                    }
                }
                _ => {}
            }
        }
        folded
    }

    /// True of what was withdrawn or has disappeared.
    pub fn is_gone(&self, message: &Message, now_us: u64) -> bool {
        let over = message.expires_at.0 > 0 && message.expires_at.0 <= now_us;
        message.is_emptied() || over || self.erased.contains_key(&message.seq)
    }

    /// True of what has no line of its own: it is shown where its target is, or not at all, since the user does not want to.
    pub fn is_folded(message: &Message) -> bool {
        let is_unwanted = message.is_withheld() || message.is_forgotten();
        message.control == about::ERASE || message.control.is_about_target() || is_unwanted
    }

    /// How a message looks at a time, in microseconds since 1970.
    pub fn look(&self, messages: &BTreeMap<Seq, Message>, message: &Message, now_us: u64) -> Look {
        let (said, note) = self.words(message, now_us);
        let none = Look { said, note, reactions: String::new(), answers: None };
        if !message.control.has_content() || matches!(none.said, Said::Act(_)) {
            return none;
        }
        let answers = messages.get(&message.target).map(|quoted| self.quote(quoted, now_us));
        let reactions = self.reactions_to(message.seq);
        Look { reactions, answers, ..none }
    }

    fn words(&self, message: &Message, now_us: u64) -> (Said, Note) {
        let seq = message.seq;
        if let Some((who, name)) = self.erased.get(&message.seq) {
            let own = *who == message.sender;
            let act = if own { "withdrew a message".into() } else { format!("wrote something that {name} withdrew") };
            return (Said::Act(act), Note::None);
        }
        if message.control.has_content() && self.is_gone(message, now_us) {
            return (Said::Act("wrote something that is gone".into()), Note::None);
        }
        if let Some(words) = self.edits.get(&seq) {
            return (Said::Text(words.clone()), Note::Edited);
        }
        let aborted = if message.was_aborted() { Note::BrokenOff } else { Note::None };
        match (message.has_ended(), self.ends.get(&seq), self.growing.get(&seq)) {
            (false, Some((words, note)), _) => (Said::Text(words.clone()), *note),
            (false, None, Some(words)) => (Said::Text(words.clone()), Note::Growing),
            _ => (said(message), aborted),
        }
    }

    fn quote(&self, quoted: &Message, now_us: u64) -> String {
        let (Said::Text(words) | Said::Act(words)) = self.words(quoted, now_us).0;
        let short: String = words.chars().take(QUOTED).collect();
        let rest = if short.len() < words.len() { "…" } else { "" };
        format!("{}: {short}{rest}", harmless(&quoted.sender_name))
    }

    fn reactions_to(&self, seq: Seq) -> String {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for reaction in self.reactions.get(&seq).into_iter().flat_map(BTreeMap::values) {
            *counts.entry(reaction).or_default() += 1;
        }
        let each = counts.into_iter().map(|(reaction, count)| match count {
            1 => reaction.to_owned(),
            count => format!("{reaction} {count}"),
        });
        each.collect::<Vec<_>>().join("  ")
    }
}
