//! ejabberd: chat messages to a resource, acknowledged by stream management, archived by the server.

use std::net::SocketAddr;

use futures_util::StreamExt;
use tokio::sync::{mpsc, oneshot};
use tokio_xmpp::{
    Stanza,
    connect::{DnsConfig, TcpServerConnector},
    jid::Jid,
    parsers::message::{Lang, Message},
    stanzastream::{Event, StanzaStage, StanzaState, StanzaStream, StanzaToken, StreamEvent},
    xmlstream::Timeouts,
};

use super::adapter::{Adapter, Receiver, Sender};
use crate::Failure;

/// Stanzas that may wait in a client.
const WAITING: usize = 256;
/// The last user that the server's script makes.
const LAST_USER: usize = 1999;

/// The server.
pub struct Ejabberd(SocketAddr);

fn jid(user: usize) -> Result<Jid, Failure> {
    Ok(Jid::new(&format!("bench{user}@localhost/bench"))?)
}

impl Ejabberd {
    async fn open(&self, user: usize) -> Result<StanzaStream, Failure> {
        let connector = TcpServerConnector::from(DnsConfig::Addr { addr: self.0.to_string() });
        let mut stream = StanzaStream::new_c2s(connector, jid(user)?, "bench".into(), Timeouts::default(), WAITING);
        match stream.next().await {
            Some(Event::Stream(StreamEvent::Reset { .. })) => Ok(stream),
            other => Err(format!("bench{user} was not let in: {other:?}").into()),
        }
    }
}

impl Adapter for Ejabberd {
    type Sender = Writer;
    type Receiver = Reader;

    async fn connect(addr: SocketAddr, pairs: usize) -> Result<Self, Failure> {
        if 2 * pairs > LAST_USER {
            return Err(format!("at most {} pairs: the server's script makes no more users", LAST_USER / 2).into());
        }
        let this = Self(addr);
        this.open(LAST_USER).await?.close().await;
        Ok(this)
    }

    async fn pair(&self, at: usize) -> Result<(Writer, Reader), Failure> {
        let mut stream = self.open(2 * at).await?;
        let (outgoing, mut stanzas) = mpsc::unbounded_channel::<Outgoing>();
        tokio::task::spawn_local(async move {
            loop {
                tokio::select! {
                    next = stanzas.recv() => {
                        let Some((stanza, token)) = next else { return };
                        // Whoever waited for it is gone: so is the pair.
                        let _gone = token.send(stream.send(Box::new(stanza)).await);
                    }
                    event = stream.next() => if event.is_none() { return },
                }
            }
        });
        Ok((Writer { to: jid(2 * at + 1)?, outgoing }, Reader(self.open(2 * at + 1).await?)))
    }
}

type Outgoing = (Stanza, oneshot::Sender<StanzaToken>);

/// The end that writes.
pub struct Writer {
    to: Jid,
    outgoing: mpsc::UnboundedSender<Outgoing>,
}

impl Sender for Writer {
    async fn send(&self, body: Vec<u8>) -> Result<(), Failure> {
        let message = Message::chat(self.to.clone()).with_body(Lang::default(), String::from_utf8(body)?);
        let (given, token) = oneshot::channel();
        self.outgoing.send((Stanza::Message(message), given)).map_err(|_| "the stream ended")?;
        match token.await?.wait_for(StanzaStage::Acked).await {
            Some(StanzaState::Acked { .. }) => Ok(()),
            other => Err(format!("a message was not acknowledged: {other:?}").into()),
        }
    }
}

/// The end that reads.
pub struct Reader(StanzaStream);

impl Receiver for Reader {
    type Body = String;

    async fn receive(&mut self) -> Result<Vec<String>, Failure> {
        loop {
            match self.0.next().await {
                Some(Event::Stanza(Stanza::Message(message))) if !message.bodies.is_empty() => {
                    return Ok(message.bodies.into_values().collect());
                }
                Some(_) => {}
                None => return Err("a stream ended".into()),
            }
        }
    }

    /// Stream management does it.
    async fn confirm(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}
