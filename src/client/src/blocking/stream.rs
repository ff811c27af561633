//! A connection to a server, however it is spoken to. What was left out of the build (TLS, WebSockets) fails when it is asked for.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

use super::server::{Framing, Secrecy, Server};
#[cfg(feature = "tls")]
pub(crate) use super::tls::Trusted;

/// Whom a client trusts: nobody, in a build without TLS.
#[cfg(not(feature = "tls"))]
#[derive(Debug, Default)]
pub(crate) struct Trusted;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes that are read at once.
pub(super) const READ_BUFFER: usize = 64 * 1024;

/// A socket, in TLS or not.
#[derive(Debug)]
pub(super) enum Socket {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<super::tls::TlsStream>),
}

/// A connection.
#[derive(Debug)]
pub(super) enum Stream {
    Raw(Socket),
    #[cfg(feature = "websocket")]
    WebSocket(Box<tungstenite::WebSocket<Socket>>),
}

impl Stream {
    /// Connects to the first address that answers.
    ///
    /// # Errors
    /// Why the last one did not, or why TLS or the WebSocket did not come about.
    pub(super) fn connect(server: &Server, trusted: &mut Trusted) -> io::Result<Self> {
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in server.addresses()? {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(tcp) => return Self::over(tcp, server, trusted),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    #[cfg_attr(not(feature = "tls"), allow(unused_variables, reason = "nobody is trusted without TLS"))]
    fn over(tcp: TcpStream, server: &Server, trusted: &mut Trusted) -> io::Result<Self> {
        // Without it everything still works, only slower.
        let _slower = tcp.set_nodelay(true);
        tcp.set_write_timeout(Some(WRITE_TIMEOUT))?;
        tcp.set_read_timeout(Some(CONNECT_TIMEOUT))?;
        let socket = match &server.secrecy {
            Secrecy::Plain => Socket::Plain(tcp),
            #[cfg(feature = "tls")]
            secrecy => Socket::Tls(Box::new(super::tls::connect(tcp, server.host(), secrecy, trusted)?)),
            #[cfg(not(feature = "tls"))]
            _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "this build has no TLS")),
        };
        match server.framing {
            Framing::Raw => Ok(Self::Raw(socket)),
            #[cfg(feature = "websocket")]
            Framing::WebSocket => websocket(socket, server),
            #[cfg(not(feature = "websocket"))]
            Framing::WebSocket => Err(io::Error::new(io::ErrorKind::Unsupported, "this build has no WebSockets")),
        }
    }

    /// Bounds the next [`Self::receive`].
    pub(super) fn set_patience(&self, time: Duration) -> io::Result<()> {
        let socket = match self {
            Self::Raw(socket) => socket,
            #[cfg(feature = "websocket")]
            Self::WebSocket(socket) => socket.get_ref(),
        };
        let tcp = match socket {
            Socket::Plain(tcp) => tcp,
            #[cfg(feature = "tls")]
            Socket::Tls(stream) => &stream.sock,
        };
        tcp.set_read_timeout(Some(time))
    }

    /// Sends bytes of the stream of frames.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            // What TLS still holds is sent, too: an error of that would be heard of by nobody.
            Self::Raw(socket) => socket.write_all(bytes).and_then(|()| socket.flush()),
            #[cfg(feature = "websocket")]
            Self::WebSocket(socket) => {
                // The server takes messages of a mebibyte.
                let mut sent = Ok(());
                for piece in bytes.chunks(512 << 10) {
                    sent = sent.and_then(|()| socket.write(tungstenite::Message::binary(piece.to_vec())));
                }
                sent.and_then(|()| socket.flush()).map_err(from_websocket)
            }
        }
    }

    /// Bytes of the stream of frames, into `buffer`, which grows if it must. How many; 0 at the end.
    pub(super) fn receive(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Raw(socket) => socket.read(buffer),
            #[cfg(feature = "websocket")]
            Self::WebSocket(socket) => loop {
                match socket.read().map_err(from_websocket)? {
                    tungstenite::Message::Binary(payload) if !payload.is_empty() => {
                        if buffer.len() < payload.len() {
                            buffer.resize(payload.len(), 0);
                        }
                        buffer[..payload.len()].copy_from_slice(&payload);
                        return Ok(payload.len());
                    }
                    tungstenite::Message::Close(_) => return Ok(0),
                    _ => {}
                }
            },
        }
    }
}

#[cfg(feature = "websocket")]
fn from_websocket(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        error => io::Error::other(error),
    }
}

/// How a server is asked for a WebSocket, and what is let in.
///
/// # Errors
/// If its name is not one that HTTP knows.
#[cfg(feature = "websocket")]
pub(crate) fn websocket_request(
    server: &Server,
) -> io::Result<(tungstenite::client::ClientRequestBuilder, tungstenite::protocol::WebSocketConfig)> {
    use tungstenite::{client::ClientRequestBuilder, http::Uri, protocol::WebSocketConfig};
    let uri: Uri = format!("ws://{}{PATH}", server.authority()).parse().map_err(io::Error::other)?;
    let request = ClientRequestBuilder::new(uri).with_sub_protocol(SUBPROTOCOL);
    // What a message may be the frames in it say.
    Ok((request, WebSocketConfig::default().max_message_size(None).max_frame_size(None)))
}

#[cfg(feature = "websocket")]
fn websocket(socket: Socket, server: &Server) -> io::Result<Stream> {
    use tungstenite::HandshakeError;
    let (request, config) = websocket_request(server)?;
    match tungstenite::client::client_with_config(request, socket, Some(config)) {
        Ok((socket, _)) => Ok(Stream::WebSocket(Box::new(socket))),
        Err(HandshakeError::Failure(error)) => Err(from_websocket(error)),
        Err(HandshakeError::Interrupted(_)) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Where the WebSocket is, and what is spoken in it.
#[cfg(feature = "websocket")]
const PATH: &str = "/v1";
#[cfg(feature = "websocket")]
const SUBPROTOCOL: &str = "tidings.v1";

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(into),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.flush(),
        }
    }
}
