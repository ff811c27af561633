//! Where a server is, and how it is spoken to.

use std::{
    fmt,
    net::{SocketAddr, ToSocketAddrs},
    str::FromStr,
};

/// The port where a server name does not say one.
pub const DEFAULT_PORT: u16 = 7600;

/// How connections are kept from others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Secrecy {
    /// Not at all.
    #[default]
    Plain,
    /// TLS, with a certificate of an authority that the system trusts.
    System,
    /// TLS, with a certificate of one of these authorities, in PEM, or one of these itself.
    Authorities(Vec<u8>),
}

/// In what frames travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// As they are.
    #[default]
    Raw,
    /// In a WebSocket: where nothing else gets through.
    WebSocket,
}

/// A server: its name or address, and how it is spoken to.
///
/// As text it is `HOST:PORT`, or one of `tcp://`, `tls://`, `ws://` and `wss://` before it; without a port it is [`DEFAULT_PORT`]. What is in
/// TLS trusts what the system does, unless [`Self::trusting`] says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    host: String,
    port: u16,
    /// Whether it is in TLS.
    pub secrecy: Secrecy,
    /// Whether it is in a WebSocket.
    pub framing: Framing,
}

/// What is wrong with the text of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoServer(String);

impl fmt::Display for NoServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is no server: HOST:PORT is expected, after tcp://, tls://, ws:// or wss:// if it is not plain TCP",
            self.0
        )
    }
}

impl std::error::Error for NoServer {}

impl From<SocketAddr> for Server {
    fn from(addr: SocketAddr) -> Self {
        let scope = match addr {
            SocketAddr::V6(addr) if addr.scope_id() > 0 => format!("%{}", addr.scope_id()),
            _ => String::new(),
        };
        let (host, port) = (format!("{}{scope}", addr.ip()), addr.port());
        Self { host, port, secrecy: Secrecy::Plain, framing: Framing::Raw }
    }
}

impl FromStr for Server {
    type Err = NoServer;

    fn from_str(text: &str) -> Result<Self, NoServer> {
        let refused = || NoServer(text.into());
        let (scheme, place) = text.split_once("://").unwrap_or(("tcp", text));
        let (secrecy, framing) = match scheme {
            "tcp" => (Secrecy::Plain, Framing::Raw),
            "tls" => (Secrecy::System, Framing::Raw),
            "ws" => (Secrecy::Plain, Framing::WebSocket),
            "wss" => (Secrecy::System, Framing::WebSocket),
            _ => return Err(refused()),
        };
        let place = place.trim_end_matches('/');
        let (host, port) = match place.strip_prefix('[').map(|rest| rest.split_once(']')) {
            // [::1]:7600
            Some(Some((host, port))) => (host, port.strip_prefix(':')),
            Some(None) => return Err(refused()),
            // A bare ::1 has no port.
            None if place.matches(':').count() > 1 => (place, None),
            None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Ok(DEFAULT_PORT), |port| port.parse().map_err(|_| refused()))?;
        // `:7601` is this machine.
        let host = if host.is_empty() && place.starts_with(':') { "127.0.0.1" } else { host };
        if host.is_empty() || host.contains('/') || host.contains(char::is_whitespace) {
            return Err(refused());
        }
        Ok(Self { host: host.into(), port, secrecy, framing })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (&self.secrecy, self.framing) {
            (Secrecy::Plain, Framing::Raw) => "",
            (Secrecy::Plain, Framing::WebSocket) => "ws://",
            (_, Framing::Raw) => "tls://",
            (_, Framing::WebSocket) => "wss://",
        };
        write!(f, "{scheme}{}", self.authority())
    }
}

impl Server {
    /// In TLS, trusting these authorities (in PEM) instead of the system's, or a certificate that is among them.
    #[must_use]
    pub fn trusting(self, authorities: Vec<u8>) -> Self {
        Self { secrecy: Secrecy::Authorities(authorities), ..self }
    }

