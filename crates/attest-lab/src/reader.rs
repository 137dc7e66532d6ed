//! The one task that reads what a lab process reports, and hands it to who waits.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Signal, pidfd_send_signal};
use tokio::sync::{oneshot, watch};

use crate::launch::Gone;
use crate::process::ProcessExit;
use crate::socket::{Datagram, Socket};
use crate::wire::{Failure, Report, decode};
use crate::{LabEnd, LabError};

/// An answer of the lab process.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) outcome: Result<(), Failure>,
    pub(crate) fds: Vec<OwnedFd>,
    pub(crate) pid: Option<u32>,
    pub(crate) name: Option<String>,
}

/// What is waited for.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    answers: HashMap<u32, oneshot::Sender<Answer>>,
    exits: HashMap<u32, watch::Sender<Option<ProcessExit>>>,
    ready: Option<oneshot::Sender<Result<u32, Failure>>>,
    closed: bool,
}

impl Waiting {
    pub(crate) fn new(ready: oneshot::Sender<Result<u32, Failure>>) -> Self {
        let state = State {
            ready: Some(ready),
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
        }
    }

    /// Expect the answer to this request. The receiver fails when the lab ends first.
    pub(crate) fn answer(&self, id: u32) -> oneshot::Receiver<Answer> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        if !state.closed {
            state.answers.insert(id, sender);
        }
        receiver
    }

    /// Expect the exit of the program of this request.
    pub(crate) fn exit(&self, id: u32) -> watch::Receiver<Option<ProcessExit>> {
        let (sender, receiver) = watch::channel(None);
        let mut state = self.lock();
        if !state.closed {
            state.exits.insert(id, sender);
        }
        receiver
    }

    /// No exit is to be expected: it was not started.
    pub(crate) fn forget(&self, id: u32) {
        self.lock().exits.remove(&id);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change below is one insert or remove, so the state is whole after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everybody who still waits gets to know of the end: their channels close.
    fn close(&self) {
        let mut state = self.lock();
        *state = State {
            closed: true,
            ..State::default()
        };
    }

    /// Returns the reason when the lab says that it will not go on.
    fn take(&self, datagram: Datagram) -> Result<(), Failure> {
        let Datagram { bytes, fds, pid } = datagram;
        let Some(report) = decode::<Report>(&bytes) else {
            return Err(Failure {
                what: "it sent a message that is none".into(),
                errno: 0,
            });
        };
        match report {
            Report::Ready => {
                if let (Some(ready), Some(pid)) = (self.lock().ready.take(), pid) {
                    let _ = ready.send(Ok(pid));
                }
            }
            Report::Failed(failure) => {
                if let Some(ready) = self.lock().ready.take() {
                    let _ = ready.send(Err(failure.clone()));
                }
                return Err(failure);
            }
            Report::Done(id, name) => self.answered(
                id,
                Answer {
                    outcome: Ok(()),
                    fds,
                    pid,
                    name,
                },
            ),
            Report::Refused(id, failure) => {
                self.answered(
                    id,
                    Answer {
                        outcome: Err(failure),
                        fds,
                        pid,
                        name: None,
                    },
                );
            }
            Report::Exited(id, ended) => {
                if let Some(exit) = self.lock().exits.remove(&id) {
                    let _ = exit.send(Some(ended.into()));
                }
            }
        }
        Ok(())
    }

    fn answered(&self, id: u32, answer: Answer) {
        let Some(waiter) = self.lock().answers.remove(&id) else {
            return;
        };
        let Err(unheard) = waiter.send(answer) else {
            return;
        };
        // Who asked has gone. A TAP closes with its descriptor; a program nobody knows of must
        // not stay either. Signals to what is no pidfd fail, which is as well.
        for fd in unheard.fds {
            let _ = pidfd_send_signal(fd, Signal::KILL);
        }
    }
}

/// Read until the lab process has ended; then tell all.
pub(crate) async fn read(
    socket: Arc<Socket>,
    waiting: Arc<Waiting>,
    mut gone: watch::Receiver<Option<Gone>>,
    end: watch::Sender<Option<LabEnd>>,
) {
    let mut reason = None;
    let failure = loop {
        match socket.receive().await {
            Ok(Some(datagram)) => {
                if let Err(failure) = waiting.take(datagram) {
                    break Some(failure.what);
                }
            }
            Ok(None) => break None,
            Err(error) => break Some(LabError::Control(error).to_string()),
        }
    };
    if let Some(failure) = failure {
        reason = Some(failure);
    }
    socket.shut();
    let gone = gone
        .wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|gone| gone.clone());
    let (status, last_words) =
        gone.map_or((None, String::new()), |gone| (gone.status, gone.last_words));
    let _ = end.send(Some(LabEnd {
        status,
        reason,
        last_words,
    }));
    waiting.close();
}
