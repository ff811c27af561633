//! A bot: it answers each text with the same words. What it knows is in a file, so that nothing is answered twice, whenever it is killed.

use std::{fs, io, time::Duration};

use tidings_client::{
    Config, Content, Control, Event, Message,
    blocking::{Client, Server},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server: Server = std::env::var("SERVER")?.parse()?;
    let (token, file) = (std::env::var("TOKEN")?, std::env::var("STATE")?);
    let mut config = Config::new("echo", 1, token.into_bytes());
    if let Ok(kept) = fs::read(&file) {
        config.state = serde_json::from_slice(&kept)?;
    }
    let mut client = Client::new(server, config);
    loop {
        let mut event = client.poll(Duration::from_secs(60))?;
        while let Some(told) = event {
            match told {
                Event::Message(message) => answer(&mut client, &message),
                Event::Rejected { code } => return Err(code.to_string().into()),
                _ => {} // connected, synced, receipts, ...
            }
            event = client.session().poll_event();
        }
        // The answers are in it, and leave with the next `poll`: whatever happens in between, they go out once.
        keep(&mut client, &file)?;
    }
}

fn answer(client: &mut Client, message: &Message) {
    if message.sender_name == "echo" || message.control != Control::TEXT || message.is_emptied() {
        return;
    }
    let content = Content::text(&message.payload).answering(message.seq);
    match message.conversation.is_group() {
        true => client.session().post(message.conversation, content),
        false => client.session().post_to(message.sender, content),
    };
}

fn keep(client: &mut Client, file: &str) -> io::Result<()> {
    let Some(state) = client.session().save() else { return Ok(()) };
    let beside = format!("{file}.new");
    fs::write(&beside, serde_json::to_vec(&state)?)?;
    fs::rename(beside, file)
}
