//! A server in this process, on data of its own.

use std::net::SocketAddr;

use tidings::{Server, ServerConfig, front_door::SELF_SIGNED, process::TempDir, sync::SyncSetting};
use tidings_client::{Config, DeviceId, Timestamp, blocking::Client};

use crate::raw::Raw;

/// A server in this process. It stops when this goes.
#[derive(Debug)]
pub struct Serving {
    server: Option<Server>,
    config: ServerConfig,
    way: Way,
    /// Its data.
    pub dir: TempDir,
}

/// How a client speaks to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Frames as they are.
    Raw,
    /// In TLS.
    Tls,
    /// In a WebSocket.
    WebSocket,
    /// In a WebSocket in TLS.
    WebSocketInTls,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Raw, Self::Tls, Self::WebSocket, Self::WebSocketInTls];

    /// A server at an address, spoken to this way. Of TLS, `trusted` gives the certificate that it has.
    pub fn to(self, addr: SocketAddr, trusted: impl FnOnce() -> Vec<u8>) -> tidings_client::blocking::Server {
        let server = tidings_client::blocking::Server::from(addr);
        match self {
            Self::Raw => server,
            Self::WebSocket => server.by_websocket(),
            Self::Tls => server.trusting(trusted()),
            Self::WebSocketInTls => server.by_websocket().trusting(trusted()),
        }
    }
}

/// Settings for tests: two reactors, small segments, any port.
pub fn small() -> ServerConfig {
    let mut config = ServerConfig { cores: vec![0, 1], listen: ([127, 0, 0, 1], 0).into(), ..ServerConfig::default() };
    // Nothing is to depend on the disk of the hour.
    (config.log.segment_bytes, config.log.sync) = (4 << 20, SyncSetting::Dsync);
    config.retention.max_bytes = 256 << 20;
    // Most tests write more than so small a log allows anybody.
    (config.limits.user_bytes, config.limits.address_bytes) = (u64::MAX, u64::MAX);
    (config.limits.user_per_second, config.limits.user_burst) = (1_000_000, 1_000_000);
    config
}

impl Serving {
    /// Starts a server with `config`, but for its data directory.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(config: ServerConfig) -> Self {
        let dir = TempDir::new("test").expect("a temporary directory");
        let config = ServerConfig { data: dir.path().join("data"), ..config };
        let server = Server::start(config.clone()).expect("the server starts");
        Self { server: Some(server), config, way: Way::Raw, dir }
    }

    /// As [`Self::start`], for clients of the SDK that come this way.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_for(way: Way, mut config: ServerConfig) -> Self {
        config.tls.self_signed = true;
        let mut serving = Self::start(config);
        serving.way = way;
        serving
    }

    /// The server.
    ///
    /// # Panics
    /// Never: it is there between calls.
    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs")
    }

    /// Stops it, and starts it again on the same data.
    ///
    /// # Panics
    /// If it does not stop cleanly or does not start.
    pub fn restart(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().expect("a clean stop");
        }
        self.server = Some(Server::start(self.config.clone()).expect("the server starts again"));
    }

    /// As [`Self::restart`], with other settings.
    ///
    /// # Panics
    /// If it does not stop cleanly or does not start.
    pub fn restart_with(&mut self, change: impl FnOnce(&mut ServerConfig)) {
        change(&mut self.config);
        self.restart();
    }

    /// A token of a user.
    ///
    /// # Panics
    /// If it cannot be signed.
    pub fn token(&self, user: &str) -> String {
        self.server().issuer().expect("it made its key").issue(user, None, now(), 3600).expect("a token")
    }

    /// A client of the SDK.
    pub fn client(&self, user: &str, device: u32) -> Client {
        self.client_by(self.way, user, device)
    }

    /// Tells a client where the server is now.
    pub fn lead(&self, client: &mut Client) {
        client.set_server(self.server_by(self.way));
    }

    /// A client of the SDK that comes another way.
    ///
    /// # Panics
    /// If the server has no certificate of its own.
    pub fn client_by(&self, way: Way, user: &str, device: u32) -> Client {
        Client::new(self.server_by(way), self.client_config(user, device))
    }

    /// Where the server is, another way.
    ///
    /// # Panics
    /// If the server has no certificate of its own.
    pub fn server_by(&self, way: Way) -> tidings_client::blocking::Server {
        way.to(self.server().addr(), || {
            std::fs::read(self.server().data().join(SELF_SIGNED)).expect("it made its certificate")
        })
    }

    /// Settings of a client of the SDK, which may say as much at once as a test wants.
    pub fn client_config(&self, user: &str, device: u32) -> Config {
        Config { outbox_bytes: usize::MAX, ..Config::new(user, device, self.token(user).into_bytes()) }
    }

    /// A connection without manners.
    pub fn raw(&self) -> Raw {
        Raw::connect(self.server().addr())
    }

    /// A connection that was let in.
    pub fn session(&self, user: &str, device: u32) -> Raw {
        let mut raw = self.raw();
        raw.hello(self.token(user).as_bytes(), DeviceId(device));
        raw.expect_welcome();
        raw
    }
}

/// The clock.
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(since.as_micros() as u64)
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            let stopped = server.stop();
            if !std::thread::panicking() {
                stopped.expect("a clean stop");
            }
        }
    }
}
