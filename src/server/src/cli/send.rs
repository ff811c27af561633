//! `tidings send`

use std::{
    collections::BTreeMap,
    io::BufRead,
    sync::mpsc::{Receiver, TryRecvError, sync_channel},
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use clap::Args;
use tidings_client::{
    ClientMsgId, Content, ConversationId, DEFAULT_TENANT, ErrorCode, Event, Seq, Timestamp, UserId, blocking::Client,
};
use tidings_wire::limits::MENTIONS_MAX;

use super::{
    Failure,
    connect::{Connection, Recipient, check_name, group_id, patience, recipient, rejected, wall_clock},
    out,
    status::{Ended, Status, no_answer},
};

/// Arguments of `send`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    /// To whom.
    #[arg(long, value_name = "NAME", required_unless_present = "group")]
    to: Option<String>,
    /// To a group.
    #[arg(long, value_name = "ID", value_parser = group_id, conflicts_with = "to")]
    group: Option<ConversationId>,
    /// As an answer to the message of this number.
    #[arg(long, value_name = "SEQ", default_value_t = 0, hide_default_value = true)]
    reply_to: u64,
    /// Mention somebody, who then hears of it even where the conversation is muted; may be given again.
    #[arg(long, value_name = "NAME")]
    mention: Vec<String>,
    /// Alert nobody.
    #[arg(long)]
    silent: bool,
    /// Let it disappear after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    disappear: Option<u32>,
    /// What is sent is given in base64, to be decoded; each line of standard input, too.
    #[arg(long)]
    base64: bool,
    /// The number of the attempt, for a script that may have to send the same again: with the same number from the same device it is sent once. Larger than
    /// that of any message before, as microseconds since 1970 are.
    #[arg(long, value_name = "ID", requires = "device")]
    id: Option<u64>,
    /// What; `-`: each line of standard input is a message, sent as it comes.
    #[arg(allow_hyphen_values = true)]
    text: String,
}

impl Arguments {
    /// A text without words, as it is to be sent.
    fn like(&self) -> Result<Content, Failure> {
        self.mention.iter().try_for_each(|name| check_name(name))?;
        if self.mention.len() > MENTIONS_MAX {
            return Err(format!("--mention: at most {MENTIONS_MAX}").into());
        }
        let users: Vec<_> = self.mention.iter().map(|name| UserId::derive(DEFAULT_TENANT, name)).collect();
        let content = Content::default().answering(Seq(self.reply_to)).mentioning(&users);
        Ok(if self.silent { content.silent() } else { content })
    }
}

/// Messages that are on their way at once when standard input is read.
const PIPELINE: usize = 64;

/// Sends, and prints what became of it.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let to = recipient(arguments.to.as_deref(), arguments.group)?;
    let mut config = arguments.connection.config()?;
    config.receive = false;
    let mut sending = Sending {
        client: arguments.connection.open(&config)?,
        to,
        like: arguments.like()?,
        base64: arguments.base64,
        lines: BTreeMap::new(),
        disappear: arguments.disappear,
        waiting: 0,
        heard: Instant::now(),
        delayed: false,
        failure: None,
    };
    if arguments.id.is_some() && arguments.text == "-" {
        return Err("--id: for one message, not for lines: of them only the last 128 would be known".into());
    }
    if let Some(id) = arguments.id
        && !sending.client.session().number_from(ClientMsgId(id))
    {
        return Err(format!("--id {id}: a message is numbered from 1 on").into());
    }
    if arguments.text == "-" {
        sending.stream(&lines());
    } else {
        sending.send(arguments.text.as_bytes())?;
    }
    // What is on its way is waited for, whatever happened: it may be durable, and is owed its line.
    while sending.waiting > 0 && sending.client_is_there() {
        sending.step(Duration::from_millis(200))?;
    }
    sending.client.session().leave();
    sending.client.poll(Duration::ZERO)?;
    if sending.waiting > 0
        && let Some(failure) = sending.failure
    {
        // Whatever else is so: of these nobody knows.
        return Err(Ended::with(
            Status::Unknown,
            format!("{failure}: {} may or may not have been sent", sending.waiting),
        ));
    }
    sending.failure.map_or(Ok(()), Err)
}

