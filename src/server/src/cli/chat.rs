//! `tidings chat`: a conversation in the terminal.

mod command;
mod folded;
mod input;
mod model;
mod people;
mod view;
mod wrap;

use std::{
    io::IsTerminal,
    num::NonZeroU32,
    time::{Duration, Instant},
};

use clap::Args;
use ratatui::crossterm::{
    event::{self, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    execute,
};
use tidings_client::{ConversationId, Event, History, blocking::Client};

use self::{
    command::Command,
    model::{Link, Model},
};
use super::{
    Failure,
    connect::{Connection, Recipient, group_id, recipient, rejected, wall_clock},
};

/// Arguments of `chat`.
#[derive(Debug, Args)]
#[command(after_help = "\
Ticks beside your messages: · on its way, ✓ durable on the server, ✓✓ delivered to a device, in colour: read (in a group: by all).
Up and Down choose a message: what is written then answers it. Lines that begin with a slash are about the chosen message: /react WHAT, /edit WORDS, /erase, \
/forget: only you do not see it any more (without a choice: about the last of somebody else, or your last). /block and /unblock are about the other user; // writes a line that begins with a slash.
Keys: Enter sends, Left, Right, Home, End, Delete, Ctrl-W and Ctrl-U edit, PageUp and PageDown scroll (older messages are fetched), Esc or Ctrl-C leaves.")]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    /// With whom.
    #[arg(long, value_name = "NAME", required_unless_present = "group")]
    to: Option<String>,
    /// With a group.
    #[arg(long, value_name = "ID", value_parser = group_id, conflicts_with = "to")]
    group: Option<ConversationId>,
}

/// Messages shown at the start, and fetched at once when scrolling back.
const PAGE: NonZeroU32 = NonZeroU32::new(50).expect("not zero");
/// How long the network is waited for between looks at the keyboard.
const TICK: Duration = Duration::from_millis(20);

/// How often a group is asked who has read what.
const DESCRIBED_EVERY: Duration = Duration::from_secs(1);
/// How often it is asked how many of a large group have read the last message.
const COUNTED_EVERY: Duration = Duration::from_secs(5);

/// Chats until the user leaves.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if !std::io::stdout().is_terminal() {
        return Err("chat needs a terminal; in scripts there are send, tail and history".into());
    }
    let to = recipient(arguments.to.as_deref(), arguments.group)?;
    let mut config = arguments.connection.config()?;
    config.history = History::Recent(u64::from(PAGE.get()));
    let me = config.user;
    let mut client = arguments.connection.client(config)?;
    let conversation = to.conversation(client.session());
    let name = arguments.to.as_deref().unwrap_or("a group");
    watch(&mut client, to);
    let mut model = Model::new(arguments.connection.user(), name, me, conversation);

    let mut terminal = ratatui::try_init()?;
    // What is pasted comes as one text, if the terminal can say so.
    let _not_told = execute!(std::io::stdout(), event::EnableBracketedPaste);
    let result = chat(&mut terminal, &mut client, &mut model, to);
    let _not_told = execute!(std::io::stdout(), event::DisableBracketedPaste);
    ratatui::restore();
    client.session().leave();
    // The server may be gone by now; then there is nobody to say good-bye to.
    let _gone = client.poll(Duration::ZERO);
    result
}

/// Asks whether the other one is there.
fn watch(client: &mut Client, to: Recipient) {
    if let Recipient::User(user) = to {
        client.session().watch(&[user], &[]);
    }
}

