//! A small typed client of QEMU's machine protocol: JSON lines on a socket, answers by number,
//! events in between.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::monitor::Events;

/// Longest line that is read. QEMU's longest answers (`query-qmp-schema`) have about 250 kB.
const LONGEST_LINE: u64 = 1024 * 1024;

/// What can go wrong on the monitor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QmpError {
    /// QEMU closed it: most often because it ended.
    #[error("QEMU closed its monitor")]
    Closed,
    /// QEMU refused a command.
    #[error("QEMU refused `{command}`: {description} ({class})")]
    Refused {
        /// Which.
        command: String,
        /// QMP's error class.
        class: String,
        /// QEMU's words.
        description: String,
    },
    /// What came is not QMP.
    #[error("QEMU's monitor sent what is not QMP: {0}")]
    Protocol(String),
}

/// The version of a QEMU, from its greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct QemuVersion {
    /// As 7 in 7.2.22.
    pub major: u32,
    /// As 2 in 7.2.22.
    pub minor: u32,
    /// As 22 in 7.2.22.
    pub micro: u32,
}

/// An event that QEMU told.
#[derive(Debug, Clone, PartialEq)]
pub struct QmpEvent {
    /// As `SHUTDOWN`.
    pub event: String,
    /// What belongs to it.
    pub data: Value,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Greeting {
        #[serde(rename = "QMP")]
        qmp: Greeting,
    },
    Event {
        event: String,
        #[serde(default)]
        data: Value,
        /// All that QEMU said of it, with its time stamp.
        #[serde(skip)]
        whole: Value,
    },
    Answer {
        id: u64,
        #[serde(rename = "return")]
        value: Value,
    },
    Refusal {
        id: Option<u64>,
        error: Refusal,
    },
}

#[derive(Debug, Deserialize)]
struct Greeting {
    version: GreetingVersion,
}

#[derive(Debug, Deserialize)]
struct GreetingVersion {
    qemu: QemuVersion,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    class: String,
    desc: String,
}

type Answer = Result<Value, Refusal>;

/// A monitor that has greeted and taken its capabilities.
#[derive(Debug)]
pub struct Qmp {
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    waiting: Arc<Mutex<Waiting>>,
    told: Arc<Events>,
    closed: watch::Receiver<bool>,
    version: QemuVersion,
    reading: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    answers: HashMap<u64, oneshot::Sender<Answer>>,
    /// Why nothing is read any more.
    ended: Option<QmpError>,
}

impl Drop for Qmp {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl Qmp {
    /// Read the greeting and leave negotiation mode. Events arrive on the given channel.
    pub async fn connect(
        stream: UnixStream,
        events: mpsc::UnboundedSender<QmpEvent>,
    ) -> Result<Self, QmpError> {
        let (reader, writer) = stream.into_split();
        let mut lines = Lines {
            reader: BufReader::new(reader),
        };
        let version = match lines.next().await? {
            Line::Greeting { qmp } => qmp.version.qemu,
            other => {
                return Err(QmpError::Protocol(format!(
                    "{other:?} in place of the greeting"
                )));
            }
        };
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let (closing, closed) = watch::channel(false);
        let told = Arc::<Events>::default();
        let read = read(lines, Arc::clone(&waiting), Arc::clone(&told), events);
        let reading = tokio::spawn(async move {
            read.await;
            closing.send_replace(true);
        });
        let qmp = Self {
            writer: tokio::sync::Mutex::new(writer),
            waiting,
            told,
            closed,
            version,
            reading,
        };
        qmp.command("qmp_capabilities", json!({})).await?;
        Ok(qmp)
    }

    /// From the greeting.
    pub fn version(&self) -> QemuVersion {
        self.version
    }

    /// What QEMU told, in the order of the wire: what it told before an answer is known with the
    /// answer, also to whoever does not follow the channel.
    pub(crate) fn events(&self) -> &Events {
        &self.told
    }

    /// Stop the virtual CPUs.
    pub async fn stop(&self) -> Result<(), QmpError> {
        self.command("stop", json!({})).await.map(drop)
    }

