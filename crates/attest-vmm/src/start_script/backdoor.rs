//! The guest's end of attest's protocol: its root shell, and the agent that is put in through it.

use std::sync::Arc;

use attest_backdoor::{Backdoor, Happened};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::{Choice, Told};

/// What is chosen.
const AGENT: &str = "agent";

/// Ends with the machine.
#[derive(Debug)]
pub(super) struct Serving(JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Serve the host over all boots of the guest.
pub(super) fn serve(
    (shell, port): (UnixStream, Option<UnixStream>),
    agent: Option<Arc<[u8]>>,
    tell: mpsc::UnboundedSender<Told>,
    host: UnixStream,
) -> Serving {
    let backdoor = Backdoor {
        shell,
        port,
        agent,
        log: Box::new(move |happened| {
            if let Some(told) = told(happened) {
                // Whoever listens may be done.
                let _ = tell.send(told);
            }
        }),
    };
    Serving(backdoor.serve(host))
}

fn told(happened: Happened) -> Option<Told> {
    let chosen = |choice: &str, reason| {
        Some(Told::Chosen(Choice {
            what: AGENT,
            choice: choice.to_owned(),
            reason,
        }))
    };
    match happened {
        Happened::Pushed { took } => chosen(
            "attest's own",
            format!("put into the guest through its root shell, in {took:.0?}"),
        ),
        Happened::NotPushed { reason } => {
            chosen("none", format!("the root shell serves: {reason}"))
        }
        // The shell ends with the machine, whose end is told elsewhere.
        _ => None,
    }
}