fn chat(
    terminal: &mut ratatui::DefaultTerminal,
    client: &mut Client,
    model: &mut Model,
    to: Recipient,
) -> Result<(), Failure> {
    let (mut changed, mut asked, mut counted) = (true, None::<Instant>, None::<Instant>);
    let mut has_begun = false;
    loop {
        model.now_us = wall_clock().0;
        if std::mem::take(&mut changed) || model.is_due() {
            terminal.draw(|frame| view::draw(frame, model))?;
        }
        while event::poll(Duration::ZERO)? {
            changed = true;
            model.people.presses(model.now_us);
            match event::read()? {
                event::Event::Key(key) if key.kind == KeyEventKind::Press && on_key(key, client, model, to) => {
                    return Ok(());
                }
                event::Event::Paste(text) => model.input.insert(&text),
                _ => {}
            }
        }
        if let Some(doing) = model.people.take_own(!model.input.is_blank(), model.now_us) {
            client.session().typing(model.conversation(), doing);
        }
        let until = Instant::now() + TICK;
        while let Some(event) = client.poll(until.saturating_duration_since(Instant::now()))? {
            if let Event::Rejected { code } = event {
                return Err(rejected(code));
            }
            // Nobody is told of somebody with whom it has no conversation: whoever began one asks again.
            let is_message = matches!(event, Event::Message(_) | Event::Sent { .. });
            if is_message && !std::mem::replace(&mut has_begun, true) {
                watch(client, to);
            }
            model.on_event(event);
            changed = true;
        }
        if asked.is_none_or(|asked| asked.elapsed() > DESCRIBED_EVERY) && model.wants_description() {
            asked = Some(Instant::now());
            client.session().describe(model.conversation());
        }
        if counted.is_none_or(|counted| counted.elapsed() > COUNTED_EVERY)
            && let Some(seq) = model.wants_count()
        {
            counted = Some(Instant::now());
            client.session().count_readers(model.conversation(), seq);
        }
        if let Some((upto, ordinal)) = model.take_read() {
            client.session().read(model.conversation(), upto, ordinal);
        }
        if model.link() == Link::Up
            && let Some(before) = model.take_wish()
        {
            client.session().history(model.conversation(), before, PAGE);
        }
    }
}

/// What was typed is sent, or done.
fn enter(client: &mut Client, model: &mut Model, to: Recipient) {
    let line = model.input.take();
    let command = Command::of(&line);
    let Some(target) = model.target_of(&command) else {
        match (&command, to) {
            (Command::Block, Recipient::User(user)) => return client.session().block(user),
            (Command::Unblock, Recipient::User(user)) => return client.session().unblock(user),
            _ => {}
        }
        model.notice = Some(match command {
            Command::Unknown(_) => {
                " /edit WORDS, /erase, /react WHAT, /forget, /block, /unblock; // writes a slash ".into()
            }
            Command::Block | Command::Unblock => " Only a user can be blocked, in its own chat ".into(),
            _ => " There is no message that this could be about, or it is still on its way: choose one with Up ".into(),
        });
        return model.input.insert(&line);
    };
    if command == Command::Forget {
        model.chosen = None;
        return client.session().forget(model.conversation(), target, target);
    }
    let id = to.post(client.session(), command.content(target));
    model.wrote(id, if let Command::Write(words) = command { words } else { &line });
    model.chosen = None;
}

/// True if the user leaves.
fn on_key(key: KeyEvent, client: &mut Client, model: &mut Model, to: Recipient) -> bool {
    let with_control = key.modifiers.contains(KeyModifiers::CONTROL);
    // What was written and not sent is not lost by one key.
    let asked = std::mem::take(&mut model.is_leaving);
    model.notice = None;
    match key.code {
        KeyCode::Esc if model.chosen.is_some() => model.chosen = None,
        KeyCode::Esc if asked || model.input.is_blank() => return true,
        KeyCode::Esc => model.is_leaving = true,
        KeyCode::Char('c') if with_control => return true,
        KeyCode::Char('a') if with_control => model.input.home(),
        KeyCode::Char('e') if with_control => model.input.end(),
        KeyCode::Char('u') if with_control => drop(model.input.take()),
        KeyCode::Char('w') if with_control => model.input.delete_word(),
        KeyCode::Char(_) if with_control => {}
        KeyCode::Char(character) => model.input.insert(character.encode_utf8(&mut [0; 4])),
        KeyCode::Backspace => model.input.backspace(),
        KeyCode::Delete => model.input.delete(),
        KeyCode::Left => model.input.left(),
        KeyCode::Right => model.input.right(),
        KeyCode::Home => model.input.home(),
        KeyCode::End => model.input.end(),
        KeyCode::Up => model.choose_earlier(),
        KeyCode::Down => model.choose_later(),
        KeyCode::Enter if !model.input.is_blank() => enter(client, model, to),
        KeyCode::PageUp => model.scroll_back(),
        KeyCode::PageDown => model.scroll_forward(),
        _ => {}
    }
    false
}
