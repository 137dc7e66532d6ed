//! Serving one host over all boots of a guest.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use attest_protocol::link::{AgentPort, Channel};
use attest_protocol::message::{Failure, FailureCode, Request, Response};
use tokio::io::{AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::UnixStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::failure::{failure, unsupported};
use crate::guest::Guest;
use crate::push::{self, NotPushed};
use crate::shell::{Over, Shell, Terminal};
use crate::{copy, exec, system, wait};

/// Bytes that may be under way on each way between the host and the shell's end of the protocol,
/// or its agent: a few frames.
const UNDER_WAY: usize = 128 * 1024;

/// What happened to a backdoor.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Happened {
    /// The guest's shell said that it is ready.
    Announced {
        /// The end of what came before that on its terminal: at most 4 KiB of a guest's text.
        before: String,
    },
    /// An agent was pushed in and answers.
    Pushed {
        /// From its first byte to its first word.
        took: Duration,
    },
    /// The shell was started anew, while the agent that was pushed before lives on.
    Kept,
    /// There is no agent: commands go through the shell.
    NotPushed {
        /// Why, as one line.
        reason: String,
    },
    /// The shell ended. What is left is the agent, if one was pushed.
    ShellEnded {
        /// Why, as one line.
        reason: String,
    },
}

/// Where it is told what happened.
pub type Log = Box<dyn Fn(Happened) + Send + Sync>;

/// The guest's end of attest's protocol, made of a root shell.
pub struct Backdoor {
    /// The other end of the terminal that the shell runs on.
    pub shell: UnixStream,
    /// The other end of the virtio-serial port named [`PORT`](crate::PORT), to push an agent
    /// through.
    pub port: Option<UnixStream>,
    /// The agent's program, as it is run. Pushed when there is a port for it; otherwise, and when
    /// it cannot be pushed, the shell serves.
    pub agent: Option<Arc<[u8]>>,
    /// Told what happens.
    pub log: Log,
}

impl std::fmt::Debug for Backdoor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backdoor")
            .field("shell", &self.shell)
            .field("port", &self.port)
            .field("agent", &self.agent.as_ref().map(|agent| agent.len()))
            .finish_non_exhaustive()
    }
}

impl Backdoor {
    /// Serve a host on this stream, from the guest's first boot on. The host sees a new session
    /// after each boot, and the stream's end when the guest's streams have ended. Aborting the task
    /// ends all.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn serve(self, host: UnixStream) -> JoinHandle<()> {
        tokio::spawn(self.run(host))
    }

    async fn run(mut self, mut host: UnixStream) {
        let mut terminal = Terminal::new(self.shell);
        let mut pushes = Pushes::default();
        let mut announced = terminal.announced().await;
        let over = loop {
            match announced {
                Ok(before) => (self.log)(Happened::Announced { before }),
                Err(over) => break over,
            }
            let boot = Boot {
                port: self.port.as_mut(),
                agent: self.agent.as_deref(),
                pushes: &mut pushes,
                log: &self.log,
            };
            match boot.live(&mut terminal, &mut host).await {
                Some(Over::Announced) => announced = Ok(String::new()),
                Some(over) => break over,
                None => return,
            }
        };
        ended(&self.log, over);
    }
}

fn ended(log: &Log, over: Over) {
    if let Over::Ended(reason) = over {
        log(Happened::ShellEnded { reason });
    }
}

/// How often an agent was pushed.
#[derive(Debug, Default)]
struct Pushes {
    /// Into this boot.
    boot_id: String,
    count: u32,
}

impl Pushes {
    /// Count another one; false when there were too many.
    fn another(&mut self, guest: &Guest) -> bool {
        if self.boot_id != guest.boot_id {
            self.boot_id.clone_from(&guest.boot_id);
            self.count = 0;
        }
        self.count += 1;
        self.count <= push::MOST
    }
}

/// One life of the guest's shell.
struct Boot<'a> {
    port: Option<&'a mut UnixStream>,
    agent: Option<&'a [u8]>,
    pushes: &'a mut Pushes,
    log: &'a Log,
}

