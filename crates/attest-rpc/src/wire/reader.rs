//! Reading messages.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

use super::message::Line;
use super::{Incoming, LONGEST_LINE, MOST_ATTACHED, WireError};

/// Read at once from the socket, bytes.
const CHUNK: usize = 64 * 1024;

/// A client's messages.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    stream: BufReader<R>,
    line: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(crate) fn new(stream: R) -> Self {
        Self {
            stream: BufReader::with_capacity(CHUNK, stream),
            line: Vec::new(),
        }
    }

    /// The next message; `None` when the client has closed the stream between two messages.
    pub(crate) async fn next(&mut self) -> Result<Option<Incoming>, WireError> {
        self.line.clear();
        let mut limited = (&mut self.stream).take(LONGEST_LINE as u64);
        let count = limited.read_until(b'\n', &mut self.line).await?;
        if count == 0 {
            return Ok(None);
        }
        if self.line.last() != Some(&b'\n') {
            return Err(if count == LONGEST_LINE {
                WireError::Long
            } else {
                WireError::Cut
            });
        }
        let line = Line::read(&self.line)?;
        let attachments = self.attachments(&line.attachments).await?;
        line.with(attachments).map(Some)
    }

    async fn attachments(&mut self, sizes: &[u64]) -> Result<Vec<Bytes>, WireError> {
        let all = sizes
            .iter()
            .try_fold(0_u64, |all, &size| all.checked_add(size));
        if all.is_none_or(|all| all > MOST_ATTACHED) {
            return Err(WireError::Heavy);
        }
        let mut attachments = Vec::new();
        for &size in sizes {
            attachments.push(self.attachment(size).await?);
        }
        Ok(attachments)
    }

    /// It grows as the bytes arrive: their number is only what the client says.
    async fn attachment(&mut self, size: u64) -> Result<Bytes, WireError> {
        let mut bytes = BytesMut::new();
        let mut limited = (&mut self.stream).take(size);
        while limited.limit() > 0 {
            if limited.read_buf(&mut bytes).await? == 0 {
                return Err(WireError::Cut);
            }
        }
        Ok(bytes.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Call, Notification};
    use serde_json::{Map, json};

    async fn read(bytes: &[u8]) -> Vec<Result<Option<Incoming>, String>> {
        let mut reader = Reader::new(bytes);
        let mut all = Vec::new();
        loop {
            let next = reader.next().await.map_err(|error| error.to_string());
            let over = !matches!(next, Ok(Some(_)));
            all.push(next);
            if over {
                return all;
            }
        }
    }

    #[tokio::test]
    async fn calls_notifications_and_their_bytes() {
        let input = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\",\"params\":{\"x\":1},\"attachments\":[3,0,2]}\nabcde{\"jsonrpc\":\"2.0\",\"method\":\"b\"}\n";
        let messages = read(input).await;
        let Value::Object(params) = json!({"x": 1}) else {
            unreachable!("an object");
        };
        let call = Call {
            id: 1,
            method: "a".to_owned(),
            params,
            attachments: vec![
                Bytes::from_static(b"abc"),
                Bytes::new(),
                Bytes::from_static(b"de"),
            ],
        };
        let said = Notification {
            method: "b".to_owned(),
            params: Map::new(),
        };
        assert_eq!(
            messages,
            [
                Ok(Some(Incoming::Call(call))),
                Ok(Some(Incoming::Notification(said))),
                Ok(None)
            ]
        );
    }

    use serde_json::Value;

    #[tokio::test]
    async fn what_cannot_be_read_says_why() {
        for (input, reason) in [
            (
                "{\"jsonrpc\": ",
                "the stream ended in the middle of a message",
            ),
            ("nonsense\n", "a line is not JSON"),
            ("[1]\n", "a message is not JSON-RPC 2.0"),
            (
                "{\"jsonrpc\":\"1.0\",\"method\":\"a\"}\n",
                "`jsonrpc` is not",
            ),
            (
                "{\"jsonrpc\":\"2.0\",\"method\":\"a\",\"params\":[1]}\n",
                "`params` is not an object",
            ),
            (
                "{\"jsonrpc\":\"2.0\",\"method\":\"a\",\"id\":\"x\"}\n",
                "`id` is not a non-negative integer",
            ),
            (
                "{\"jsonrpc\":\"2.0\",\"method\":\"a\",\"id\":1,\"attachments\":[99]}\nab",
                "in the middle",
            ),
            (
                "{\"jsonrpc\":\"2.0\",\"method\":\"a\",\"id\":1,\"attachments\":[18446744073709551615,2]}\n",
                "carries more than",
            ),
        ] {
            let messages = read(input.as_bytes()).await;
            let error = messages.last().unwrap().as_ref().unwrap_err();
            assert!(error.contains(reason), "{input}: {error}");
        }
        let long = read(&vec![b'x'; LONGEST_LINE + 1]).await;
        assert!(long[0].as_ref().unwrap_err().contains("longer than"));
    }
}
