//! Writing messages.

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::error::RpcError;

/// Messages that may wait for a client that does not read. Beyond it, who answers waits.
const BACKLOG: usize = 256;

/// Queues messages to the client. Clones write to the same.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Vec<Bytes>>,
}

impl Writer {
    /// A queue, and what it holds.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Vec<Bytes>>) {
        let (queue, written) = mpsc::channel(BACKLOG);
        (Self { queue }, written)
    }

    /// Answer a call. False when the client is gone.
    pub(crate) async fn result(&self, id: u64, result: Value, attachments: Vec<Bytes>) -> bool {
        let mut message = Map::new();
        message.insert("jsonrpc".to_owned(), "2.0".into());
        message.insert("id".to_owned(), id.into());
        message.insert("result".to_owned(), result);
        self.send(message, attachments).await
    }

    /// Refuse a call, or with no number what was no call.
    pub(crate) async fn error(&self, id: Option<u64>, error: &RpcError) -> bool {
        let mut message = Map::new();
        message.insert("jsonrpc".to_owned(), "2.0".into());
        message.insert("id".to_owned(), id.map_or(Value::Null, Value::from));
        message.insert("error".to_owned(), error.to_json());
        self.send(message, Vec::new()).await
    }

    /// Tell something that nobody asked for.
    pub(crate) async fn notify(&self, method: &str, params: Value) -> bool {
        let message = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        let Value::Object(message) = message else {
            unreachable!("it is made as an object");
        };
        self.send(message, Vec::new()).await
    }

    async fn send(&self, mut message: Map<String, Value>, attachments: Vec<Bytes>) -> bool {
        if !attachments.is_empty() {
            let sizes: Vec<usize> = attachments.iter().map(Bytes::len).collect();
            message.insert("attachments".to_owned(), json!(sizes));
        }
        let mut line = serde_json::to_vec(&message).expect("JSON values can be written");
        line.push(b'\n');
        let mut pieces = vec![Bytes::from(line)];
        pieces.extend(attachments);
        self.queue.send(pieces).await.is_ok()
    }
}

/// Write what is queued until nobody queues any more, or the client does not take it.
pub(crate) async fn write(
    mut stream: impl AsyncWrite + Unpin,
    mut queued: mpsc::Receiver<Vec<Bytes>>,
) -> std::io::Result<()> {
    while let Some(pieces) = queued.recv().await {
        for piece in pieces {
            stream.write_all(&piece).await?;
        }
    }
    Ok(())
}
