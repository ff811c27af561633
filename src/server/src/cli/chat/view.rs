//! How a chat window looks.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Position},
    style::{Color, Modifier, Style},
    text::{Line as Text, Span},
    widgets::{Block, Paragraph},
};

use super::{
    super::said::Said,
    folded::Note,
    model::{Line, Link, Model, Tick},
    wrap::wrap,
};

/// Columns before a message's sender: what goes on in the next row begins there.
const INDENT: usize = 9;

/// Draws the window.
pub fn draw(frame: &mut Frame<'_>, model: &mut Model) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(3)]).areas(frame.area());
    frame.render_widget(Paragraph::new(title(model)), head);
    let lines = model.lines();
    let mut all: Vec<Text<'_>> = Vec::new();
    let mut chosen = None;
    for line in &lines {
        let rows = wrap(&row(line, &model.me), body.width, INDENT);
        if line.seq.is_some() && line.seq == model.chosen {
            chosen = Some((all.len(), all.len() + rows.len()));
            all.extend(rows.into_iter().map(|row| row.style(Style::new().add_modifier(Modifier::REVERSED))));
        } else {
            all.extend(rows);
        }
    }
    model.rows = all.len();
    let shown = (body.height as usize).min(all.len());
    if let Some((first, end)) = chosen {
        // The chosen message is in sight.
        let (above, below) = (all.len() - end, (all.len() - first).saturating_sub(shown));
        model.scroll = model.scroll.clamp(below.min(above), above);
    }
    let end = all.len() - model.scroll.min(all.len() - shown);
    let rows = all[end - shown..end].to_vec();
    // The newest message stands at the bottom, above the input.
    let [_, body] = Layout::vertical([Constraint::Min(0), Constraint::Length(shown as u16)]).areas(body);
    frame.render_widget(Paragraph::new(rows), body);
    let width = foot.width.saturating_sub(3) as usize;
    let (typed, column) = model.input.shown(width);
    let cursor = Position::new(foot.x + 1 + u16::try_from(column).unwrap_or(0), foot.y + 1);
    let hint = match (&model.notice, model.chosen, model.scroll) {
        _ if model.is_leaving => " Not sent yet: Esc again leaves without it ",
        (Some(notice), ..) => notice,
        (None, Some(_), _) => " Enter answers it; /react WHAT, /edit WORDS, /erase are about it; Esc: none ",
        (None, None, 0) => " Enter sends, Up chooses a message, PageUp: older, Esc leaves ",
        (None, None, _) => " PageDown: newer ",
    };
    frame.render_widget(Paragraph::new(typed).block(Block::bordered().title_bottom(hint)), foot);
    frame.set_cursor_position(cursor);
}

fn title(model: &Model) -> Text<'static> {
    let (text, color) = match (model.link(), model.delayed()) {
        (Link::Up, Some(why)) => (why, Color::Yellow),
        (Link::Connecting, _) => ("connecting ...", Color::Yellow),
        (Link::Up, None) => ("connected", Color::Green),
        (Link::Lost, _) => ("connection lost, trying again; what you write is kept and sent", Color::Red),
    };
    let names = format!(" {}  ", model.heading());
    let mut spans = vec![
        Span::styled(names, Style::new().add_modifier(Modifier::BOLD)),
        Span::styled(format!("● {text}"), Style::new().fg(color)),
    ];
    spans.extend(model.doing().map(|doing| Span::styled(format!("  {doing}"), Style::new().fg(Color::DarkGray))));
    Text::from(spans)
}

