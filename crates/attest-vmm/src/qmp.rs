//! A small typed client of QEMU's machine protocol: JSON lines on a socket, answers by number,
//! events in between.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

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
        command: &'static str,
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
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct QmpEvent {
    /// As `SHUTDOWN`.
    pub event: String,
    /// What belongs to it.
    #[serde(default)]
    pub data: Value,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Greeting { #[serde(rename = "QMP")] qmp: Greeting },
    Event(QmpEvent),
    Answer { id: u64, #[serde(rename = "return")] value: Value },
    Refusal { id: Option<u64>, error: Refusal },
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
    version: QemuVersion,
    reading: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    answers: HashMap<u64, oneshot::Sender<Answer>>,
    closed: bool,
}

impl Drop for Qmp {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl Qmp {
    /// Read the greeting and leave negotiation mode. Events arrive on the given channel.
    pub async fn connect(stream: UnixStream, events: mpsc::UnboundedSender<QmpEvent>) -> Result<Self, QmpError> {
        let (reader, writer) = stream.into_split();
        let mut lines = Lines { reader: BufReader::new(reader) };
        let version = match lines.next().await? {
            Line::Greeting { qmp } => qmp.version.qemu,
            other => return Err(QmpError::Protocol(format!("{other:?} in place of the greeting"))),
        };
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let reading = tokio::spawn(read(lines, Arc::clone(&waiting), events));
        let qmp = Self { writer: tokio::sync::Mutex::new(writer), waiting, version, reading };
        qmp.command("qmp_capabilities", json!({})).await?;
        Ok(qmp)
    }

    /// From the greeting.
    pub fn version(&self) -> QemuVersion {
        self.version
    }

    /// Stop the virtual CPUs.
    pub async fn stop(&self) -> Result<(), QmpError> {
        self.command("stop", json!({})).await.map(drop)
    }

    /// Let the virtual CPUs run.
    pub async fn cont(&self) -> Result<(), QmpError> {
        self.command("cont", json!({})).await.map(drop)
    }

    /// Whether a reset by the guest resets the machine (true) or ends QEMU.
    pub async fn set_reboot(&self, reset: bool) -> Result<(), QmpError> {
        let action = if reset { "reset" } else { "shutdown" };
        self.command("set-action", json!({ "reboot": action })).await.map(drop)
    }

    async fn command(&self, command: &'static str, arguments: Value) -> Result<Value, QmpError> {
        let (sender, answer) = oneshot::channel();
        let id = {
            let mut waiting = self.waiting.lock().expect("not poisoned");
            if waiting.closed {
                return Err(QmpError::Closed);
            }
            waiting.next += 1;
            let id = waiting.next;
            waiting.answers.insert(id, sender);
            id
        };
        let mut line = json!({ "execute": command, "arguments": arguments, "id": id }).to_string();
        line.push('\n');
        self.writer.lock().await.write_all(line.as_bytes()).await.map_err(|_| QmpError::Closed)?;
        match answer.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(refusal)) => Err(QmpError::Refused { command, class: refusal.class, description: refusal.desc }),
            Err(_) => Err(QmpError::Closed),
        }
    }
}

struct Lines {
    reader: BufReader<OwnedReadHalf>,
}

impl Lines {
    async fn next(&mut self) -> Result<Line, QmpError> {
        let mut line = Vec::new();
        let mut limited = (&mut self.reader).take(LONGEST_LINE);
        let count = limited.read_until(b'\n', &mut line).await.map_err(|_| QmpError::Closed)?;
        if count == 0 {
            return Err(QmpError::Closed);
        }
        if line.last() != Some(&b'\n') {
            let cut = if line.len() as u64 == LONGEST_LINE { "a line without end" } else { "a line that is cut" };
            return Err(QmpError::Protocol(cut.to_owned()));
        }
        serde_json::from_slice(&line).map_err(|error| QmpError::Protocol(error.to_string()))
    }
}

async fn read(mut lines: Lines, waiting: Arc<Mutex<Waiting>>, events: mpsc::UnboundedSender<QmpEvent>) {
    while let Ok(line) = lines.next().await {
        let (id, answer) = match line {
            Line::Answer { id, value } => (id, Ok(value)),
            Line::Refusal { id: Some(id), error } => (id, Err(error)),
            Line::Event(event) => {
                // Whoever listens may be done.
                let _ = events.send(event);
                continue;
            }
            Line::Greeting { .. } | Line::Refusal { id: None, .. } => continue,
        };
        let waiting = waiting.lock().expect("not poisoned").answers.remove(&id);
        if let Some(waiting) = waiting {
            let _ = waiting.send(answer);
        }
    }
    let mut waiting = waiting.lock().expect("not poisoned");
    waiting.closed = true;
    waiting.answers.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}"#;

    /// A peer that answers each line it gets with the next lines of the script.
    async fn connect(script: Vec<&'static str>) -> (Result<Qmp, QmpError>, mpsc::UnboundedReceiver<QmpEvent>) {
        let (near, far) = UnixStream::pair().unwrap();
        tokio::spawn(async move {
            let (reader, mut writer) = far.into_split();
            let mut reader = BufReader::new(reader);
            let mut line = String::new();
            for (left, answer) in script.iter().enumerate().map(|(at, answer)| (script.len() - at - 1, answer)) {
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
        assert_eq!(qmp.version(), QemuVersion { major: 7, minor: 2, micro: 22 });
        qmp.stop().await.unwrap();
        assert_eq!(events.recv().await.unwrap().event, "STOP");
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
    async fn what_is_not_qmp_is_said() {
        let (qmp, _) = connect(vec!["hello\n"]).await;
        assert!(matches!(qmp, Err(QmpError::Protocol(_))));
        let (qmp, _) = connect(vec!["{\"QMP\": "]).await;
        assert!(qmp.is_err());
        let huge = "x".repeat(usize::try_from(LONGEST_LINE).unwrap() + 1).leak();
        let (qmp, _) = connect(vec![huge]).await;
        assert_eq!(qmp.unwrap_err(), QmpError::Protocol("a line without end".to_owned()));
    }
}
