//! `tidings chat`: a conversation in the terminal.

mod model;
mod view;

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use clap::Args;
use ratatui::crossterm::event::{self, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tidings_client::{Event, History, UserId, blocking::Client};

use self::model::{Link, Model};
use super::{
    Failure,
    connect::{Connection, check_name, rejected},
};

/// Arguments of `chat`.
#[derive(Debug, Args)]
#[command(after_help = "\
Ticks beside your messages: · on its way, ✓ durable on the server, ✓✓ delivered to a device, in colour: read.
Keys: Enter sends, PageUp and PageDown scroll (older messages are fetched), Esc or Ctrl-C leaves.")]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    /// With whom.
    #[arg(long, value_name = "NAME")]
    to: String,
}

/// Messages shown at the start, and fetched at once when scrolling back.
const PAGE: NonZeroU32 = NonZeroU32::new(50).expect("not zero");
/// How long the network is waited for between looks at the keyboard.
const TICK: Duration = Duration::from_millis(20);

/// Chats until the user leaves.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    check_name(&arguments.to)?;
    let mut config = arguments.connection.config()?;
    config.history = History::Recent(u64::from(PAGE.get()));
    let me = config.user;
    let peer = UserId::derive(tidings_client::DEFAULT_TENANT, &arguments.to);
    let server = *arguments.connection.servers()?.first().ok_or("no address")?;
    let mut client = arguments.connection.client(server, config)?;
    let conversation = client.session().conversation_with(peer);
    let mut model = Model::new(arguments.connection.user(), &arguments.to, me, conversation);

    let mut terminal = ratatui::try_init()?;
    let result = chat(&mut terminal, &mut client, &mut model, peer);
    ratatui::restore();
    client.session().leave();
    // The server may be gone by now; then there is nobody to say good-bye to.
    let _gone = client.poll(Duration::ZERO);
    result
}

fn chat(
    terminal: &mut ratatui::DefaultTerminal,
    client: &mut Client,
    model: &mut Model,
    peer: UserId,
) -> Result<(), Failure> {
    let mut changed = true;
    loop {
        if std::mem::take(&mut changed) {
            terminal.draw(|frame| view::draw(frame, model))?;
        }
        while event::poll(Duration::ZERO)? {
            changed = true;
            if let event::Event::Key(key) = event::read()?
                && key.kind == KeyEventKind::Press
                && on_key(key, client, model, peer)
            {
                return Ok(());
            }
        }
        let until = Instant::now() + TICK;
        while let Some(event) = client.poll(until.saturating_duration_since(Instant::now()))? {
            if let Event::Rejected { code } = event {
                return Err(rejected(code));
            }
            model.on_event(event);
            changed = true;
        }
        if let Some(upto) = model.take_read() {
            client.session().read(model.conversation(), upto);
        }
        if model.link() == Link::Up
            && let Some(before) = model.take_wish()
        {
            client.session().history(model.conversation(), before, PAGE);
        }
    }
}

/// True if the user leaves.
fn on_key(key: KeyEvent, client: &mut Client, model: &mut Model, peer: UserId) -> bool {
    match key.code {
        KeyCode::Esc => return true,
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
        KeyCode::Char(character) => model.input.push(character),
        KeyCode::Backspace => drop(model.input.pop()),
        KeyCode::Enter if !model.input.trim().is_empty() => {
            let text = std::mem::take(&mut model.input);
            let id = client.session().send(peer, text.as_bytes());
            model.wrote(id, &text);
        }
        KeyCode::PageUp => model.scroll_back(),
        KeyCode::PageDown => model.scroll_forward(),
        _ => {}
    }
    false
}
