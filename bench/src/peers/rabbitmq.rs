//! RabbitMQ: a quorum queue a pair, publisher confirms, a consumer that acknowledges.

use std::net::SocketAddr;

use futures_util::{FutureExt, StreamExt};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
        QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable},
};

use super::adapter::{Adapter, Receiver, Sender};
use crate::Failure;

/// Messages that a consumer may hold without having acknowledged them.
const PREFETCH: u16 = 256;
const PERSISTENT: u8 = 2;

/// The server.
pub struct Rabbitmq(String);

impl Rabbitmq {
    async fn open(&self) -> Result<(Connection, Channel), Failure> {
        let connection = Connection::connect(&self.0, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        Ok((connection, channel))
    }
}

impl Adapter for Rabbitmq {
    type Sender = Writer;
    type Receiver = Reader;

    async fn connect(addr: SocketAddr, _pairs: usize) -> Result<Self, Failure> {
        let this = Self(format!("amqp://guest:guest@{addr}/%2f"));
        this.open().await?;
        Ok(this)
    }

    async fn pair(&self, at: usize) -> Result<(Writer, Reader), Failure> {
        let queue = format!("chat{at}");
        let (connection, channel) = self.open().await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.as_str().into(), durable, arguments).await?;
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        let consuming = BasicConsumeOptions::default();
        let consumer =
            channel.basic_consume(queue.as_str().into(), "".into(), consuming, FieldTable::default()).await?;
        let reader = Reader { consumer, channel, last: 0, _connection: connection };
        let (connection, channel) = self.open().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok((Writer { channel, queue, _connection: connection }, reader))
    }
}

/// The end that writes.
pub struct Writer {
    channel: Channel,
    queue: String,
    _connection: Connection,
}

impl Sender for Writer {
    async fn send(&self, body: Vec<u8>) -> Result<(), Failure> {
        let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
        let options = BasicPublishOptions::default();
        let publish = self.channel.basic_publish("".into(), self.queue.as_str().into(), options, &body, properties);
        match publish.await?.await? {
            Confirmation::Ack(_) => Ok(()),
            other => Err(format!("a message was not confirmed: {other:?}").into()),
        }
    }
}

/// The end that reads.
pub struct Reader {
    consumer: Consumer,
    channel: Channel,
    /// The tag of the last message that came.
    last: u64,
    _connection: Connection,
}

impl Receiver for Reader {
    type Body = Vec<u8>;

    async fn receive(&mut self) -> Result<Vec<Vec<u8>>, Failure> {
        let mut bodies = Vec::new();
        let mut next = self.consumer.next().await;
        loop {
            let delivery = next.ok_or("the consumer ended")??;
            self.last = delivery.delivery_tag;
            bodies.push(delivery.data);
            let Some(more) = self.consumer.next().now_or_never() else { return Ok(bodies) };
            next = more;
        }
    }

    async fn confirm(&mut self) -> Result<(), Failure> {
        Ok(self.channel.basic_ack(self.last, BasicAckOptions { multiple: true }).await?)
    }
}
