//! A bridge between two servers: what alice writes to it on the left one it writes to bob on the right one, and the other way round. What it
//! knows of both is in one file, so that each message crosses once, whenever it is killed.

use std::{env, fs, io};

use tidings_client::{
    Config, Content, Control, DEFAULT_TENANT, Event, SavedState, UserId, asynchronous::Client, blocking::Server,
};

/// With whom it talks on each side.
const PEOPLE: [&str; 2] = ["alice", "bob"];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = env::var("STATE")?;
    let [left, right]: [SavedState; 2] = match fs::read(&file) {
        Ok(kept) => serde_json::from_slice(&kept)?,
        Err(_) => Default::default(),
    };
    let mut sides = [client("LEFT", left)?, client("RIGHT", right)?];
    loop {
        let [left, right] = &mut sides;
        let (from, event) = tokio::select! {
            event = left.next() => (0, event),
            event = right.next() => (1, event),
        };
        take(&mut sides, from, event.ok_or("the session is closed")?)?;
        for from in [0, 1] {
            while let Some(event) = sides[from].session().poll_event() {
                take(&mut sides, from, event)?;
            }
        }
        // What crosses is in it, and leaves with the next `next`: whatever happens in between, it goes out once.
        keep(&mut sides, &file)?;
    }
}

/// A side: SERVER and TOKEN, after its name.
fn client(side: &str, state: SavedState) -> Result<Client, Box<dyn std::error::Error>> {
    let server: Server = env::var(format!("{side}_SERVER"))?.parse()?;
    let token = env::var(format!("{side}_TOKEN"))?.into_bytes();
    Ok(Client::new(server, Config { state, ..Config::new("bridge", 1, token) }))
}

fn take(sides: &mut [Client; 2], from: usize, event: Event) -> Result<(), Box<dyn std::error::Error>> {
    match event {
        Event::Message(message) if message.sender_name == PEOPLE[from] && message.control == Control::TEXT => {
            let to = UserId::derive(DEFAULT_TENANT, PEOPLE[1 - from]);
            sides[1 - from].session().post_to(to, Content::text(&message.payload));
        }
        Event::Rejected { code } => return Err(code.to_string().into()),
        _ => {} // connected, synced, receipts, ...
    }
    Ok(())
}

fn keep(sides: &mut [Client; 2], file: &str) -> io::Result<()> {
    let [left, right] = sides;
    let (Some(left), Some(right)) = (left.session().save(), right.session().save()) else { return Ok(()) };
    let beside = format!("{file}.new");
    fs::write(&beside, serde_json::to_vec(&[left, right])?)?;
    fs::rename(beside, file)
}