fn row(line: &Line, me: &str) -> Text<'static> {
    let (tick, style) = match line.tick {
        Tick::None => ("  ", Style::new()),
        Tick::Pending => ("· ", Style::new().fg(Color::DarkGray)),
        Tick::Sent => ("✓ ", Style::new().fg(Color::DarkGray)),
        Tick::Delivered => ("✓✓", Style::new().fg(Color::DarkGray)),
        Tick::Read => ("✓✓", Style::new().fg(Color::Cyan)),
    };
    let color = if line.from == me { Color::Green } else { Color::Magenta };
    let (look, gray) = (&line.look, Style::new().fg(Color::DarkGray));
    let mut spans = vec![
        Span::styled(clock(line.ts_us), gray),
        Span::styled(format!(" {tick} "), style),
        Span::styled(line.from.clone(), Style::new().fg(color)),
    ];
    match &look.said {
        Said::Text(text) => {
            let answers = look.answers.iter().map(|quoted| Span::styled(format!(" [{quoted}]"), gray));
            spans.extend(answers);
            spans.push(Span::raw(format!(": {text}")));
        }
        Said::Act(act) => {
            spans.push(Span::styled(format!(" {act}"), Style::new().add_modifier(Modifier::ITALIC)));
        }
    }
    match look.note {
        Note::None => {}
        Note::Edited => spans.push(Span::styled("  (edited)", gray)),
        Note::Growing => spans.push(Span::styled(" …", Style::new().fg(Color::Yellow))),
        Note::BrokenOff => spans.push(Span::styled("  (broken off)", gray)),
    }
    if !look.reactions.is_empty() {
        spans.push(Span::styled(format!("  {}", look.reactions), Style::new().fg(Color::Yellow)));
    }
    if let Some((read, all)) = line.readers {
        spans.push(Span::styled(format!("  read by {read} of {all}"), gray));
    }
    Text::from(spans)
}

/// Hours and minutes of a day, UTC.
fn clock(ts_us: u64) -> String {
    if ts_us == 0 {
        return "     ".into();
    }
    let minutes = ts_us / 60_000_000;
    format!("{:02}:{:02}", minutes / 60 % 24, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::{Terminal, backend::TestBackend};
    use tidings_client::{ClientMsgId, ConversationId, Event, UserId};

    #[test]
    fn a_window_shows_who_the_link_and_the_newest_message_above_the_input() {
        let mut model = Model::new("alice", "bob", UserId::derive("default", "alice"), ConversationId([1; 16]));
        model.on_event(Event::Connected);
        (0..30).for_each(|n| model.wrote(ClientMsgId(n), &format!("message {n}")));
        model.input.insert("typing");
        let mut terminal = Terminal::new(TestBackend::new(60, 12)).unwrap();
        terminal.draw(|frame| draw(frame, &mut model)).unwrap();
        let screen = terminal.backend().to_string();
        assert!(screen.contains("alice with bob") && screen.contains("● connected") && screen.contains("typing"));
        assert!(screen.contains("·  alice: message 29") && !screen.contains("message 20"), "{screen}");
        model.scroll_back();
        terminal.draw(|frame| draw(frame, &mut model)).unwrap();
        assert!(terminal.backend().to_string().contains("message 19"));
        assert_eq!(clock(3_660_000_000), "01:01");
    }

    #[test]
    fn a_message_that_is_wider_than_the_window_can_be_read_to_its_end() {
        let mut model = Model::new("alice", "bob", UserId::derive("default", "alice"), ConversationId([1; 16]));
        model.on_event(Event::Connected);
        let text: Vec<String> = (0..60).map(|n| format!("word{n}")).collect();
        model.wrote(ClientMsgId(1), &text.join(" "));
        let mut terminal = Terminal::new(TestBackend::new(40, 12)).unwrap();
        terminal.draw(|frame| draw(frame, &mut model)).unwrap();
        let screen = terminal.backend().to_string();
        assert!(
            screen.contains("word59") && screen.contains("         word") && !screen.contains("word0 "),
            "{screen}"
        );
        model.scroll_back();
        terminal.draw(|frame| draw(frame, &mut model)).unwrap();
        assert!(terminal.backend().to_string().contains("alice: word0 word1"), "its beginning is one key away");
    }
}
