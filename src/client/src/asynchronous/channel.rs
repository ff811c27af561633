//! What is between a socket and the stream of frames, without either: TLS, a WebSocket, both or nothing. Bytes of the socket go in and come out.

use std::io::{self, Read, Write};

use crate::blocking::{Framing, Secrecy, Server, Trusted};

/// What was received and not read, and what was written and not sent.
#[derive(Debug, Default)]
struct Pipe {
    incoming: Vec<u8>,
    read: usize,
    outgoing: Vec<u8>,
}

impl Pipe {
    fn give(&mut self, bytes: &[u8]) {
        self.incoming.drain(..std::mem::take(&mut self.read));
        self.incoming.extend_from_slice(bytes);
    }
}

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = (&self.incoming[self.read..]).read(into)?;
        self.read += len;
        if len == 0 && !into.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(len) }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
enum Framed {
    /// Frames as they are.
    Raw(Pipe),
    #[cfg(feature = "websocket")]
    WebSocket(Box<websocket::Socket>),
}

/// One connection's.
#[derive(Debug)]
pub(super) struct Channel {
    #[cfg(feature = "tls")]
    tls: Option<Box<rustls::ClientConnection>>,
    framed: Framed,
    /// Bytes of the stream of frames.
    frames: Vec<u8>,
    is_over: bool,
}

#[cfg(not(all(feature = "tls", feature = "websocket")))]
fn lacks(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, format!("this build has no {what}"))
}

impl Channel {
    /// The channel of a new connection.
    ///
    /// # Errors
    /// If it cannot begin, for example if nobody is trusted.
    #[cfg_attr(not(feature = "tls"), allow(unused_variables, reason = "nobody is trusted without TLS"))]
    pub(super) fn new(server: &Server, trusted: &mut Trusted) -> io::Result<Self> {
        #[cfg(feature = "tls")]
        let tls = match &server.secrecy {
            Secrecy::Plain => None,
            secrecy => {
                let mut tls = trusted.connection(server.host(), secrecy)?;
                tls.set_buffer_limit(None);
                Some(Box::new(tls))
            }
        };
        #[cfg(not(feature = "tls"))]
        if server.secrecy != Secrecy::Plain {
            return Err(lacks("TLS"));
        }
        let framed = match server.framing {
            Framing::Raw => Framed::Raw(Pipe::default()),
            #[cfg(feature = "websocket")]
            Framing::WebSocket => Framed::WebSocket(Box::new(websocket::Socket::new(server)?)),
            #[cfg(not(feature = "websocket"))]
            Framing::WebSocket => return Err(lacks("WebSockets")),
        };
        Ok(Self {
            #[cfg(feature = "tls")]
            tls,
            framed,
            frames: Vec::new(),
            is_over: false,
        })
    }

    /// True once frames can go through.
    pub(super) fn is_open(&self) -> bool {
        #[cfg(feature = "tls")]
        if self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
            return false;
        }
        match &self.framed {
            Framed::Raw(_) => true,
            #[cfg(feature = "websocket")]
            Framed::WebSocket(socket) => socket.is_open(),
        }
    }

    /// True if nothing more comes.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Takes bytes of the socket.
    ///
    /// # Errors
    /// If they are wrong: the connection is to be dropped.
    pub(super) fn received(&mut self, bytes: &[u8]) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            let (mut sealed, mut plain) = (bytes, Vec::new());
            while !sealed.is_empty() {
                tls.read_tls(&mut sealed)?;
                let state = tls.process_new_packets().map_err(io::Error::other)?;
                let from = plain.len();
                plain.resize(from + state.plaintext_bytes_to_read(), 0);
                tls.reader().read_exact(&mut plain[from..])?;
                self.is_over |= state.peer_has_closed();
            }
            return self.unframe(&plain);
        }
        self.unframe(bytes)
    }

    fn unframe(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.framed {
            Framed::Raw(_) => self.frames.extend_from_slice(bytes),
            #[cfg(feature = "websocket")]
            Framed::WebSocket(socket) => self.is_over |= socket.received(bytes, &mut self.frames)?,
        }
        Ok(())
    }

    /// Bytes of the stream of frames that came.
    pub(super) fn take_frames(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.frames)
    }

    /// Takes bytes of the stream of frames, to be sent.
    ///
    /// # Errors
    /// If it is not open, or over.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.framed {
            Framed::Raw(pipe) => pipe.write_all(bytes),
            #[cfg(feature = "websocket")]
            Framed::WebSocket(socket) => socket.send(bytes),
        }
    }

    /// Bytes for the socket.
    ///
    /// # Errors
    /// If they cannot be sealed.
    pub(super) fn take_output(&mut self, output: &mut Vec<u8>) -> io::Result<()> {
        let pipe = match &mut self.framed {
            Framed::Raw(pipe) => pipe,
            #[cfg(feature = "websocket")]
            Framed::WebSocket(socket) => socket.pipe(),
        };
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            tls.writer().write_all(&std::mem::take(&mut pipe.outgoing))?;
            while tls.wants_write() {
                tls.write_tls(output)?;
            }
            return Ok(());
        }
        output.append(&mut pipe.outgoing);
        Ok(())
    }
}