/// The lines of standard input, as they come.
fn lines() -> Receiver<std::io::Result<Vec<u8>>> {
    let (sender, receiver) = sync_channel(PIPELINE);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().split(b'\n') {
            let stop = line.is_err();
            if sender.send(line).is_err() || stop {
                return;
            }
        }
    });
    receiver
}

struct Sending {
    client: Client,
    to: Recipient,
    /// What goes with each text.
    like: Content,
    /// What is sent comes in base64.
    base64: bool,
    /// Which line each message was that is on its way.
    lines: BTreeMap<ClientMsgId, u64>,
    /// Seconds after which it disappears.
    disappear: Option<u32>,
    waiting: usize,
    heard: Instant,
    /// The user was told that messages are refused for a while.
    delayed: bool,
    failure: Option<Failure>,
}

impl Sending {
    fn send(&mut self, text: &[u8]) -> Result<ClientMsgId, Failure> {
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let payload = match self.base64 {
            true => BASE64_STANDARD.decode(text).map_err(|error| format!("--base64: {error}"))?,
            false => text.to_vec(),
        };
        let until = self.disappear.map(|seconds| Timestamp(wall_clock().0 + u64::from(seconds) * 1_000_000));
        let expires_at = until.unwrap_or_default();
        let content = Content { payload, expires_at, ..self.like.clone() }.compressible();
        (self.waiting, self.heard) = (self.waiting + 1, Instant::now());
        Ok(self.to.post(self.client.session(), content))
    }

    /// Of which line something is said, if there are lines.
    fn line_of(&mut self, id: ClientMsgId) -> Option<u64> {
        self.lines.remove(&id)
    }

    fn stream(&mut self, lines: &Receiver<std::io::Result<Vec<u8>>>) {
        let mut nth = 0;
        while self.failure.is_none() {
            while self.waiting < PIPELINE {
                match lines.try_recv() {
                    Ok(Ok(line)) => {
                        nth += 1;
                        match self.send(&line) {
                            Ok(id) => drop(self.lines.insert(id, nth)),
                            Err(error) => return self.failure = Some(format!("line {nth}: {error}").into()),
                        }
                    }
                    Ok(Err(error)) => return self.failure = Some(error.into()),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            if let Err(error) = self.step(Duration::from_millis(20)) {
                self.failure = Some(error);
            }
        }
    }

    /// Waits for the next answer, at most this long.
    fn step(&mut self, wait: Duration) -> Result<(), Failure> {
        match self.client.poll(wait)? {
            Some(Event::Sent { conversation, seq, id, .. }) => {
                (self.waiting, self.heard, self.delayed) = (self.waiting - 1, Instant::now(), false);
                let mut line =
                    serde_json::json!({ "conversation": conversation.to_string(), "seq": seq.0, "id": id.0 });
                if let Some(nth) = self.line_of(id) {
                    line["line"] = nth.into();
                }
                if !out::line(&line.to_string()) {
                    self.failure.get_or_insert_with(|| "nobody reads the output".into());
                }
            }
            Some(Event::SendFailed { code, id, .. }) => {
                self.waiting -= 1;
                let line = self.line_of(id).map_or(String::new(), |nth| format!("line {nth}: "));
                self.failure.get_or_insert_with(|| {
                    Ended::with(Status::Refused, format!("{line}not sent: {code}{}", why(code)))
                });
            }
            Some(Event::SendDelayed { code, retry_ms, .. }) if !self.delayed => {
                // It goes by itself then: what was refused with a time is waited for.
                self.heard = Instant::now() + Duration::from_millis(retry_ms.into());
                self.delayed = true;
                out::note(&format!(
                    "tidings: {code}: the server takes the next message in {} s",
                    retry_ms.div_ceil(1000)
                ));
            }
            Some(Event::Rejected { code }) => self.failure = Some(rejected(code)),
            _ => {}
        }
        Ok(())
    }

    fn client_is_there(&mut self) -> bool {
        let patient = self.heard.elapsed() < patience() && !self.client.session().is_closed();
        if !patient && self.failure.is_none() {
            self.failure = Some(no_answer());
        }
        patient
    }
}

/// What a refusal of a message means, where its name does not say it.
fn why(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::BadPeer => ": you can write neither to yourself nor to a user of another tenant",
        ErrorCode::NotMember => ": you are in no such conversation",
        ErrorCode::BudgetExceeded => ": this user, or this address, has filled its share of the log for now",
        _ => "",
    }
}
