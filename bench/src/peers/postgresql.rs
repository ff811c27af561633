//! PostgreSQL: a counter row a conversation, a table of messages, NOTIFY to whom it concerns. Connections are pooled, as an
//! application server would: a connection here is a process there.

use std::{cell::RefCell, collections::HashMap, net::SocketAddr, rc::Rc};

use futures_util::{StreamExt, stream::poll_fn};
use tokio::sync::Notify;
use tokio_postgres::{AsyncMessage, Client, NoTls, Statement};

use super::adapter::{Adapter, Receiver, Sender};
use crate::Failure;

/// Connections of those who write, and of those who read.
const WRITERS: usize = 50;
const READERS: usize = 8;
const SCHEMA: &str = include_str!("../../../perf/peers/postgresql/schema.sql");

/// Whom a notification wakes, by its channel.
type Listeners = Rc<RefCell<HashMap<String, Rc<Notify>>>>;

struct Pooled {
    client: Client,
    send: Statement,
    read: Statement,
    confirm: Statement,
    announce: Statement,
}

/// The server.
pub struct Postgresql {
    writers: Vec<Rc<Pooled>>,
    readers: Vec<Rc<Pooled>>,
    listeners: Listeners,
}

/// A connection, and somebody who reads it.
async fn open(addr: SocketAddr, listeners: &Listeners) -> Result<Client, Failure> {
    let settings = format!("host={} port={} user=bench dbname=postgres", addr.ip(), addr.port());
    let (client, mut connection) = tokio_postgres::connect(&settings, NoTls).await?;
    let listeners = Rc::clone(listeners);
    tokio::task::spawn_local(async move {
        let mut messages = poll_fn(move |context| connection.poll_message(context));
        // Once the connection ends, so do all that wait for its answers, with the error.
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notification(said) = message
                && let Some(listener) = listeners.borrow().get(said.channel())
            {
                listener.notify_one();
            }
        }
    });
    Ok(client)
}

async fn pooled(addr: SocketAddr, listeners: &Listeners) -> Result<Rc<Pooled>, Failure> {
    let client = open(addr, listeners).await?;
    let send = client.prepare("SELECT send($1, $2)").await?;
    let read =
        client.prepare("SELECT seq, body FROM messages WHERE conversation = $1 AND seq > $2 ORDER BY seq").await?;
    let confirm = client.prepare("UPDATE deliveries SET upto = $2 WHERE conversation = $1").await?;
    let announce = client.prepare("SELECT pg_notify($1, '')").await?;
    Ok(Rc::new(Pooled { client, send, read, confirm, announce }))
}

impl Adapter for Postgresql {
    type Sender = Writer;
    type Receiver = Reader;

    async fn connect(addr: SocketAddr, pairs: usize) -> Result<Self, Failure> {
        let listeners = Listeners::default();
        let first = open(addr, &listeners).await?;
        first.batch_execute(SCHEMA).await?;
        for table in ["conversations (id)", "deliveries (conversation)"] {
            first.batch_execute(&format!("INSERT INTO {table} SELECT generate_series(0, {pairs})")).await?;
        }
        let (mut writers, mut readers) = (Vec::new(), Vec::new());
        for _ in 0..WRITERS.min(pairs) {
            writers.push(pooled(addr, &listeners).await?);
        }
        for _ in 0..READERS.min(pairs) {
            let reader = pooled(addr, &listeners).await?;
            // How far a receiver is may be lost in a crash, and is then asked for again: it need not wait for the disk.
            reader.client.batch_execute("SET synchronous_commit = off").await?;
            readers.push(reader);
        }
        Ok(Self { writers, readers, listeners })
    }

    async fn pair(&self, at: usize) -> Result<(Writer, Reader), Failure> {
        let (writer, reader) = (&self.writers[at % self.writers.len()], &self.readers[at % self.readers.len()]);
        let (conversation, notify) = (at as i64, Rc::new(Notify::new()));
        self.listeners.borrow_mut().insert(format!("c{at}"), Rc::clone(&notify));
        reader.client.batch_execute(&format!("LISTEN c{at}")).await?;
        let announcer = Rc::clone(reader);
        let writer = Writer { pooled: Rc::clone(writer), conversation, announcer, channel: format!("c{at}") };
        Ok((writer, Reader { pooled: Rc::clone(reader), conversation, notify, upto: 0 }))
    }
}

/// The end that writes.
pub struct Writer {
    pooled: Rc<Pooled>,
    conversation: i64,
    /// Tells the reader, once the message is durable.
    announcer: Rc<Pooled>,
    channel: String,
}

impl Sender for Writer {
    async fn send(&self, body: Vec<u8>) -> Result<(), Failure> {
        self.pooled.client.query_one(&self.pooled.send, &[&self.conversation, &body]).await?;
        let (announcer, channel) = (Rc::clone(&self.announcer), self.channel.clone());
        tokio::task::spawn_local(async move {
            // An error shows with the next query of this connection, which is a reader's.
            let _later = announcer.client.execute(&announcer.announce, &[&channel]).await;
        });
        Ok(())
    }
}

/// The end that reads.
pub struct Reader {
    pooled: Rc<Pooled>,
    conversation: i64,
    notify: Rc<Notify>,
    upto: i64,
}

impl Receiver for Reader {
    type Body = Vec<u8>;

    async fn receive(&mut self) -> Result<Vec<Vec<u8>>, Failure> {
        loop {
            let rows = self.pooled.client.query(&self.pooled.read, &[&self.conversation, &self.upto]).await?;
            if let Some(last) = rows.last() {
                self.upto = last.get(0);
                return Ok(rows.iter().map(|row| row.get(1)).collect());
            }
            self.notify.notified().await;
        }
    }

    async fn confirm(&mut self) -> Result<(), Failure> {
        self.pooled.client.execute(&self.pooled.confirm, &[&self.conversation, &self.upto]).await?;
        Ok(())
    }
}
