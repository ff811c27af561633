//! Printing, where nobody may be reading any more: a closed pipe is no reason to panic.

use std::io::Write;

/// Prints a line on standard output, at once; false if nobody reads.
pub(super) fn line(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).is_ok()
}

/// Prints a line for people on standard error, if somebody reads.
pub(super) fn note(text: &str) {
    let _unread = writeln!(std::io::stderr().lock(), "{text}");
}

/// Text of somebody else's, for a terminal: control characters are shown, not obeyed.
pub(super) fn harmless(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn what_others_write_cannot_steer_the_terminal() {
        assert_eq!(harmless("a\u{1b}[2Jb\nc"), "a\u{fffd}[2Jb\u{fffd}c");
    }
}
