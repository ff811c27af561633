//! A small shell around [`Session`]: one connection, driven by whoever calls [`Client::poll`].

mod server;
mod stream;
#[cfg(feature = "tls")]
mod tls;

use std::{
    fmt, io,
    time::{Duration, Instant},
};

use crate::{
    config::{Config, Time, Tokens},
    event::Event,
    session::Session,
};

pub use server::{DEFAULT_PORT, Framing, NoServer, Secrecy, Server, Servers};
pub(crate) use stream::Trusted;
#[cfg(all(feature = "tokio", feature = "websocket"))]
pub(crate) use stream::websocket_request;
use stream::{READ_BUFFER, Stream};

/// Where new tokens come from.
struct TokenSource(Box<dyn FnMut() -> Option<Vec<u8>> + Send>);

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSource")
    }
}

/// A client that connects, reconnects and waits on the calling thread.
#[derive(Debug)]
pub struct Client {
    servers: Servers,
    /// The server let it in on this connection.
    was_up: bool,
    session: Session,
    stream: Option<Stream>,
    failure: Option<io::Error>,
    /// The application was told that it is over.
    told_closed: bool,
    trusted: Trusted,
    origin: Instant,
    output: Vec<u8>,
    buffer: Vec<u8>,
    tokens: Option<TokenSource>,
}

impl Client {
    /// A client of a server, or of several that know the same users; it connects with the first [`Self::poll`].
    pub fn new(servers: impl Into<Servers>, config: Config) -> Self {
        Self {
            servers: servers.into(),
            was_up: false,
            session: Session::new(config),
            stream: None,
            failure: None,
            told_closed: false,
            trusted: Trusted::default(),
            origin: Instant::now(),
            output: Vec::new(),
            buffer: vec![0; READ_BUFFER],
            tokens: None,
        }
    }

    /// As [`Self::new`], but it asks `source` for a new token shortly before the one that it has ends, and goes on with it. If
    /// there is none to be had (`None`), the application is told [`Event::TokenNeeded`] and may still give one to
    /// [`Session::renew`].
    pub fn with_tokens(
        servers: impl Into<Servers>,
        config: Config,
        source: impl FnMut() -> Option<Vec<u8>> + Send + 'static,
    ) -> Self {
        let mut client = Self::new(servers, Config { tokens: Tokens::Renewed, ..config });
        client.tokens = Some(TokenSource(Box::new(source)));
        client
    }

    /// The next event, unless it is answered here.
    fn next_event(&mut self) -> Option<Event> {
        loop {
            let event = self.session.poll_event()?;
            let renewed = match (&event, &mut self.tokens) {
                (Event::TokenNeeded, Some(TokenSource(source))) => source(),
                _ => None,
            };
            match renewed {
                Some(token) => self.session.renew(&token),
                None => return Some(event),
            }
        }
    }

    /// The session: to send, to read, to ask. What it puts out leaves with the next [`Self::poll`].
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

    fn now(&self) -> Time {
        Time(self.origin.elapsed().as_micros() as u64)
    }

    /// The next event, waiting for it at most this long. `None`: nothing happened in that time; after [`Event::Closed`] nothing will.
    ///
    /// # Errors
    /// If the operating system refuses something that has nothing to do with the server, for example a time-out on a
    /// socket. Whatever the network does is no error: the client reconnects.
    pub fn poll(&mut self, wait: Duration) -> io::Result<Option<Event>> {
        let until = Instant::now() + wait;
        loop {
            let now = self.now();
            self.session.tick(now);
            self.flush()?;
            if let Some(event) = self.next_event() {
                return Ok(Some(event));
            }
            self.flush()?;
            if self.session.is_closed() {
                self.flush()?;
                self.stream = None;
                let is_news = !std::mem::replace(&mut self.told_closed, true);
                return Ok(is_news.then_some(Event::Closed));
            }
            self.connect_if_wanted();
            self.flush()?;
            let left = until.saturating_duration_since(Instant::now());
            let due =
                self.session.next_timeout().map_or(left, |at| Duration::from_micros(at.0.saturating_sub(self.now().0)));
            self.wait(left.min(due))?;
            let now = self.now();
            self.session.tick(now);
            if Instant::now() >= until {
                let event = self.next_event();
                self.flush()?;
                return Ok(event);
            }
        }
    }

    fn connect_if_wanted(&mut self) {
        let now = self.now();
        if self.session.wants_connection(now) {
            if self.stream.is_some() {
                self.step_on(); // nothing came on it for too long
            }
            let connected = Stream::connect(self.servers.current(), &mut self.trusted);
            let now = self.now();
            match connected {
                Ok(stream) => {
                    (self.stream, self.failure) = (Some(stream), None);
                    self.session.connected(now);
                }
                Err(failure) => {
                    self.servers.try_next();
                    self.failure = Some(failure);
                    self.session.disconnected(now);
                }
            }
        }
    }

    /// Sends what the session wants sent.
    fn flush(&mut self) -> io::Result<()> {
        self.session.take_output(&mut self.output);
        let Some(stream) = &mut self.stream else {
            self.output.clear();
            return Ok(());
        };
        if !self.output.is_empty() {
            let sent = stream.send(&self.output);
            self.output.clear();
            if sent.is_err() {
                self.lost();
            }
        }
        Ok(())
    }

    fn lost(&mut self) {
        self.step_on();
        let now = self.now();
        self.session.disconnected(now);
    }

    /// The connection goes. Whoever was not let in on it tries another server.
    fn step_on(&mut self) {
        self.stream = None;
        if !std::mem::take(&mut self.was_up) {
            self.servers.try_next();
        }
    }

    /// Receives once, or lets the time pass.
    fn wait(&mut self, time: Duration) -> io::Result<()> {
        let Some(stream) = &mut self.stream else {
            std::thread::sleep(time);
            return Ok(());
        };
        // A read time-out of zero would mean none at all.
        stream.set_patience(time.max(Duration::from_micros(100)))?;
        match stream.receive(&mut self.buffer) {
            Ok(0) => self.lost(),
            Ok(len) => {
                let now = self.now();
                self.session.received(&self.buffer[..len], now);
                self.was_up |= self.session.is_up();
                let wants_stream = self.session.is_up() || self.session.is_greeting();
                if !wants_stream && !self.session.is_closed() {
                    self.step_on();
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.lost(),
        }
        Ok(())
    }

    /// Drops the connection without a word, as a network would. The client reconnects.
    pub fn cut(&mut self) {
        self.was_up = true; // it says nothing of the server
        self.lost();
    }
}
