//! What the client commands share: whom to talk to, and as whom.

use std::{
    path::PathBuf,
    sync::OnceLock,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use clap::Args;
use tidings_client::{
    Clear, ClientMsgId, Config, Content, Control, ConversationId, DEFAULT_TENANT, ErrorCode, Event, Media, Message,
    Session, Timer, UserId, about_control,
    blocking::{Client, Secrecy, Server},
    streamed_control,
};
use tidings_core::Scope;
use tidings_wire::{DeviceId, Timestamp, limits::NAME_MAX};

use super::{
    Failure, out,
    said::{Said, said},
    status::{Ended, Status},
};
use crate::tokens::Issuer;

/// How a client command finds the server and proves who it is.
#[derive(Debug, Args)]
pub(super) struct Connection {
    /// The server: HOST:PORT, after tls://, ws:// or wss:// if it is not plain TCP.
    #[arg(long, value_name = "SERVER", default_value = "127.0.0.1:7600")]
    server: Server,
    /// Trust the certificates in this file (PEM) instead of those that the system trusts.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The server's data directory: a token is made with the key in it.
    #[arg(long, value_name = "DIR", default_value = "./tidings-data")]
    data: PathBuf,
    /// A token, instead of --data. Others on this machine may see arguments: the environment or a file keep it to yourself.
    #[arg(long, value_name = "TOKEN", env = "TIDINGS_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The token in a file, rather than one that is given in another way.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// How long the server may take to answer, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    timeout: u32,
    /// Who you are.
    #[arg(long, value_name = "NAME")]
    user: String,
    /// Your device. Without it, a guest device with a random number that is forgotten some time after it left.
    #[arg(long, value_name = "N", env = "TIDINGS_DEVICE")]
    device: Option<u32>,
    /// What you call it.
    #[arg(long, value_name = "NAME", requires = "device")]
    device_name: Option<String>,
}

/// How long tokens made here are good for.
const TOKEN_TTL_S: u64 = 24 * 3600;

/// How long the server may take to answer: this process is one command.
static PATIENCE: OnceLock<Duration> = OnceLock::new();

/// How long a command waits for an answer.
pub(super) fn patience() -> Duration {
    PATIENCE.get().copied().unwrap_or(Duration::from_secs(15))
}

/// The clock.
pub(super) fn wall_clock() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(since.as_micros() as u64)
}

impl Connection {
    /// Who the command acts as.
    pub(super) fn user(&self) -> &str {
        &self.user
    }

    /// The token that was given, if one was.
    fn given_token(&self) -> Result<Option<String>, Failure> {
        let Some(path) = &self.token_file else { return Ok(self.token.clone().filter(|token| !token.is_empty())) };
        let read = std::fs::read_to_string(path);
        let token = read.map_err(|error| format!("--token-file {}: {error}", path.display()))?;
        Ok(Some(token.trim().to_owned()))
    }

    /// Settings for a session.
    pub(super) fn config(&self) -> Result<Config, Failure> {
        self.config_as(Scope::User)
    }

    /// Settings for a session of a scope. A token that is given says its own.
    pub(super) fn config_as(&self, scope: Scope) -> Result<Config, Failure> {
        check_name(&self.user)?;
        let _known = PATIENCE.set(Duration::from_secs(self.timeout.into()));
        let device = match self.device {
            Some(device) if DeviceId(device).is_guest() => {
                return Err(format!("--device {device}: devices are numbered below {}", DeviceId::FIRST_GUEST).into());
            }
            Some(device) => device,
            None => u32::from_ne_bytes(crate::data::random()?) | DeviceId::FIRST_GUEST,
        };
        let token = match self.given_token()? {
            Some(token) => token,
            None => self.issuer()?.issue_scoped(&self.user, (None, scope), wall_clock(), TOKEN_TTL_S)?,
        };
        let mut config = Config::new(&self.user, device, token.into_bytes());
        config.device_name = self.device_name.clone().unwrap_or_default();
        if config.device_name.len() > NAME_MAX {
            return Err(format!("--device-name: at most {NAME_MAX} bytes").into());
        }
        Ok(config)
    }

    fn issuer(&self) -> Result<Issuer, Failure> {
        let missing = |error| {
            let data = self.data.display();
            format!("no key to sign with in {data} ({error}): start `tidings serve` there first, or give --token")
        };
        Ok(Issuer::load(&self.data).map_err(missing)?)
    }

