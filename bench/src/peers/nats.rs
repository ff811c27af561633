//! NATS JetStream: one stream, a subject a pair, and a consumer each that is pushed to and need not confirm.

use std::{net::SocketAddr, time::Duration};

use async_nats::jetstream::{
    Context,
    consumer::{
        AckPolicy,
        push::{self, Messages},
    },
    context::ContextBuilder,
    stream::{Config, StorageType},
};
use futures_util::StreamExt;

use super::adapter::{Adapter, Receiver, Sender};
use crate::Failure;

/// How long an acknowledgement is waited for: a server that does not keep up is measured, not given up.
const PATIENCE: Duration = Duration::from_secs(120);
const STREAM: &str = "chat";

/// The server.
pub struct Nats(String);

impl Nats {
    async fn open(&self) -> Result<Context, Failure> {
        let client = async_nats::connect(&self.0).await?;
        Ok(ContextBuilder::new().timeout(PATIENCE).ack_timeout(PATIENCE).build(client))
    }
}

impl Adapter for Nats {
    type Sender = Writer;
    type Receiver = Reader;

    async fn connect(addr: SocketAddr, _pairs: usize) -> Result<Self, Failure> {
        let this = Self(addr.to_string());
        let subjects = vec![format!("{STREAM}.*")];
        let config = Config { name: STREAM.into(), subjects, storage: StorageType::File, ..Config::default() };
        this.open().await?.get_or_create_stream(config).await?;
        Ok(this)
    }

    async fn pair(&self, at: usize) -> Result<(Writer, Reader), Failure> {
        let subject = format!("{STREAM}.{at}");
        let reading = self.open().await?;
        let config = push::Config {
            deliver_subject: reading.client().new_inbox(),
            filter_subject: subject.clone(),
            ack_policy: AckPolicy::None,
            ..push::Config::default()
        };
        let stream = reading.get_stream(STREAM).await?;
        let messages = stream.create_consumer(config).await?.messages().await?;
        Ok((Writer { context: self.open().await?, subject }, Reader(Box::new(messages))))
    }
}

/// The end that writes.
pub struct Writer {
    context: Context,
    subject: String,
}

impl Sender for Writer {
    async fn send(&self, body: Vec<u8>) -> Result<(), Failure> {
        self.context.publish(self.subject.clone(), body.into()).await?.await?;
        Ok(())
    }
}

/// The end that reads.
pub struct Reader(Box<Messages>);

impl Receiver for Reader {
    type Body = Vec<u8>;

    async fn receive(&mut self) -> Result<Vec<Vec<u8>>, Failure> {
        let message = self.0.next().await.ok_or("the consumer ended")??;
        Ok(vec![message.payload.to_vec()])
    }

    async fn confirm(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}
