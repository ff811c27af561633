//! Long lines in a window: broken at spaces, and words that do not fit anywhere.

use ratatui::{
    style::Style,
    text::{Line, Span},
};

/// A row that is being filled.
#[derive(Default)]
struct Row {
    spans: Vec<Span<'static>>,
    width: usize,
}

/// A character as it is shown, with all that combines with it.
struct Grapheme {
    symbol: String,
    style: Style,
    width: usize,
}

impl Row {
    fn indented(columns: usize) -> Self {
        let spans = if columns > 0 { vec![Span::raw(" ".repeat(columns))] } else { Vec::new() };
        Self { spans, width: columns }
    }

    fn push(&mut self, grapheme: &Grapheme) {
        self.width += grapheme.width;
        match self.spans.last_mut().filter(|last| last.style == grapheme.style) {
            Some(last) => last.content.to_mut().push_str(&grapheme.symbol),
            None => self.spans.push(Span::styled(grapheme.symbol.clone(), grapheme.style)),
        }
    }
}

/// A line in rows of at most `width` columns; those after the first begin with `indent` empty ones, if the window is wide enough for that.
pub fn wrap(line: &Line<'_>, width: u16, indent: usize) -> Vec<Line<'static>> {
    let width = usize::from(width).max(1);
    let indent = if 2 * indent < width { indent } else { 0 };
    let graphemes: Vec<Grapheme> = line
        .styled_graphemes(Style::default())
        .map(|found| Grapheme {
            width: Span::raw(found.symbol).width(),
            symbol: found.symbol.to_owned(),
            style: found.style,
        })
        .collect();
    let (mut rows, mut from) = (Vec::new(), 0);
    loop {
        let mut row = if rows.is_empty() { Row::default() } else { Row::indented(indent) };
        let rest = &graphemes[from..];
        let (fits, next) = row_of(rest, width - row.width);
        rest[..fits].iter().for_each(|grapheme| row.push(grapheme));
        rows.push(Line::from(row.spans));
        if next >= rest.len() {
            return rows;
        }
        from += next;
    }
}

/// How many of these are in a row of so many columns, and with which the next row begins: one at least is in it.
fn row_of(graphemes: &[Grapheme], columns: usize) -> (usize, usize) {
    let mut width = 0;
    let fits = graphemes.iter().take_while(|grapheme| {
        width += grapheme.width;
        width <= columns
    });
    let fits = fits.count().max(1);
    if fits >= graphemes.len() {
        return (graphemes.len(), graphemes.len());
    }
    // A space where the row ends is in none.
    match graphemes[1..=fits].iter().rposition(|grapheme| grapheme.symbol == " ") {
        Some(before) => (before + 1, before + 2),
        None => (fits, fits),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::style::Color;

    use super::*;

    fn rows(line: &Line<'_>, width: u16, indent: usize) -> Vec<String> {
        wrap(line, width, indent).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn long_lines_are_broken_at_spaces_and_long_words_anywhere() {
        let of = |text: &str, width, indent| rows(&Line::raw(text.to_owned()), width, indent);
        assert_eq!(of("one two three", 20, 2), ["one two three"]);
        assert_eq!(of("one two three", 9, 2), ["one two", "  three"]);
        assert_eq!(of("one two three", 7, 0), ["one two", "three"]);
        assert_eq!(of("abcdefghij kl", 4, 0), ["abcd", "efgh", "ij", "kl"]);
        assert_eq!(of("abcdefghij", 6, 2), ["abcdef", "  ghij"]);
        assert_eq!(of("a b", 1, 5), ["a", "b"], "no window is too narrow");
        assert_eq!(of("", 5, 2), [""]);
        // Two columns each; one that does not fit is in the next row.
        assert_eq!(of("日本語です", 5, 0), ["日本", "語で", "す"]);
        assert_eq!(
            of("e\u{301}e\u{301}e\u{301}", 2, 0),
            ["e\u{301}e\u{301}", "e\u{301}"],
            "what combines stays together"
        );
    }

    #[test]
    fn a_row_keeps_the_colours_of_what_is_in_it() {
        let line = Line::from(vec![Span::styled("red red", Color::Red), Span::raw(" plain")]);
        let wrapped = wrap(&line, 4, 0);
        let colours: Vec<_> = wrapped.iter().map(|row| row.spans[0].style.fg).collect();
        assert_eq!(colours, [Some(Color::Red), Some(Color::Red), None, None]);
    }
}
