//! What the user means by a line: something to write, or something to do to a message.

use tidings_client::{Content, Seq, about_control};

/// What a line means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// To be written.
    Write(&'a str),
    /// What an own message says instead.
    Edit(&'a str),
    /// A message is withdrawn.
    Erase,
    /// What the user thinks of a message; empty: nothing any more.
    React(&'a str),
    /// The user does not want to see a message any more.
    Forget,
    /// Nothing of the other user is heard any more.
    Block,
    /// It is heard of again.
    Unblock,
    /// Not known here.
    Unknown(&'a str),
}

impl<'a> Command<'a> {
    /// What a line means. One that begins with two slashes is written, with one.
    pub fn of(line: &'a str) -> Self {
        if line.starts_with("//") {
            return Self::Write(&line[1..]);
        }
        let Some(command) = line.strip_prefix('/') else { return Self::Write(line) };
        let (name, rest) = command.split_once(' ').unwrap_or((command, ""));
        match (name, rest.trim()) {
            ("edit", words) if !words.is_empty() => Self::Edit(words),
            ("erase", "") => Self::Erase,
            ("react", reaction) => Self::React(reaction),
            ("forget", "") => Self::Forget,
            ("block", "") => Self::Block,
            ("unblock", "") => Self::Unblock,
            _ => Self::Unknown(line),
        }
    }

    /// What is sent for it, about this message (of what is written: as an answer to it, 0 of none).
    pub fn content(&self, target: Seq) -> Content {
        let about =
            |control, words: &str| Content { control, target, ..Content::text(words.as_bytes()).compressible() };
        match *self {
            Self::Forget | Self::Block | Self::Unblock => Content::text(b""),
            Self::Write(words) | Self::Unknown(words) => {
                Content::text(words.as_bytes()).compressible().answering(target)
            }
            Self::Edit(words) => about(about_control::EDIT, words),
            Self::Erase => about(about_control::ERASE, ""),
            Self::React(reaction) => about(about_control::REACT, reaction),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_written_unless_it_is_a_command() {
        assert_eq!(Command::of("hello"), Command::Write("hello"));
        assert_eq!(Command::of("//etc"), Command::Write("/etc"));
        assert_eq!(Command::of("/edit  new words "), Command::Edit("new words"));
        assert_eq!(Command::of("/erase"), Command::Erase);
        assert_eq!((Command::of("/react 👍"), Command::of("/react")), (Command::React("👍"), Command::React("")));
        assert_eq!((Command::of("/block"), Command::of("/unblock ")), (Command::Block, Command::Unblock));
        assert_eq!(Command::of("/forget"), Command::Forget);
        for unknown in ["/edit", "/erase it", "/quit", "/"] {
            assert_eq!(Command::of(unknown), Command::Unknown(unknown));
        }
        let content = Command::of("/erase").content(Seq(7));
        assert_eq!((content.control, content.target, content.payload.len()), (about_control::ERASE, Seq(7), 0));
        assert_eq!(Command::of("yes").content(Seq(7)).target, Seq(7));
    }
}
