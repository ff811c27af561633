//! The shell around [`Session`] for programs on tokio: one connection, driven by whoever awaits [`Client::next`].
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use tidings_client::{Config, Event, UserId, asynchronous::Client, blocking::Server};
//!
//! let server: Server = "tls://chat.example".parse()?;
//! let mut client = Client::new(server, Config::new("alice", 1, b"token".to_vec()));
//! client.session().send(UserId::derive("default", "bob"), b"hi bob");
//! while let Some(event) = client.next().await {
//!     if let Event::Sent { seq, .. } = event {
//!         println!("durable as number {seq}");
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod channel;

use std::{fmt, future::Future, io, pin::Pin, time::Duration};

use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, sleep_until, timeout},
};

use self::channel::Channel;
use crate::{
    blocking::{Server, Servers, Trusted},
    config::{Config, Time, Tokens},
    event::Event,
    session::Session,
};

/// Connecting to one address takes no longer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// From a connection to TLS and the WebSocket in it.
const SHAKE_TIMEOUT: Duration = Duration::from_secs(20);
/// Nothing of what is to be sent was taken for so long.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long what is said last may take.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes that are read at once.
const READ_BUFFER: usize = 64 * 1024;
/// The longest wait without looking at the clock.
const REST_MAX: Duration = Duration::from_secs(60);

/// Something that goes on with the next call, if one is dropped.
struct Pending<T>(Pin<Box<dyn Future<Output = T> + Send>>);

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pending")
    }
}

/// Awaits what is there, if anything is.
async fn done<T>(pending: &mut Option<Pending<T>>) -> T {
    match pending {
        Some(Pending(pending)) => pending.as_mut().await,
        None => std::future::pending().await,
    }
}

type Renewal = Pending<Option<Vec<u8>>>;

/// Where new tokens come from.
struct TokenSource(Box<dyn FnMut() -> Renewal + Send>);

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSource")
    }
}

#[derive(Debug)]
struct Connection {
    tcp: TcpStream,
    channel: Channel,
    /// The session knows of it.
    is_up: bool,
    /// When it has to be up, or something of what is to be sent has to be gone.
    deadline: Option<Instant>,
}

/// A client that connects and reconnects while somebody awaits [`Self::next`].
#[derive(Debug)]
pub struct Client {
    servers: Servers,
    /// The server let it in on this connection.
    was_up: bool,
    session: Session,
    connection: Option<Connection>,
    failure: Option<io::Error>,
    trusted: Trusted,
    origin: Instant,
    /// Bytes for the socket, and how many of them it has taken.
    output: Vec<u8>,
    written: usize,
    scratch: Vec<u8>,
    buffer: Box<[u8]>,
    tokens: Option<TokenSource>,
    renewing: Option<Renewal>,
    connecting: Option<Pending<io::Result<(TcpStream, Server)>>>,
    /// There was no token to be had, and the application is to hear of it.
    lacks_token: bool,
}

