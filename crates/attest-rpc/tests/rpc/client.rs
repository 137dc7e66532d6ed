//! A client: as plain as one can be.

use std::sync::Arc;
use std::time::Duration;

use attest::{EventStream, Recorder};
use attest_rpc::types::Description;
use attest_rpc::{Served, Session, serve};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinHandle;

/// Far more than anything here takes, so that a hang fails with a message of ours.
const LONG: Duration = Duration::from_mins(1);

/// A client and the server that it talks with.
pub(crate) struct Client {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    pub(crate) session: Arc<Session>,
    serving: JoinHandle<Served>,
    next: u64,
}

/// A message of the server, with the bytes behind it.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) json: Value,
    pub(crate) attachments: Vec<Vec<u8>>,
}

impl Client {
    /// One that has not said hello.
    pub(crate) fn stranger() -> Self {
        Self::recorded(Recorder::silent())
    }

    fn recorded(recorder: Recorder) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let session = Arc::new(Session::new(Description::default(), recorder));
        let (reader, writer) = theirs.into_split();
        let serving = tokio::spawn(serve(reader, writer, Arc::clone(&session)));
        let (reader, writer) = ours.into_split();
        Self {
            reader: BufReader::new(reader),
            writer,
            session,
            serving,
            next: 1,
        }
    }

    pub(crate) async fn new() -> Self {
        Self::stranger().known().await
    }

    /// One whose session's events come out beside it.
    pub(crate) async fn with_events() -> (Self, EventStream) {
        let (recorder, events) = Recorder::new(std::time::Instant::now());
        (Self::recorded(recorder).known().await, events)
    }

    async fn known(mut self) -> Self {
        let answer = self
            .call("hello", json!({ "generation": 7, "client": "test/1" }))
            .await
            .unwrap();
        assert_eq!(answer.json["generation"], 1);
        self
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        // A server that has closed is seen where it is read from.
        let _ = self.writer.write_all(bytes).await;
    }

    /// Ask, and do not wait for the answer. Its number.
    pub(crate) async fn ask(&mut self, method: &str, params: Value) -> u64 {
        self.ask_with(method, params, &[]).await
    }

    pub(crate) async fn ask_with(&mut self, method: &str, params: Value, bytes: &[u8]) -> u64 {
        let id = self.next;
        self.next += 1;
        let mut call = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        if !bytes.is_empty() {
            call["attachments"] = json!([bytes.len()]);
        }
        let mut line = call.to_string().into_bytes();
        line.push(b'\n');
        line.extend_from_slice(bytes);
        self.send(&line).await;
        id
    }

    pub(crate) async fn say(&mut self, method: &str, params: Value) {
        let mut line = json!({ "jsonrpc": "2.0", "method": method, "params": params }).to_string();
        line.push('\n');
        self.send(line.as_bytes()).await;
    }

    /// The next message; `None` when the server has closed.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        tokio::time::timeout(LONG, self.read())
            .await
            .expect("the server says something in time")
    }

    async fn read(&mut self) -> Option<Message> {
        let mut line = String::new();
        if self.reader.read_line(&mut line).await.unwrap() == 0 {
            return None;
        }
        let json: Value = serde_json::from_str(&line).unwrap();
        let mut attachments = Vec::new();
        for size in json["attachments"].as_array().into_iter().flatten() {
            let mut bytes = vec![0; usize::try_from(size.as_u64().unwrap()).unwrap()];
            self.reader.read_exact(&mut bytes).await.unwrap();
            attachments.push(bytes);
        }
        Some(Message { json, attachments })
    }

    /// The result of the next answer, or its error.
    pub(crate) async fn answer(&mut self) -> (u64, Result<Message, Value>) {
        loop {
            let mut message = self.next().await.expect("an answer");
            let Some(id) = message.json["id"].as_u64() else {
                continue;
            };
            let result = if let Some(error) = message.json.get_mut("error") {
                Err(error.take())
            } else {
                message.json = message.json["result"].take();
                Ok(message)
            };
            return (id, result);
        }
    }

    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Result<Message, Value> {
        let asked = self.ask(method, params).await;
        let (id, answer) = self.answer().await;
        assert_eq!(id, asked);
        answer
    }

    /// Leave, and see how the server takes it.
    pub(crate) async fn leave(self) -> Served {
        drop((self.reader, self.writer));
        let served = tokio::time::timeout(LONG, self.serving).await;
        let served = served.expect("the server ends").unwrap();
        self.session.close().await;
        served
    }
}