    /// In a WebSocket.
    #[must_use]
    pub fn by_websocket(self) -> Self {
        Self { framing: Framing::WebSocket, ..self }
    }

    /// Its name, or its address: what its certificate must be for.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Host and port.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Its name, or its address, and its port.
    #[cfg(feature = "tokio")]
    pub(crate) fn place(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// Where it may be: every address of its name, asked for anew each time.
    ///
    /// # Errors
    /// If the name cannot be looked up.
    pub fn addresses(&self) -> std::io::Result<impl Iterator<Item = SocketAddr>> {
        (self.host.as_str(), self.port).to_socket_addrs()
    }
}

/// Servers that know the same users: where one cannot be reached, or does not let its client in, the next one is tried.
///
/// As text they are separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servers {
    /// Never empty.
    all: Vec<Server>,
    at: usize,
}

impl Servers {
    /// The one that is to be tried.
    pub fn current(&self) -> &Server {
        &self.all[self.at]
    }

    /// The one that was tried cannot be reached.
    pub(crate) fn try_next(&mut self) {
        self.at = (self.at + 1) % self.all.len();
    }

    /// And after these, this one.
    #[must_use]
    pub fn or(mut self, server: impl Into<Server>) -> Self {
        self.all.push(server.into());
        self
    }
}

impl From<Server> for Servers {
    fn from(server: Server) -> Self {
        Self { all: vec![server], at: 0 }
    }
}

impl From<SocketAddr> for Servers {
    fn from(addr: SocketAddr) -> Self {
        Server::from(addr).into()
    }
}

impl FromStr for Servers {
    type Err = NoServer;

    fn from_str(text: &str) -> Result<Self, NoServer> {
        let (first, rest) = text.split_once(',').unwrap_or((text, ""));
        let rest = rest.split(',').filter(|server| !server.is_empty()).map(str::parse::<Server>);
        rest.into_iter().try_fold(first.parse::<Server>()?.into(), |servers: Self, server| Ok(servers.or(server?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_servers_are_tried_in_turn() {
        let mut servers: Servers = "a.example,tls://b.example".parse().unwrap();
        assert_eq!(
            servers,
            Servers::from("a.example".parse::<Server>().unwrap()).or("tls://b.example".parse::<Server>().unwrap())
        );
        let tried: Vec<_> = (0..3).map(|_| (servers.current().to_string(), servers.try_next()).0).collect();
        assert_eq!(tried, ["a.example:7600", "tls://b.example:7600", "a.example:7600"]);
        assert!("".parse::<Servers>().is_err() && "a.example, ".parse::<Servers>().is_err());
    }

    #[test]
    fn servers_are_written_as_people_write_them() {
        for (text, read, secrecy, framing) in [
            ("127.0.0.1:7601", "127.0.0.1:7601", Secrecy::Plain, Framing::Raw),
            ("tcp://chat.example", "chat.example:7600", Secrecy::Plain, Framing::Raw),
            (":7601", "127.0.0.1:7601", Secrecy::Plain, Framing::Raw),
            ("::1", "[::1]:7600", Secrecy::Plain, Framing::Raw),
            ("tls://[::1]:443", "[::1]:443", Secrecy::System, Framing::Raw),
            ("ws://localhost:80/", "localhost:80", Secrecy::Plain, Framing::WebSocket),
            ("wss://chat.example", "chat.example:7600", Secrecy::System, Framing::WebSocket),
        ] {
            let server: Server = text.parse().unwrap();
            assert_eq!(
                (server.authority().as_str(), &server.secrecy, server.framing),
                (read, &secrecy, framing),
                "{text}"
            );
            assert_eq!(server.to_string().parse(), Ok(server), "{text}");
        }
        for wrong in ["", "http://x", "tls://", "a b:1", "x:port", "x:70000", "[::1:7600", "x/y"] {
            assert!(wrong.parse::<Server>().is_err(), "{wrong}");
        }
    }
}
