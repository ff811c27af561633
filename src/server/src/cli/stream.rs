//! `tidings stream`: standard input as one message that grows while it comes.

use std::{
    io::Read,
    sync::mpsc::{Receiver, TryRecvError, sync_channel},
    time::{Duration, Instant},
};

use clap::Args;
use tidings_client::{ClientMsgId, Content, ErrorCode, Event, blocking::Client};

use super::{
    Failure,
    about::Place,
    connect::{Recipient, patience, rejected},
    out,
    status::{Ended, Status, no_answer, refused_with},
};

/// Arguments of `stream`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    place: Place,
}

/// Bytes that are read at once, and how often that may be before they are sent.
const PIECE: usize = 4 * 1024;
const PIECES: usize = 16;
/// How long the network is waited for between looks at standard input.
const TICK: Duration = Duration::from_millis(10);

/// Sends standard input, and prints which number it got once it is durable.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let to = arguments.place.recipient()?;
    let mut config = arguments.place.connection.config()?;
    config.receive = false;
    let mut client = arguments.place.connection.open(&config)?;
    let session = client.session();
    let stream = match to {
        Recipient::User(user) => session.open_stream_to(user, Content::default()),
        Recipient::Group(group) => session.open_stream(group, Content::default()),
    };
    let written = write(&mut client, stream, &pieces());
    client.session().leave();
    client.poll(Duration::ZERO)?;
    written
}

/// Standard input, as it comes.
fn pieces() -> Receiver<std::io::Result<Vec<u8>>> {
    let (sender, receiver) = sync_channel(PIECES);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        loop {
            let mut piece = vec![0; PIECE];
            let read = input.read(&mut piece).map(|len| {
                piece.truncate(len);
                piece
            });
            let is_over = read.as_ref().map_or(true, Vec::is_empty);
            if sender.send(read).is_err() || is_over {
                return;
            }
        }
    });
    receiver
}

fn write(client: &mut Client, stream: ClientMsgId, pieces: &Receiver<std::io::Result<Vec<u8>>>) -> Result<(), Failure> {
    let (mut ended, mut failure) = (None::<Instant>, None::<Failure>);
    loop {
        while ended.is_none() {
            match pieces.try_recv() {
                Ok(Ok(piece)) if !piece.is_empty() && client.session().write_on(stream, &piece) => continue,
                Ok(Ok(piece)) if !piece.is_empty() => {
                    failure = Some("longer than a message may be: it ends before that".into());
                }
                Ok(Err(error)) => failure = Some(error.into()),
                Err(TryRecvError::Empty) => break,
                Ok(Ok(_)) | Err(TryRecvError::Disconnected) => {}
            }
            client.session().end_stream(stream);
            ended = Some(Instant::now());
        }
        match client.poll(TICK)? {
            Some(Event::StreamEnded { conversation, seq, .. }) => {
                let line = serde_json::json!({ "conversation": conversation.to_string(), "seq": seq.0 });
                out::line(&line.to_string());
                return failure.map_or(Ok(()), Err);
            }
            Some(Event::StreamFailed { code, .. }) => return Err(failed(code)),
            Some(Event::Rejected { code }) => return Err(rejected(code)),
            _ => {}
        }
        if ended.is_some_and(|ended| ended.elapsed() > patience()) {
            return Err(no_answer());
        }
    }
}

/// Why the message is not there, or not whole, as a sentence.
fn failed(code: ErrorCode) -> Failure {
    let why = match code {
        ErrorCode::NotMember => "you are in no such conversation",
        ErrorCode::NotAllowed => "your role does not allow it",
        ErrorCode::TooMany => "too many messages are being written there at once",
        ErrorCode::TargetInvalid => "the server ended it before it was whole",
        ErrorCode::TargetErased => "it was withdrawn while it was written",
        _ => return refused_with(code),
    };
    Ended::with(Status::Refused, format!("{why} ({code})"))
}
