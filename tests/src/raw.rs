//! A connection that sends whatever a test wants, and shows what comes back.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use tidings_wire::{
    DeviceId, ErrorCode, Kind, Lineage, UserId, Uv, frame,
    frame::{FixedPart, FrameBuilder, Span},
    frames::{ErrorFrame, Hello, Resume, Welcome},
    limits, split,
};

/// How long a test waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    received: Vec<u8>,
}

/// A frame that was received.
#[derive(Debug, Clone)]
pub struct Received(Vec<u8>);

impl From<Vec<u8>> for Received {
    fn from(frame: Vec<u8>) -> Self {
        Self(frame)
    }
}

impl Received {
    /// Its kind.
    ///
    /// # Panics
    /// If it has none that is known.
    pub fn kind(&self) -> Kind {
        self.frame().kind().expect("servers send known kinds")
    }

    /// Its fixed part.
    ///
    /// # Panics
    /// If it is of another kind.
    pub fn fixed<T: FixedPart>(&self) -> T {
        assert_eq!(self.kind(), T::KIND, "{:?}", self.error());
        self.frame().fixed().expect("servers send valid frames")
    }

    /// Its request id.
    pub fn request_id(&self) -> u64 {
        self.frame().header().request_id
    }

    /// Its size.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// The error that it is.
    pub fn error(&self) -> Option<(ErrorCode, ErrorFrame)> {
        let error: ErrorFrame = if self.kind() == Kind::Error { self.frame().fixed().ok()? } else { return None };
        Some((ErrorCode::from_u16(error.code)?, error))
    }

    fn frame(&self) -> tidings_wire::Frame<'_> {
        split(&self.0, u32::MAX).expect("servers send valid frames").expect("it is whole")
    }
}

/// The frame of a part without variable bytes.
pub fn bytes_of<T: FixedPart>(request_id: u64, part: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::append(&mut bytes, request_id, part);
    bytes
}

/// A HELLO frame.
pub fn hello_bytes(token: &[u8], device: DeviceId) -> Vec<u8> {
    hello_as_bytes(token, device, UserId::NONE, (1, 1))
}

fn hello_as_bytes(token: &[u8], device: DeviceId, user: UserId, versions: (u16, u16)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut frame = FrameBuilder::<Hello>::new(&mut bytes);
    let token = frame.var(token);
    let (version_min, version_max) = versions;
    frame.finish(
        1,
        &Hello {
            version_min,
            version_max,
            device,
            user,
            capabilities: 0,
            token,
            connection_number: 0,
            device_name: Span::default(),
        },
    );
    bytes
}

/// A SEND frame; its request id is `id`.
pub fn send_bytes(from: &str, to: &str, id: u64, prev: u64, payload: &[u8]) -> Vec<u8> {
    let (from, peer) = (UserId::derive("default", from), UserId::derive("default", to));
    tidings_testkit::frames::send(from, peer, id, prev, payload)
}

impl Raw {
    /// Connects.
    ///
    /// # Panics
    /// If nobody listens.
    pub fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream.set_write_timeout(Some(PATIENCE)).expect("a time-out");
        stream.set_nodelay(true).expect("TCP");
        Self { stream, received: Vec::new() }
    }

    /// Sends bytes. A peer that has closed already is no failure: what matters is what it said.
    pub fn write(&mut self, bytes: &[u8]) {
        let _closed = self.stream.write_all(bytes);
    }

    /// Sends no more, and goes on reading.
    pub fn shut_output(&self) {
        let _closed = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// Sends a frame.
    pub fn ask<T: FixedPart>(&mut self, request_id: u64, part: &T) {
        self.write(&bytes_of(request_id, part));
    }

    /// Sends HELLO.
    pub fn hello(&mut self, token: &[u8], device: DeviceId) {
        self.hello_as(token, device, UserId::NONE, (1, 1));
    }

    /// Sends HELLO with everything that it can say.
    pub fn hello_as(&mut self, token: &[u8], device: DeviceId, user: UserId, versions: (u16, u16)) {
        self.write(&hello_as_bytes(token, device, user, versions));
    }

    /// Waits for WELCOME.
    ///
    /// # Panics
    /// If something else comes.
    pub fn expect_welcome(&mut self) -> Welcome {
        self.next().expect("an answer to HELLO").fixed()
    }

    /// Resumes from nothing.
    ///
    /// # Panics
    /// If the answer is not CHANGED.
    pub fn resume(&mut self) {
        self.ask(2, &Resume { lineage: Lineage::NONE, uv: Uv(0), below: Uv(0), page: 0, tails: 0, tail: 0 });
        assert_eq!(self.next().expect("an answer to RESUME").kind(), Kind::Changed);
    }

    /// The next frame; `None` when the server has closed.
    ///
    /// # Panics
    /// If nothing comes in time.
    #[allow(clippy::should_implement_trait, reason = "it waits, and panics")]
    pub fn next(&mut self) -> Option<Received> {
        loop {
            if let Ok(Some(frame)) = split(&self.received, limits::FRAME_MAX) {
                let frame = frame.bytes().to_vec();
                self.received.drain(..frame.len());
                return Some(Received(frame));
            }
            let mut buffer = [0; 65536];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(len) => self.received.extend_from_slice(&buffer[..len]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("nothing came in {PATIENCE:?}")
                }
                Err(_reset) => return None,
            }
        }
    }

    /// Waits for an error.
    ///
    /// # Panics
    /// If something else comes, or another error.
    pub fn expect_error(&mut self, code: ErrorCode) -> ErrorFrame {
        let frame = self.next().unwrap_or_else(|| panic!("closed instead of {code}"));
        let (found, error) = frame.error().unwrap_or_else(|| panic!("{:?} instead of {code}", frame.kind()));
        assert_eq!(found, code);
        error
    }

    /// Waits for the server to close.
    ///
    /// # Panics
    /// If a frame comes first.
    pub fn expect_close(&mut self) {
        if let Some(frame) = self.next() {
            panic!("{:?} instead of the end", frame.kind());
        }
    }
}
