//! The lines before the first message: who we are, and that the peer takes us.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::error::Lost;

/// A line of the handshake; systemd's have 37 bytes.
const LONGEST_LINE: usize = 1024;
/// The uid 0, in the hexadecimal form of its decimal form. It is root of the guest that
/// connects, whoever runs us.
const AS_ROOT: &[u8] = b"\0AUTH EXTERNAL 30\r\n";
/// Let the peer take the uid from the socket: for who is not root there.
const AS_WHOEVER: &[u8] = b"AUTH EXTERNAL\r\n";

/// Go through the handshake. What arrived beyond it is left in `buffer`.
pub(super) async fn handshake<S>(stream: &mut S, buffer: &mut BytesMut) -> Result<(), Lost>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    say(stream, AS_ROOT).await?;
    let mut answer = line(stream, buffer).await?;
    if answer.starts_with("REJECTED") {
        say(stream, AS_WHOEVER).await?;
        answer = line(stream, buffer).await?;
        if answer.starts_with("DATA") {
            say(stream, b"DATA\r\n").await?;
            answer = line(stream, buffer).await?;
        }
    }
    if answer.split(' ').next() != Some("OK") {
        return Err(Lost::Refused(answer));
    }
    say(stream, b"BEGIN\r\n").await
}

async fn say<S: AsyncWrite + Unpin>(stream: &mut S, text: &[u8]) -> Result<(), Lost> {
    // One write: the form of a line must not depend on how a stream cuts it.
    stream.write_all(text).await.map_err(Lost::io)?;
    stream.flush().await.map_err(Lost::io)
}

async fn line<S>(stream: &mut S, buffer: &mut BytesMut) -> Result<String, Lost>
where
    S: AsyncRead + Unpin,
{
    loop {
        if let Some(end) = memchr::memchr(b'\n', buffer) {
            let line = buffer.split_to(end + 1);
            return match line.strip_suffix(b"\r\n") {
                Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
                None => Err(Lost::Malformed("a line of the handshake without its end")),
            };
        }
        if buffer.len() > LONGEST_LINE {
            return Err(Lost::Malformed(
                "a line of the handshake of more than 1 KiB",
            ));
        }
        let read = stream.read_buf(buffer).await.map_err(Lost::io)?;
        if read == 0 {
            return Err(Lost::io(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}