impl Boot<'_> {
    /// Serve the host until the shell is over, or, with nothing, until the host is.
    async fn live(self, terminal: &mut Terminal, host: &mut UnixStream) -> Option<Over> {
        let joined = AtomicBool::new(false);
        let log = self.log;
        let (shell, mut queue) = Shell::new();
        let mut serving = pin!(self.serve(shell, host, &joined));
        loop {
            let over = tokio::select! {
                over = terminal.serve(&mut queue) => over,
                () = &mut serving => return None,
            };
            if !joined.load(Ordering::Relaxed) {
                return Some(over);
            }
            if over != Over::Announced {
                ended(log, over);
                serving.await;
                return None;
            }
            // The shell alone may have been started anew, or the guest was booted again.
            let (shell, mut asked) = Shell::new();
            let mut looking = pin!(is_served(shell));
            let served = tokio::select! {
                over = terminal.serve(&mut asked) => Err(over),
                served = &mut looking => Ok(served),
                () = &mut serving => return None,
            };
            match served {
                Ok(true) => log(Happened::Kept),
                Ok(false) => return Some(Over::Announced),
                Err(over) => return Some(over),
            }
            queue = asked;
        }
    }

    async fn serve(mut self, shell: Shell, host: &mut UnixStream, joined: &AtomicBool) {
        let guest = match Guest::meet(shell.clone()).await {
            Ok(guest) => guest,
            Err(error) => Guest::unmet(shell, error),
        };
        match self.push(&guest).await {
            Ok((port, first)) => {
                joined.store(true, Ordering::Relaxed);
                if host.write_all(&first).await.is_ok() {
                    // Either side's end is the other's.
                    let _ = copy_bidirectional_with_sizes(host, port, UNDER_WAY, UNDER_WAY).await;
                }
            }
            Err(reason) => {
                if let Some(reason) = reason {
                    self.not_pushed(&attest_protocol::chain(&reason));
                }
                answer(guest, host).await;
            }
        }
    }

    /// Push the agent where there is one. Gives its port, and what it said first.
    async fn push(
        &mut self,
        guest: &Guest,
    ) -> Result<(&mut UnixStream, Vec<u8>), Option<NotPushed>> {
        let agent = self.agent.ok_or(None)?;
        guest.check().map_err(|error| Some(error.into()))?;
        let port = self.port.as_deref_mut().ok_or(Some(NotPushed::NoPort))?;
        if !self.pushes.another(guest) {
            return Err(Some(NotPushed::Ended));
        }
        let began = Instant::now();
        let first = push::push(guest, port, agent).await.map_err(Some)?;
        (self.log)(Happened::Pushed {
            took: began.elapsed(),
        });
        Ok((port, first))
    }

    fn not_pushed(&self, reason: &str) {
        (self.log)(Happened::NotPushed {
            reason: reason.to_owned(),
        });
    }
}

async fn is_served(shell: Shell) -> bool {
    let Ok(guest) = Guest::meet(shell).await else {
        return false;
    };
    push::is_served(&guest).await.unwrap_or(false)
}

/// Be the agent, over the shell, until the host's stream ends.
async fn answer(guest: Guest, host: &mut UnixStream) {
    let (near, mut far) = tokio::io::duplex(UNDER_WAY);
    let (reader, writer) = tokio::io::split(near);
    let guest = Arc::new(guest);
    let serving = async {
        let mut port = AgentPort::new(reader, writer);
        let Ok(mut link) = port.connect(guest.hello()).await else {
            return;
        };
        // Ends all that still run with the session.
        let mut requests = JoinSet::new();
        while let Ok((request, channel)) = link.next().await {
            requests.spawn(dispatch(Arc::clone(&guest), request, channel));
            while requests.try_join_next().is_some() {}
        }
    };
    tokio::select! {
        // A host that goes takes its stream with it.
        _ = copy_bidirectional_with_sizes(host, &mut far, UNDER_WAY, UNDER_WAY) => {}
        () = serving => {}
    }
}

async fn dispatch(guest: Arc<Guest>, request: Request, channel: Channel) {
    let sender = channel.sender.clone();
    let result = match guest.check() {
        Ok(()) => serve(&guest, request, channel).await,
        Err(fault) => Err(fault.into()),
    };
    // When the host is gone there is nobody to tell.
    let _ = sender.finish(&result);
}

async fn serve(guest: &Guest, request: Request, channel: Channel) -> Result<Response, Failure> {
    match request {
        Request::Setup(setup) => system::set_up(guest, setup).await,
        Request::Exec(exec) => exec::serve(guest, &exec, channel).await,
        Request::Upload(upload) => copy::upload(guest, &upload, channel).await,
        Request::Download(download) => copy::download(guest, &download, channel).await,
        Request::Wait(wait) => wait::serve(guest, wait, channel).await,
        Request::Connect(_) => Err(unsupported("a connection into the guest")),
        Request::Listen(_) => Err(unsupported("listening in the guest")),
        Request::Accepted(_) => Err(failure(
            FailureCode::Invalid,
            "only the agent accepts connections",
        )),
        Request::SetClock(ns) => system::set_clock(guest, ns).await,
        Request::Reseed(bytes) => system::reseed(guest, &bytes).await,
        Request::Sync => system::sync(guest).await,
        Request::Freeze(_) | Request::Thaw | Request::Quiesce => {
            Err(unsupported("freezing file systems"))
        }
        Request::Identity => Err(unsupported("an identity")),
        Request::PowerOff => system::leave(guest, "poweroff").await,
        Request::Reboot => system::leave(guest, "reboot").await,
        Request::Stats => system::stats(guest).await,
        Request::Boot => Err(no_boot()),
    }
}

fn no_boot() -> Failure {
    failure(
        FailureCode::Unsupported,
        "there is no init that waits to be booted",
    )
}