    /// A client. With the key at hand it makes itself new tokens for as long as it runs.
    pub(super) fn client(&self, config: Config) -> Result<Client, Failure> {
        let server = self.server()?;
        if self.given_token()?.is_some() {
            return Ok(Client::new(server, config));
        }
        let (issuer, user) = (self.issuer()?, self.user.clone());
        let source = move || issuer.issue(&user, None, wall_clock(), TOKEN_TTL_S).ok().map(String::into_bytes);
        Ok(Client::with_tokens(server, config, source))
    }

    /// Where the server is, and whom it must be.
    fn server(&self) -> Result<Server, Failure> {
        let Some(path) = &self.ca else { return Ok(self.server.clone()) };
        if self.server.secrecy == Secrecy::Plain {
            return Err(format!("--ca is for connections in TLS: --server tls://{}", self.server.authority()).into());
        }
        let pem = std::fs::read(path).map_err(|error| format!("--ca {}: {error}", path.display()))?;
        Ok(self.server.clone().trusting(pem))
    }

    /// A client that is let in.
    pub(super) fn open(&self, config: &Config) -> Result<Client, Failure> {
        let mut client = self.client(config.clone())?;
        let until = Instant::now() + patience();
        while Instant::now() < until {
            match client.poll(Duration::from_millis(200))? {
                Some(Event::Connected) => return Ok(client),
                Some(Event::Rejected { code }) => return Err(rejected(code)),
                _ => {}
            }
            if let Some(failure) = client.failure() {
                let why = format!("no server at {}: {}", self.server, self.unreachable(failure));
                return Err(Ended::with(Status::Unreachable, why));
            }
        }
        let why = format!("no server at {}: something listens there, and does not answer", self.server);
        Err(Ended::with(Status::Unreachable, why))
    }

    /// Why there is no connection, and what to do.
    fn unreachable(&self, failure: &std::io::Error) -> String {
        match failure.kind() {
            std::io::ErrorKind::ConnectionRefused => "nothing listens there; is it running?".into(),
            // A server without TLS, or another authority's certificate.
            _ if self.server.secrecy != Secrecy::Plain => format!("{failure} (--ca names whom to trust)"),
            _ => failure.to_string(),
        }
    }
}

/// A server that does not want us, as a sentence.
pub(super) fn rejected(code: ErrorCode) -> Failure {
    let hint = match code {
        ErrorCode::TokenInvalid => ": the token is not signed by this server's key; is --data its data directory?",
        ErrorCode::TokenExpired => ": make a new token with `tidings token`",
        ErrorCode::DeviceRevoked => ": this device was revoked; take another number",
        ErrorCode::TokenRevoked => {
            ": a device was revoked since the token was made; make a new one with `tidings token`"
        }
        ErrorCode::Superseded => ": this device has connected somewhere else",
        _ => "",
    };
    Ended::with(Status::NotLetIn, format!("the server refuses: {code}{hint}"))
}

/// The user of a name.
pub(super) fn user_named(name: &str) -> Result<UserId, Failure> {
    check_name(name)?;
    Ok(UserId::derive(DEFAULT_TENANT, name))
}

/// To whom something is: a user, or a group.
#[derive(Clone, Copy, Debug)]
pub(super) enum Recipient {
    User(UserId),
    Group(ConversationId),
}

/// The one of the two that was given.
pub(super) fn recipient(name: Option<&str>, group: Option<ConversationId>) -> Result<Recipient, Failure> {
    match (name, group) {
        (_, Some(group)) => Ok(Recipient::Group(group)),
        (Some(name), None) => Ok(Recipient::User(user_named(name)?)),
        (None, None) => Err("to whom? A user's name or a group is expected".into()),
    }
}

impl Recipient {
    /// The conversation.
    pub(super) fn conversation(self, session: &Session) -> ConversationId {
        match self {
            Self::User(user) => session.conversation_with(user),
            Self::Group(group) => group,
        }
    }

    /// Sends it something.
    pub(super) fn post(self, session: &mut Session, content: Content) -> ClientMsgId {
        match self {
            Self::User(user) => session.post_to(user, content),
            Self::Group(group) => session.post(group, content),
        }
    }
}

/// A group's id, as it is printed.
pub(super) fn group_id(digits: &str) -> Result<ConversationId, String> {
    let id = super::group::hex(digits).map(ConversationId).filter(ConversationId::is_group);
    id.ok_or_else(|| {
        format!("{digits} is no group: 32 hexadecimal digits are expected, as `tidings group create` prints")
    })
}

