//! Writes to bob, and waits for what bob says.

use std::time::Duration;

use tidings_client::{
    Config, DEFAULT_TENANT, Event, UserId,
    blocking::{Client, Server},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server: Server = std::env::var("SERVER")?.parse()?; // 127.0.0.1:7600, tls://chat.example, wss://chat.example
    let token = std::env::var("TOKEN")?;
    let mut client = Client::new(server, Config::new("alice", 1, token.into_bytes()));
    client.session().send(UserId::derive(DEFAULT_TENANT, "bob"), b"hello from Rust");
    let mut ours = None; // what bob answers comes after it, what he said before does not
    loop {
        match client.poll(Duration::from_secs(1))? {
            Some(Event::Sent { conversation, seq, .. }) => {
                println!("durable as number {seq}");
                ours = Some((conversation, seq));
            }
            Some(Event::Message(message))
                if message.sender_name == "bob"
                    && ours.is_some_and(|(of, seq)| message.conversation == of && message.seq > seq) =>
            {
                println!("{}: {}", message.sender_name, String::from_utf8_lossy(&message.payload));
                return Ok(());
            }
            Some(Event::Rejected { code }) => return Err(code.to_string().into()),
            _ => {} // connected, synced, receipts, ...
        }
    }
}
