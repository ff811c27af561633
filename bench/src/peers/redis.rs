//! Redis: a stream a pair, XADD, and XREAD that blocks.

use std::net::SocketAddr;

use redis::{
    AsyncConnectionConfig, Client, Cmd, IntoConnectionInfo, Value, aio::MultiplexedConnection, io::tcp::TcpSettings,
};

use super::adapter::{Adapter, Receiver, Sender};
use crate::Failure;

/// Commands that may wait in a client: more than a window.
const WAITING: usize = 256;
/// Most messages of one answer.
const AT_A_TIME: usize = 256;

/// The server.
pub struct Redis(Client);

async fn open(client: &Client) -> Result<MultiplexedConnection, Failure> {
    // Reads wait for as long as nothing comes.
    let config = AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(WAITING);
    Ok(client.get_multiplexed_async_connection_with_config(&config).await?)
}

impl Adapter for Redis {
    type Sender = Writer;
    type Receiver = Reader;

    async fn connect(addr: SocketAddr, _pairs: usize) -> Result<Self, Failure> {
        let whereabouts = format!("redis://{addr}").into_connection_info()?;
        let client = Client::open(whereabouts.set_tcp_settings(TcpSettings::default().set_nodelay(true)))?;
        open(&client).await?;
        Ok(Self(client))
    }

    async fn pair(&self, at: usize) -> Result<(Writer, Reader), Failure> {
        let stream = format!("chat{at}");
        let writer = Writer { connection: open(&self.0).await?, stream: stream.clone() };
        Ok((writer, Reader { connection: open(&self.0).await?, stream, last: b"0".to_vec() }))
    }
}

/// The end that writes.
pub struct Writer {
    connection: MultiplexedConnection,
    stream: String,
}

impl Sender for Writer {
    async fn send(&self, body: Vec<u8>) -> Result<(), Failure> {
        let mut command = Cmd::new();
        command.arg("XADD").arg(&self.stream).arg("*").arg("b").arg(body);
        let _id = self.connection.clone().send_packed_command(&command).await?.extract_error()?;
        Ok(())
    }
}

/// The end that reads.
pub struct Reader {
    connection: MultiplexedConnection,
    stream: String,
    /// The last entry's id: this end knows itself how far it is.
    last: Vec<u8>,
}

/// An answer that is not what XREAD answers.
fn odd() -> Failure {
    "XREAD was answered with something else than entries".into()
}

fn array(value: Value) -> Result<Vec<Value>, Failure> {
    let Value::Array(items) = value else { return Err(odd()) };
    Ok(items)
}

fn bytes(value: Option<Value>) -> Result<Vec<u8>, Failure> {
    let Some(Value::BulkString(bytes)) = value else { return Err(odd()) };
    Ok(bytes)
}

/// The contents in an answer, and the last entry's id: `[[stream, [[id, [name, value]], ...]]]`.
fn entries(answer: Value) -> Result<(Vec<Vec<u8>>, Vec<u8>), Failure> {
    let stream = array(answer)?.pop().ok_or_else(odd)?;
    let entries = array(array(stream)?.pop().ok_or_else(odd)?)?;
    let (mut bodies, mut last) = (Vec::with_capacity(entries.len()), None);
    for entry in entries {
        let mut parts = array(entry)?;
        bodies.push(bytes(array(parts.pop().ok_or_else(odd)?)?.pop())?);
        last = Some(bytes(parts.pop())?);
    }
    Ok((bodies, last.ok_or_else(odd)?))
}

impl Receiver for Reader {
    type Body = Vec<u8>;

    async fn receive(&mut self) -> Result<Vec<Vec<u8>>, Failure> {
        let mut command = Cmd::new();
        command.arg("XREAD").arg("COUNT").arg(AT_A_TIME).arg("BLOCK").arg(0);
        command.arg("STREAMS").arg(&self.stream).arg(&self.last);
        let answer = self.connection.send_packed_command(&command).await?.extract_error()?;
        let (bodies, last) = entries(answer)?;
        self.last = last;
        Ok(bodies)
    }

    async fn confirm(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn entry(id: &str, content: &str) -> Value {
        Value::Array(vec![text(id), Value::Array(vec![text("b"), text(content)])])
    }

    fn answer(entries: Vec<Value>) -> Value {
        Value::Array(vec![Value::Array(vec![text("chat0"), Value::Array(entries)])])
    }

    #[test]
    fn an_answer_is_contents_and_where_to_go_on() {
        let (bodies, last) = entries(answer(vec![entry("5-0", "one"), entry("5-1", "two")])).unwrap();
        assert_eq!((bodies, last), (vec![b"one".to_vec(), b"two".to_vec()], b"5-1".to_vec()));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for odd in [Value::Nil, Value::Array(vec![]), answer(vec![]), answer(vec![text("5-0")]), text("OK")] {
            assert!(entries(odd.clone()).is_err(), "{odd:?}");
        }
    }
}