/// Connects to the first address that answers.
async fn connect(server: Server) -> io::Result<(TcpStream, Server)> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let addresses: Vec<_> = lookup_host(server.place()).await?.collect();
    for address in addresses {
        let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(tcp) => {
                // Without it everything still works, only slower.
                let _slower = tcp.set_nodelay(true);
                return Ok((tcp, server));
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

impl Client {
    /// A client of a server, or of several that know the same users; it connects with the first [`Self::next`].
    pub fn new(servers: impl Into<Servers>, config: Config) -> Self {
        Self {
            servers: servers.into(),
            was_up: false,
            session: Session::new(config),
            connection: None,
            failure: None,
            trusted: Trusted::default(),
            origin: Instant::now(),
            output: Vec::new(),
            written: 0,
            scratch: Vec::new(),
            buffer: vec![0; READ_BUFFER].into(),
            tokens: None,
            renewing: None,
            connecting: None,
            lacks_token: false,
        }
    }

    /// As [`Self::new`], but it asks `source` for a new token shortly before the one that it has ends, and goes on with it. If
    /// there is none to be had (`None`), the application is told [`Event::TokenNeeded`] and may still give one to
    /// [`Session::renew`].
    pub fn with_tokens<F>(
        servers: impl Into<Servers>,
        config: Config,
        mut source: impl FnMut() -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Option<Vec<u8>>> + Send + 'static,
    {
        let mut client = Self::new(servers, Config { tokens: Tokens::Renewed, ..config });
        client.tokens = Some(TokenSource(Box::new(move || Pending(Box::pin(source())))));
        client
    }

    /// The session: to send, to read, to ask. What it puts out leaves while [`Self::next`] is awaited.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Connects elsewhere from the next reconnect on.
    pub fn set_server(&mut self, servers: impl Into<Servers>) {
        self.servers = servers.into();
    }

    /// Why it could not connect when it tried last; `None` if it could.
    pub fn failure(&self) -> Option<&io::Error> {
        self.failure.as_ref()
    }

    /// Drops the connection without a word, as a network would. The client reconnects.
    pub fn cut(&mut self) {
        self.was_up = true; // it says nothing of the server
        self.lost(None);
    }

    /// The next event; `None` once the session is closed. Whatever the network does is no error: the client reconnects.
    ///
    /// It may be dropped at any time, as `select!` does, and nothing is lost by it: what had begun goes on with the next call. Nothing happens, and
    /// nothing is sent, while nobody awaits it.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            self.session.tick(self.now());
            if let Some(event) = self.next_event() {
                return Some(event);
            }
            if std::mem::take(&mut self.lacks_token) {
                return Some(Event::TokenNeeded);
            }
            self.drop_unwanted();
            self.take_output();
            if self.session.is_closed() {
                // Whoever does not take the last words in time goes without them.
                let _late = timeout(GOODBYE_TIMEOUT, self.write_all()).await;
                self.connection = None;
                return self.session.poll_event();
            }
            if self.session.wants_connection(self.now()) {
                self.connecting = Some(Pending(Box::pin(connect(self.servers.current().clone()))));
            }
            self.wait().await;
        }
    }

    /// The next event, unless it is answered here.
    fn next_event(&mut self) -> Option<Event> {
        let event = self.session.poll_event()?;
        match (&event, &mut self.tokens) {
            (Event::TokenNeeded, Some(TokenSource(source))) if self.renewing.is_none() => {
                self.renewing = Some(source());
                self.next_event()
            }
            _ => Some(event),
        }
    }

    fn now(&self) -> Time {
        Time(self.origin.elapsed().as_micros() as u64)
    }

    /// A connection that the session has given up goes.
    fn drop_unwanted(&mut self) {
        let is_wanted = self.session.is_up() || self.session.is_greeting() || self.session.is_closed();
        if self.connection.as_ref().is_some_and(|connection| connection.is_up) && !is_wanted {
            self.connection = None;
            self.step_on();
        }
    }

    fn lost(&mut self, why: Option<io::Error>) {
        let was_up = self.connection.take().is_some_and(|connection| connection.is_up);
        self.connecting = None;
        // That one that stood has ended does not say that none can be had.
        if !was_up {
            self.failure = why;
        }
        self.step_on();
        let now = self.now();
        self.session.disconnected(now);
    }

    /// Whoever was not let in on a connection tries another server.
    fn step_on(&mut self) {
        if !std::mem::take(&mut self.was_up) {
            self.servers.try_next();
        }
    }

    /// A socket is connected, or could not be.
    fn connected(&mut self, tcp: io::Result<(TcpStream, Server)>) {
        self.connecting = None;
        self.output.clear();
        self.written = 0;
        let channel = tcp.and_then(|(tcp, server)| Ok((tcp, Channel::new(&server, &mut self.trusted)?)));
        match channel {
            Ok((tcp, channel)) => {
                let deadline = Some(Instant::now() + SHAKE_TIMEOUT);
                self.connection = Some(Connection { tcp, channel, is_up: false, deadline });
                self.greet();
            }
            Err(error) => self.lost(Some(error)),
        }
    }

    /// The session learns of a connection once frames can go through it.
    fn greet(&mut self) {
        let now = self.now();
        if let Some(connection) = &mut self.connection
            && !connection.is_up
            && connection.channel.is_open()
        {
            (connection.is_up, connection.deadline, self.failure) = (true, None, None);
            self.session.connected(now);
        }
    }

    /// What the session and the channel want sent.
    fn take_output(&mut self) {
        self.session.take_output(&mut self.scratch);
        let Some(connection) = &mut self.connection else { return self.scratch.clear() };
        let sent = if self.scratch.is_empty() { Ok(()) } else { connection.channel.send(&self.scratch) };
        self.scratch.clear();
        match sent.and_then(|()| connection.channel.take_output(&mut self.output)) {
            Ok(()) if connection.is_up && !self.output.is_empty() && connection.deadline.is_none() => {
                connection.deadline = Some(Instant::now() + WRITE_TIMEOUT);
            }
            Ok(()) => {}
            Err(error) => self.lost(Some(error)),
        }
    }

    /// Waits until the socket takes or gives something, a token comes, or time has passed.
    async fn wait(&mut self) {
        let rest = Instant::now() + REST_MAX;
        let due = self.session.next_timeout().map_or(rest, |at| self.origin + Duration::from_micros(at.0)).min(rest);
        let Some(connection) = &mut self.connection else {
            tokio::select! {
                token = done(&mut self.renewing) => self.renewed(token),
                tcp = done(&mut self.connecting) => self.connected(tcp),
                () = sleep_until(due) => {}
            }
            return;
        };
        let (tcp, has_output) = (&connection.tcp, self.written < self.output.len());
        let (deadline, has_deadline) = (connection.deadline.unwrap_or(rest), connection.deadline.is_some());
        tokio::select! {
            biased;
            token = done(&mut self.renewing) => self.renewed(token),
            ready = tcp.writable(), if has_output => if let Err(error) = ready.and_then(|()| self.write()) {
                self.lost(Some(error));
            },
            ready = tcp.readable() => if let Err(error) = ready.and_then(|()| self.read()) {
                self.lost(Some(error));
            },
            () = sleep_until(due.min(deadline)) => if Instant::now() >= deadline && has_deadline {
                self.lost(Some(io::ErrorKind::TimedOut.into()));
            },
        }
    }

    fn renewed(&mut self, token: Option<Vec<u8>>) {
        self.renewing = None;
        match token {
            Some(token) => self.session.renew(&token),
            None => self.lacks_token = true,
        }
    }

    /// Writes as much as the socket takes now.
    fn write(&mut self) -> io::Result<()> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        match connection.tcp.try_write(&self.output[self.written..]) {
            Ok(len) => {
                self.written += len;
                let is_done = self.written == self.output.len();
                if is_done {
                    self.output.clear();
                    self.written = 0;
                }
                if connection.is_up {
                    connection.deadline = (!is_done).then(|| Instant::now() + WRITE_TIMEOUT);
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn write_all(&mut self) {
        while self.written < self.output.len() {
            let Some(connection) = &self.connection else { return };
            if connection.tcp.writable().await.and_then(|()| self.write()).is_err() {
                return;
            }
        }
    }

    /// Reads what there is now.
    fn read(&mut self) -> io::Result<()> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        match connection.tcp.try_read(&mut self.buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => connection.channel.received(&self.buffer[..len])?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        self.greet();
        let now = self.now();
        let Some(connection) = &mut self.connection else { return Ok(()) };
        if connection.is_up {
            let frames = connection.channel.take_frames();
            if !frames.is_empty() {
                self.session.received(&frames, now);
                self.was_up |= self.session.is_up();
            }
            if connection.channel.is_over() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }
}