/// Refuses names that no token can carry.
pub(super) fn check_name(name: &str) -> Result<(), Failure> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(format!("a user's name has 1 to {NAME_MAX} bytes").into());
    }
    Ok(())
}

/// What a message does, in a word: a number, if this version does not know it.
fn kind_of(message: &Message) -> String {
    let Message { control, .. } = *message;
    if message.is_withheld() {
        return "withheld".into();
    }
    let row = tidings_core::features::FEATURES.iter().find(|row| row.control == control);
    row.map_or_else(|| control.0.to_string(), |row| row.name.to_owned())
}

/// How what a message says is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    /// As text; what is none becomes U+FFFD.
    Text,
    /// As base64, byte for byte.
    Base64,
}

/// How messages are printed.
#[derive(Debug, Args)]
pub(super) struct Format {
    /// One JSON object a line: conversation, to (the other user's id, or the group's), seq, id (the attempt), kind (text, or what it does to a group), from, device, ts (microseconds since 1970), text.
    #[arg(long)]
    json: bool,
    /// With --json: `payload`, in base64, instead of `text`, for what is no text.
    #[arg(long, requires = "json")]
    base64: bool,
}

/// A message as a JSON object.
fn to_json(message: &Message, payload: Payload) -> serde_json::Value {
    let to = if message.conversation.is_group() { message.conversation.to_string() } else { message.peer.to_string() };
    let mut object = serde_json::json!({
        "conversation": message.conversation.to_string(),
        "to": to,
        "seq": message.seq.0,
        "id": message.client_msg_id.0,
        "kind": kind_of(message),
        "from": message.sender_name,
        "device": message.sender_device.0,
        "ts": message.ts.0,
    });
    match payload {
        Payload::Text => object["text"] = String::from_utf8_lossy(&message.payload).into(),
        Payload::Base64 => object["payload"] = BASE64_STANDARD.encode(&message.payload).into(),
    }
    // What few messages have is there when they have it.
    if message.target.0 > 0 {
        object["target"] = message.target.0.into();
    }
    if message.expires_at.0 > 0 {
        object["expires_at"] = message.expires_at.0.into();
    }
    if message.is_emptied() {
        object["gone"] = true.into();
    }
    if message.is_forgotten() {
        object["forgotten"] = true.into();
    }
    // Of a message that grew while it was written.
    if message.has_ended() {
        object["ended"] = true.into();
    }
    if message.was_aborted() {
        object["aborted"] = true.into();
    }
    match message.control {
        Control::TEXT | streamed_control::OPEN | about_control::EDIT => clear_json(&mut object, &message.clear()),
        about_control::TIMER => {
            object["seconds"] = Timer::from_bytes(&message.body).unwrap_or_default().seconds.into();
        }
        _ => {}
    }
    object
}

fn clear_json(object: &mut serde_json::Value, clear: &Clear<'_>) {
    if !clear.mentions.is_empty() {
        object["mentions"] = clear.mentions.iter().map(|user| user.to_string()).collect();
    }
    if clear.forwarded > 0 {
        object["forwarded"] = clear.forwarded.into();
    }
    if let Some(Media { size, media_type, reference, .. }) = clear.media {
        let text = |bytes| String::from_utf8_lossy(bytes);
        object["media"] = serde_json::json!({ "size": size, "type": text(media_type), "reference": text(reference) });
    }
    if !clear.kind.is_empty() {
        object["application_kind"] = String::from_utf8_lossy(clear.kind).into();
    }
}

/// Prints a message for a script or for people; false if nobody reads any more.
pub(super) fn print(message: &Message, format: &Format) -> bool {
    if format.json {
        let payload = if format.base64 { Payload::Base64 } else { Payload::Text };
        return out::line(&out::escaped(&to_json(message, payload)));
    }
    // Of whom, or of what, the user does not want to hear it hears nothing.
    if message.is_withheld() || message.is_forgotten() {
        return true;
    }
    let (seq, sender) = (message.seq.0, out::harmless(&message.sender_name));
    match said(message) {
        Said::Text(text) => out::line(&format!("{seq:>6}  {sender}: {text}")),
        Said::Act(act) => out::line(&format!("{seq:>6}  {sender} {act}")),
    }
}
