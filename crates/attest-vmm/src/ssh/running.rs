//! A connection to a host: its end.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;

use tokio::process::Child;
use tokio::sync::{Notify, watch};

use crate::output::Output;
use crate::{BoxFuture, Ending, EndingKind, Pause, Reboots, Running};

/// What ssh ends with when it is its own failure (ssh(1), EXIT STATUS).
const OWN_FAILURE: i32 = 255;

/// An ssh that runs.
#[derive(Debug)]
pub(super) struct Connection {
    pid: u32,
    leave: Arc<Notify>,
    ending: watch::Receiver<Option<Ending>>,
}

impl Connection {
    /// Follow the process whose stderr this is.
    pub(super) fn follow(child: Child, words: OwnedFd, log: Option<PathBuf>) -> io::Result<Self> {
        let pid = child.id().unwrap_or_default();
        let output = Output::follow(words, log, Box::new(|_| ()))?;
        let leave = Arc::new(Notify::new());
        let (sender, ending) = watch::channel(None);
        let left = Arc::clone(&leave);
        tokio::spawn(async move {
            let ending = end(child, &left, &output).await;
            sender.send_replace(Some(ending));
        });
        Ok(Self { pid, leave, ending })
    }
}

async fn end(mut child: Child, leave: &Notify, output: &Output) -> Ending {
    let status = tokio::select! {
        biased;
        status = child.wait() => status,
        () = leave.notified() => {
            // One that has just ended by itself cannot be killed, and need not be.
            let _ = child.kill().await;
            return Ending {
                kind: EndingKind::Killed,
                detail: "as asked".to_owned(),
            };
        }
    };
    output.at_end().await;
    Ending {
        kind: EndingKind::Disconnected,
        detail: detail(status.ok(), &output.last_words()),
    }
}

fn detail(status: Option<ExitStatus>, words: &str) -> String {
    match status.map(|status| (status.code(), status.signal())) {
        Some((Some(OWN_FAILURE), _)) => format!("ssh failed: {words}"),
        Some((Some(0), _)) => "the agent on the host ended".to_owned(),
        Some((Some(code), _)) => format!("the host ended the agent with exit code {code}: {words}"),
        Some((None, Some(signal))) => format!("ssh was ended by signal {signal}"),
        _ => format!("ssh ended: {words}"),
    }
}

impl Running for Connection {
    fn pid(&self) -> u32 {
        self.pid
    }

    fn ended(&self) -> BoxFuture<'_, Ending> {
        crate::running::known(&self.ending)
    }

    fn kill(&self) -> BoxFuture<'_, ()> {
        self.leave.notify_one();
        let ended = crate::running::known(&self.ending);
        Box::pin(async move {
            ended.await;
        })
    }

    fn reboots(&self) -> Reboots<'_> {
        Reboots::Never
    }

    fn pause(&self) -> Option<&dyn Pause> {
        None
    }
}
