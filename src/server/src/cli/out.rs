//! Printing, where nobody may be reading any more: a closed pipe is no reason to panic.

use std::{fmt::Write as _, io::Write as _};

/// Prints a line on standard output, at once; false if nobody reads.
pub(super) fn line(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).is_ok()
}

/// Prints a line for people on standard error, if somebody reads.
pub(super) fn note(text: &str) {
    let _unread = writeln!(std::io::stderr().lock(), "{text}");
}

/// Text of somebody else's, for a terminal: what would steer it, turn the direction of what follows, or not be seen at all is shown as
/// what it is, for example `<U+202E>`.
pub(super) fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || is_hidden(character) {
            // Writing to a string does not fail.
            let _written = write!(shown, "<U+{:04X}>", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    shown
}

/// JSON in which nothing steers a terminal: control characters beyond ASCII and hidden ones are written as `\\uXXXX`, which means the same.
pub(super) fn escaped(value: &serde_json::Value) -> String {
    let mut shown = String::new();
    for character in value.to_string().chars() {
        if character.is_control() || is_hidden(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _written = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(character);
        }
    }
    shown
}

/// True of what changes how text around it looks, or is not seen: marks of direction, invisible separators and fillers, line and
/// paragraph separators, tags. The joiners of emoji and of Arabic and Indic scripts (U+200C, U+200D) and variation selectors are text.
fn is_hidden(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::{escaped, harmless};

    #[test]
    fn json_is_the_same_and_steers_nothing() {
        let value = serde_json::json!({ "text": "a\u{9b}2J \u{202e}b \u{e0041} ü \n" });
        let shown = escaped(&value);
        assert_eq!(shown, r#"{"text":"a\u009b2J \u202eb \udb40\udc41 ü \n"}"#);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }

    #[test]
    fn what_others_write_cannot_steer_the_terminal_or_hide_in_it() {
        assert_eq!(harmless("a\u{1b}[2Jb\nc"), "a<U+001B>[2Jb<U+000A>c");
        assert_eq!(harmless("from \u{202e}ecila"), "from <U+202E>ecila");
        assert_eq!(harmless("a\u{200b}b\u{2066}c\u{feff}"), "a<U+200B>b<U+2066>c<U+FEFF>");
        for text in ["ünï cödé", "👩\u{200d}🚀 ❤\u{fe0f}", "می\u{200c}خواهم"] {
            assert_eq!(harmless(text), text);
        }
    }
}
