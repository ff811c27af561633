//! What is being typed: one line, with a place where the next character goes.

use ratatui::text::Span;

/// The line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    text: String,
    /// The place, in bytes.
    at: usize,
}

impl Input {
    /// True if there is nothing worth sending.
    pub fn is_blank(&self) -> bool {
        self.text.trim().is_empty()
    }

    /// Takes the text: the line is empty then.
    pub fn take(&mut self) -> String {
        self.at = 0;
        std::mem::take(&mut self.text)
    }

    /// Puts text in. It stays one line, whatever was pasted.
    pub fn insert(&mut self, text: &str) {
        let line = text.replace("\r\n", " ").replace(|character: char| character.is_control(), " ");
        self.text.insert_str(self.at, &line);
        self.at += line.len();
    }

    /// Takes the character before the place out.
    pub fn backspace(&mut self) {
        let end = self.at;
        self.left();
        self.text.replace_range(self.at..end, "");
    }

    /// Takes the character behind the place out.
    pub fn delete(&mut self) {
        if let Some(next) = self.text[self.at..].chars().next() {
            self.text.replace_range(self.at..self.at + next.len_utf8(), "");
        }
    }

    /// Takes the word before the place out, and the spaces behind it.
    pub fn delete_word(&mut self) {
        let before = self.text[..self.at].trim_end();
        let start = before.rfind(' ').map_or(0, |space| space + 1);
        self.text.replace_range(start..self.at, "");
        self.at = start;
    }

    /// One character to the left.
    pub fn left(&mut self) {
        self.at -= self.text[..self.at].chars().next_back().map_or(0, char::len_utf8);
    }

    /// One to the right.
    pub fn right(&mut self) {
        self.at += self.text[self.at..].chars().next().map_or(0, char::len_utf8);
    }

    /// To the beginning.
    pub fn home(&mut self) {
        self.at = 0;
    }

    /// To the end.
    pub fn end(&mut self) {
        self.at = self.text.len();
    }

    /// What is seen of it in so many columns, and in which of them the place is.
    pub fn shown(&self, columns: usize) -> (&str, usize) {
        let mut from = 0;
        while width(&self.text[from..self.at]) >= columns.max(1) {
            from += self.text[from..].chars().next().map_or(1, char::len_utf8);
        }
        let mut upto = self.text.len();
        while width(&self.text[from..upto]) > columns && upto > self.at {
            upto -= self.text[..upto].chars().next_back().map_or(1, char::len_utf8);
        }
        (&self.text[from..upto], width(&self.text[from..self.at]))
    }
}

fn width(text: &str) -> usize {
    Span::raw(text).width()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Input {
        let mut input = Input::default();
        input.insert(text);
        input
    }

    #[test]
    fn a_line_is_changed_where_its_place_is() {
        let mut input = typed("helo");
        input.left();
        input.insert("l");
        assert_eq!(input.text, "hello");
        input.home();
        input.delete();
        input.insert("J");
        assert_eq!(input.text, "Jello");
        input.end();
        input.insert(" größe");
        input.backspace();
        input.left();
        input.backspace();
        assert_eq!(input.text, "Jello grß");
        input.end();
        input.delete_word();
        assert_eq!(input.text, "Jello ");
        input.delete_word();
        input.delete_word();
        input.backspace();
        input.delete();
        input.left();
        input.right();
        assert_eq!((input.take(), input.is_blank()), (String::new(), true));
    }

    #[test]
    fn what_is_pasted_stays_one_line() {
        assert_eq!(typed("one\r\ntwo\n\tthree\u{1b}[31m").text, "one two  three [31m");
    }

    #[test]
    fn the_place_is_always_seen_whatever_the_width_of_characters() {
        let mut input = typed("0123456789");
        assert_eq!(input.shown(20), ("0123456789", 10));
        assert_eq!(input.shown(5), ("6789", 4));
        input.home();
        assert_eq!(input.shown(5), ("01234", 0));
        let wide = typed("日本語です");
        assert_eq!(wide.shown(5), ("です", 4));
        assert_eq!(typed("").shown(0), ("", 0));
    }
}