    /// Let the virtual CPUs run.
    pub async fn cont(&self) -> Result<(), QmpError> {
        self.command("cont", json!({})).await.map(drop)
    }

    /// Whether the virtual CPUs run.
    pub async fn is_running(&self) -> Result<bool, QmpError> {
        let status = self.command("query-status", json!({})).await?;
        status["running"]
            .as_bool()
            .ok_or_else(|| QmpError::Protocol(format!("status {status}")))
    }

    /// Reset the board at once, as its button does.
    pub async fn system_reset(&self) -> Result<(), QmpError> {
        self.command("system_reset", json!({})).await.map(drop)
    }

    /// End QEMU in good order.
    pub async fn quit(&self) -> Result<(), QmpError> {
        self.command("quit", json!({})).await.map(drop)
    }

    /// Whether a reset by the guest resets the machine (true) or ends QEMU.
    pub async fn set_reboot(&self, reset: bool) -> Result<(), QmpError> {
        let action = if reset { "reset" } else { "shutdown" };
        self.command("set-action", json!({ "reboot": action }))
            .await
            .map(drop)
    }

    /// Hand QEMU a descriptor, under this name.
    ///
    /// # Errors
    /// As of [`Qmp::command`].
    pub async fn pass(&self, name: &str, fd: OwnedFd) -> Result<(), QmpError> {
        self.send("getfd", json!({ "fdname": name }), Some(fd))
            .await
            .map(drop)
    }

    /// Resolves when nothing is heard any more, with why.
    pub async fn closed(&self) -> QmpError {
        let mut closed = self.closed.clone();
        // An error would mean the same.
        let _ = closed.wait_for(|closed| *closed).await;
        self.reason()
    }

    /// Any command, and what it returns.
    ///
    /// # Errors
    /// QEMU refuses it, or has ended.
    pub async fn command(&self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        self.send(command, arguments, None).await
    }

    async fn send(
        &self,
        command: &str,
        arguments: Value,
        fd: Option<OwnedFd>,
    ) -> Result<Value, QmpError> {
        let (sender, answer) = oneshot::channel();
        let id = {
            let mut waiting = self.waiting.lock().expect("not poisoned");
            if let Some(ended) = &waiting.ended {
                return Err(ended.clone());
            }
            waiting.next += 1;
            let id = waiting.next;
            waiting.answers.insert(id, sender);
            id
        };
        let mut line = json!({ "execute": command, "arguments": arguments, "id": id }).to_string();
        line.push('\n');
        // When writing fails, reading ends with the reason.
        let _ = self.write(line.as_bytes(), fd).await;
        match answer.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(refusal)) => Err(QmpError::Refused {
                command: command.to_owned(),
                class: refusal.class,
                description: refusal.desc,
            }),
            Err(_) => Err(self.reason()),
        }
    }

    async fn write(&self, mut line: &[u8], fd: Option<OwnedFd>) -> io::Result<()> {
        let mut writer = self.writer.lock().await;
        if let Some(fd) = fd {
            // QEMU takes a descriptor with whatever bytes it comes; all of a line so short go at once.
            let stream = writer.as_ref();
            let sent = stream.async_io(Interest::WRITABLE, || send_with(stream, line, &fd));
            line = &line[sent.await?..];
        }
        writer.write_all(line).await
    }

    fn reason(&self) -> QmpError {
        let waiting = self.waiting.lock().expect("not poisoned");
        waiting.ended.clone().unwrap_or(QmpError::Closed)
    }
}

fn send_with(stream: &UnixStream, bytes: &[u8], fd: &OwnedFd) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let flags = SendFlags::NOSIGNAL;
    Ok(rustix::net::sendmsg(
        stream,
        &[IoSlice::new(bytes)],
        &mut control,
        flags,
    )?)
}

struct Lines {
    reader: BufReader<OwnedReadHalf>,
}

