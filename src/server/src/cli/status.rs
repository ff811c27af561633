//! How a command ends: a number for scripts and a sentence for people.

use std::{error::Error, fmt, process::ExitCode};

use tidings_client::ErrorCode;

/// What a script can tell an end by; docs/commands.md has the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// The server cannot be reached, or does not answer: nothing was done.
    Unreachable = 3,
    /// It does not let this user or device in.
    NotLetIn = 4,
    /// It refused what was asked of it.
    Refused = 5,
    /// It may or may not have done what was asked.
    Unknown = 6,
}

/// A command's end that is not a success.
#[derive(Debug)]
pub(super) struct Ended {
    status: Status,
    sentence: String,
}

impl Ended {
    /// With this status, for this reason.
    pub(super) fn with(status: Status, sentence: impl Into<String>) -> Box<dyn Error> {
        Box::new(Self { status, sentence: sentence.into() })
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl Error for Ended {}

/// The server says nothing any more.
pub(super) fn no_answer() -> Box<dyn Error> {
    Ended::with(Status::Unknown, "no answer from the server")
}

/// It does not do it.
pub(super) fn refused_with(code: ErrorCode) -> Box<dyn Error> {
    Ended::with(Status::Refused, format!("refused: {code}"))
}

/// The exit status of an error: 1 if it says no other.
pub(super) fn code(error: &(dyn Error + 'static)) -> ExitCode {
    error.downcast_ref::<Ended>().map_or(ExitCode::FAILURE, |ended| ExitCode::from(ended.status as u8))
}