#[cfg(feature = "websocket")]
mod websocket {
    use tungstenite::{
        ClientHandshake, Error, HandshakeError, Message, WebSocket, client::client_with_config, handshake::MidHandshake,
    };

    use super::{Pipe, Server, io};
    use crate::blocking::websocket_request;

    /// The server takes messages of a mebibyte.
    const MESSAGE_MAX: usize = 512 << 10;

    #[derive(Debug)]
    enum State {
        Shaking(MidHandshake<ClientHandshake<Pipe>>),
        Open(WebSocket<Pipe>),
        /// It failed.
        Over(Pipe),
    }

    /// A WebSocket over memory.
    #[derive(Debug)]
    pub(super) struct Socket(State);

    impl Socket {
        pub(super) fn new(server: &Server) -> io::Result<Self> {
            let (request, config) = websocket_request(server)?;
            let shaken = client_with_config(request, Pipe::default(), Some(config)).map(|(socket, _)| socket);
            Self::shaken(shaken).map(Self)
        }

        fn shaken(shaken: Result<WebSocket<Pipe>, HandshakeError<ClientHandshake<Pipe>>>) -> io::Result<State> {
            match shaken {
                Ok(socket) => Ok(State::Open(socket)),
                Err(HandshakeError::Interrupted(shaking)) => Ok(State::Shaking(shaking)),
                Err(HandshakeError::Failure(error)) => Err(io::Error::other(error)),
            }
        }

        pub(super) fn is_open(&self) -> bool {
            matches!(self.0, State::Open(_))
        }

        pub(super) fn pipe(&mut self) -> &mut Pipe {
            match &mut self.0 {
                State::Shaking(shaking) => shaking.get_mut().get_mut(),
                State::Open(socket) => socket.get_mut(),
                State::Over(pipe) => pipe,
            }
        }

        /// Takes bytes; those of the stream go to `frames`. Whether it is over.
        pub(super) fn received(&mut self, bytes: &[u8], frames: &mut Vec<u8>) -> io::Result<bool> {
            self.pipe().give(bytes);
            if let State::Shaking(_) = self.0 {
                let State::Shaking(shaking) = std::mem::replace(&mut self.0, State::Over(Pipe::default())) else {
                    unreachable!("looked at above")
                };
                self.0 = Self::shaken(shaking.handshake().map(|(socket, _)| socket))?;
            }
            let State::Open(socket) = &mut self.0 else { return Ok(false) };
            loop {
                match socket.read() {
                    Ok(Message::Binary(payload)) => frames.extend_from_slice(&payload),
                    Ok(Message::Close(_)) => return Ok(true),
                    Ok(_) => {}
                    Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                    Err(error) => return Err(io::Error::other(error)),
                }
            }
        }

        pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
            let State::Open(socket) = &mut self.0 else { return Err(io::ErrorKind::NotConnected.into()) };
            let mut sent = Ok(());
            for piece in bytes.chunks(MESSAGE_MAX) {
                sent = sent.and_then(|()| socket.write(Message::binary(piece.to_vec())));
            }
            sent.and_then(|()| socket.flush()).map_err(io::Error::other)
        }
    }
}