impl Lines {
    async fn next(&mut self) -> Result<Line, QmpError> {
        let mut line = Vec::new();
        let mut limited = (&mut self.reader).take(LONGEST_LINE);
        let count = limited
            .read_until(b'\n', &mut line)
            .await
            .map_err(|_| QmpError::Closed)?;
        if count == 0 {
            return Err(QmpError::Closed);
        }
        if line.last() != Some(&b'\n') {
            let cut = if line.len() as u64 == LONGEST_LINE {
                "a line without end"
            } else {
                "a line that is cut"
            };
            return Err(QmpError::Protocol(cut.to_owned()));
        }
        let other = |error: serde_json::Error| QmpError::Protocol(error.to_string());
        let mut said = serde_json::from_slice(&line).map_err(other)?;
        if let Line::Event { whole, .. } = &mut said {
            *whole = serde_json::from_slice(&line).map_err(other)?;
        }
        Ok(said)
    }
}

async fn read(
    mut lines: Lines,
    waiting: Arc<Mutex<Waiting>>,
    told: Arc<Events>,
    events: mpsc::UnboundedSender<QmpEvent>,
) {
    let ended = loop {
        let (id, answer) = match lines.next().await {
            Ok(Line::Answer { id, value }) => (id, Ok(value)),
            Ok(Line::Refusal {
                id: Some(id),
                error,
            }) => (id, Err(error)),
            Ok(Line::Event { event, data, whole }) => {
                told.push(whole);
                // Whoever listens may be done.
                let _ = events.send(QmpEvent { event, data });
                continue;
            }
            // Only what was no command at all is refused without a number.
            Ok(Line::Refusal { id: None, error }) => break QmpError::Protocol(error.desc),
            Ok(Line::Greeting { .. }) => break QmpError::Protocol("a second greeting".to_owned()),
            Err(ended) => break ended,
        };
        // A command whose caller went away leaves an answer that nobody waits for.
        if let Some(asker) = waiting.lock().expect("not poisoned").answers.remove(&id) {
            let _ = asker.send(answer);
        }
    };
    let mut waiting = waiting.lock().expect("not poisoned");
    waiting.ended = Some(ended);
    waiting.answers.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}"#;

    /// A peer that answers each line it gets with the next lines of the script.
    async fn connect(
        script: Vec<&'static str>,
    ) -> (Result<Qmp, QmpError>, mpsc::UnboundedReceiver<QmpEvent>) {
        let (near, far) = UnixStream::pair().unwrap();
        tokio::spawn(async move {
            let (reader, mut writer) = far.into_split();
            let mut reader = BufReader::new(reader);
            let mut line = String::new();
            for (left, answer) in script
                .iter()
                .enumerate()
                .map(|(at, answer)| (script.len() - at - 1, answer))
            {
                writer.write_all(answer.as_bytes()).await.unwrap();
                if left == 0 {
                    return;
                }
                line.clear();
                reader.read_line(&mut line).await.unwrap();
            }
        });
        let (sender, events) = mpsc::unbounded_channel();
        (Qmp::connect(near, sender).await, events)
    }

    #[tokio::test]
    async fn answers_find_their_commands_between_events() {
        let ready = [GREETING, "\n"].concat().leak();
        let (qmp, mut events) = connect(vec![
            ready,
            "{\"return\": {}, \"id\": 1}\n",
            "{\"event\": \"STOP\", \"timestamp\": {\"seconds\": 1, \"microseconds\": 2}}\n{\"return\": {}, \"id\": 2}\n",
        ])
        .await;
        let qmp = qmp.unwrap();
        assert_eq!(
            qmp.version(),
            QemuVersion {
                major: 7,
                minor: 2,
                micro: 22
            }
        );
        qmp.stop().await.unwrap();
        // What was told before the answer is known with the answer.
        let (told, next) = qmp.events().since(0);
        assert_eq!(next, 1);
        let event = events.recv().await.unwrap();
        assert_eq!(event.event, "STOP");
        assert_eq!(told[0]["timestamp"]["microseconds"], 2);
        assert_eq!(qmp.cont().await, Err(QmpError::Closed));
    }

    #[tokio::test]
    async fn a_refusal_has_qemus_words() {
        let ready = [GREETING, "\n"].concat().leak();
        let (qmp, _events) = connect(vec![
            ready,
            "{\"return\": {}, \"id\": 1}\n",
            "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}, \"id\": 2}\n",
        ])
        .await;
        let error = qmp.unwrap().stop().await.unwrap_err();
        assert_eq!(error.to_string(), "QEMU refused `stop`: no (GenericError)");
    }

    #[tokio::test]
    async fn answers_may_come_in_any_order() {
        let (near, far) = UnixStream::pair().unwrap();
        let peer = async {
            let (reader, mut writer) = far.into_split();
            let mut lines = BufReader::new(reader).lines();
            writer
                .write_all(format!("{GREETING}\n").as_bytes())
                .await
                .unwrap();
            lines.next_line().await.unwrap();
            writer
                .write_all(b"{\"return\": {}, \"id\": 1}\n")
                .await
                .unwrap();
            lines.next_line().await.unwrap();
            lines.next_line().await.unwrap();
            let answers = b"{\"return\": {\"running\": true}, \"id\": 3}\n{\"return\": {\"running\": false}, \"id\": 2}\n";
            writer.write_all(answers).await.unwrap();
            writer
        };
        let driver = async {
            let qmp = Qmp::connect(near, mpsc::unbounded_channel().0)
                .await
                .unwrap();
            tokio::join!(qmp.is_running(), qmp.is_running())
        };
        let (answers, _writer) = tokio::join!(driver, peer);
        assert_eq!(answers, (Ok(false), Ok(true)));
    }

    /// What a command gets when QEMU says this, and closes, after negotiation.
    async fn command_cut_by(last: &str) -> QmpError {
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(format!("{GREETING}\n{{\"return\": {{}}, \"id\": 1}}\n").as_bytes())
            .await
            .unwrap();
        let qmp = Qmp::connect(near, mpsc::unbounded_channel().0)
            .await
            .unwrap();
        let cut = async {
            let (reader, mut writer) = far.into_split();
            let mut lines = BufReader::new(reader).lines();
            for _ in 0..2 {
                lines.next_line().await.unwrap();
            }
            // It may be refused half-way.
            let _ = writer.write_all(last.as_bytes()).await;
        };
        let (result, ()) = tokio::join!(qmp.stop(), cut);
        let error = result.unwrap_err();
        assert_eq!(qmp.cont().await.unwrap_err(), error, "the reason stays");
        error
    }

    #[tokio::test]
    async fn a_command_cut_short_says_how() {
        let protocol = |text: &str| QmpError::Protocol(text.to_owned());
        assert_eq!(command_cut_by("").await, QmpError::Closed);
        assert_eq!(
            command_cut_by("{\"return\": ").await,
            protocol("a line that is cut")
        );
        assert_eq!(
            command_cut_by(&format!("{GREETING}\n")).await,
            protocol("a second greeting")
        );
        assert_eq!(
            command_cut_by(&"x".repeat(usize::try_from(LONGEST_LINE).unwrap() + 1)).await,
            protocol("a line without end")
        );
        let refusal =
            "{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}\n";
        assert_eq!(command_cut_by(refusal).await, protocol("JSON parse error"));
    }

    #[tokio::test]
    async fn what_is_not_qmp_is_said() {
        let (qmp, _) = connect(vec!["hello\n"]).await;
        assert!(matches!(qmp, Err(QmpError::Protocol(_))));
        let (qmp, _) = connect(vec!["{\"QMP\": "]).await;
        assert!(qmp.is_err());
        let huge = "x"
            .repeat(usize::try_from(LONGEST_LINE).unwrap() + 1)
            .leak();
        let (qmp, _) = connect(vec![huge]).await;
        assert_eq!(
            qmp.unwrap_err(),
            QmpError::Protocol("a line without end".to_owned())
        );
    }
}
