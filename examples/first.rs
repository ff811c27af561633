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
    let bob = UserId::derive(DEFAULT_TENANT, "bob");
    client.session().send(bob, b"hello from Rust");
    let chat = client.session().conversation_with(bob);
    // The number of our message, and what bob said there last: an answer has a larger number than ours.
    let (mut ours, mut bobs) = (None, None);
    loop {
        match client.poll(Duration::from_secs(1))? {
            Some(Event::Sent { seq, .. }) => {
                println!("durable as number {seq}");
                ours = Some(seq);
            }
            Some(Event::Message(message)) if message.conversation == chat && message.sender == bob => {
                bobs = Some(message);
            }
            Some(Event::Rejected { code }) => return Err(code.to_string().into()),
            _ => {} // connected, synced, receipts, ...
        }
        if let (Some(ours), Some(message)) = (ours, &bobs)
            && message.seq > ours
        {
            println!("{}: {}", message.sender_name, String::from_utf8_lossy(&message.payload));
            return Ok(());
        }
    }
}
