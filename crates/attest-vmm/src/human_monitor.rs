//! QEMU's monitor for people, on a socket: a line goes in, and its echo, an answer and a prompt come
//! out.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Mutex;

/// What it ends its answers with.
const PROMPT: &[u8] = b"(qemu) ";
/// More than any answer has; what is beyond it is dropped.
const LONGEST: usize = 16 * 1024 * 1024;

/// A monitor that has greeted.
#[derive(Debug)]
pub(crate) struct HumanMonitor(Mutex<Socket>);

#[derive(Debug)]
struct Socket {
    stream: UnixStream,
    /// Whether a command was given up before its answer came.
    owes: bool,
}

impl HumanMonitor {
    /// Read the greeting.
    ///
    /// # Errors
    /// It ends before its first prompt.
    pub(crate) async fn connect(stream: UnixStream) -> io::Result<Self> {
        let mut socket = Socket { stream, owes: true };
        match socket.answer().await? {
            Answer::Whole(_) => Ok(Self(Mutex::new(socket))),
            Answer::Cut(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// A command, and what is printed from there on, with the next prompt. When QEMU ends by it, what
    /// it printed until then. Commands wait for each other.
    ///
    /// # Errors
    /// QEMU had ended before.
    pub(crate) async fn command(&self, command: &str) -> io::Result<String> {
        let mut socket = self.0.lock().await;
        if socket.owes {
            socket.answer().await?;
        }
        let line = format!("{command}\n");
        socket.stream.write_all(line.as_bytes()).await?;
        socket.owes = true;
        let (Answer::Whole(text) | Answer::Cut(text)) = socket.answer().await?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

enum Answer {
    /// With its prompt.
    Whole(Vec<u8>),
    /// QEMU ended.
    Cut(Vec<u8>),
}

impl Socket {
    async fn answer(&mut self) -> io::Result<Answer> {
        let mut text = Vec::new();
        loop {
            let read = match self.stream.read_buf(&mut text).await {
                // One that ends with something unread resets the connection.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
                other => other?,
            };
            if read == 0 {
                return Ok(Answer::Cut(text));
            }
            if text.ends_with(PROMPT) {
                self.owes = false;
                return Ok(Answer::Whole(text));
            }
            if text.len() > LONGEST {
                // Of the end a prompt may be found.
                text.drain(..LONGEST / 2);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn monitor() -> (HumanMonitor, UnixStream) {
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(b"QEMU 7.2 monitor\r\n(qemu) ").await.unwrap();
        (HumanMonitor::connect(near).await.unwrap(), far)
    }

    async fn line(far: &mut UnixStream) -> String {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            far.read_buf(&mut line).await.unwrap();
        }
        String::from_utf8(line).unwrap()
    }

    #[tokio::test]
    async fn an_answer_ends_with_its_prompt() {
        let (monitor, mut far) = monitor().await;
        let answering = async {
            assert_eq!(line(&mut far).await, "info kvm\n");
            far.write_all(b"info kvm\r\nkvm support: ").await.unwrap();
            far.write_all(b"disabled\r\n(qemu) ").await.unwrap();
        };
        let (answer, ()) = tokio::join!(monitor.command("info kvm"), answering);
        assert_eq!(
            answer.unwrap(),
            "info kvm\r\nkvm support: disabled\r\n(qemu) "
        );
    }

    #[tokio::test]
    async fn a_command_that_is_given_up_does_not_answer_the_next() {
        let (monitor, mut far) = monitor().await;
        tokio::select! {
            _ = monitor.command("slow") => panic!("nobody answered"),
            said = line(&mut far) => assert_eq!(said, "slow\n"),
        }
        far.write_all(b"slow's answer\r\n(qemu) ").await.unwrap();
        let answering = async {
            assert_eq!(line(&mut far).await, "next\n");
            far.write_all(b"next's\r\n(qemu) ").await.unwrap();
        };
        let (answer, ()) = tokio::join!(monitor.command("next"), answering);
        assert_eq!(answer.unwrap(), "next's\r\n(qemu) ");
    }

    #[tokio::test]
    async fn the_end_of_qemu_is_an_answer_once() {
        let (monitor, mut far) = monitor().await;
        let ending = async {
            line(&mut far).await;
            far.write_all(b"quit\r\n").await.unwrap();
            drop(far);
        };
        let (answer, ()) = tokio::join!(monitor.command("quit"), ending);
        assert_eq!(answer.unwrap(), "quit\r\n");
        monitor.command("info").await.unwrap_err();
    }
}
