//! Connections with a machine's managers, through its agent.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use attest_protocol::message::{Condition, FailureCode, Request, Wait};
use attest_systemd::{Manager, SYSTEM_SOCKET, detect, user_socket};
use tokio::io::DuplexStream;

use super::{SystemdFailure, Whose};
use crate::command::{milliseconds, raw};
use crate::error::{Error, Result};
use crate::forward::{Endpoint, open};
use crate::machine::{Inner, Machine};
use crate::session::State;

/// Beyond any deadline of a test.
pub(super) const FOREVER: Duration = Duration::from_hours(24);
/// Bytes of what a guest says of itself.
const SAID: usize = 64 * 1024;

/// The managers of one machine that were asked for, over all its boots. They connect when they
/// are needed, and keep their connections as long as they stand.
#[derive(Debug, Default)]
pub(crate) struct Managers(Mutex<HashMap<Whose, Manager>>);

impl Managers {
    pub(crate) fn get(&self, machine: &Machine, whose: &Whose) -> Manager {
        let mut managers = self.0.lock().expect("not poisoned");
        if let Some(manager) = managers.get(whose) {
            return manager.clone();
        }
        let manager = lazy(Arc::downgrade(&machine.inner), whose.clone());
        managers.insert(whose.clone(), manager.clone());
        manager
    }
}

/// The machine holds it, so it does not hold the machine.
fn lazy(inner: Weak<Inner>, whose: Whose) -> Manager {
    Manager::lazy(move || {
        let (inner, whose) = (inner.clone(), whose.clone());
        async move {
            let inner = inner.upgrade().ok_or(io::ErrorKind::NotConnected)?;
            let machine = Machine { inner };
            let connected = match whose {
                Whose::System => connect(&machine, SYSTEM_SOCKET).await,
                Whose::User(user) => connect_user(&machine, &user).await,
            };
            // Whoever asked for it takes our error out again.
            connected.map_err(io::Error::other)
        }
    })
}

/// Connect, waiting for the socket as long as it may still come.
async fn connect(machine: &Machine, socket: &str) -> Result<DuplexStream> {
    let endpoint = Endpoint::Unix(PathBuf::from(socket));
    loop {
        let connected = match open(machine.session(), &endpoint).await {
            Ok(stream) => return Ok(stream),
            Err(error) if is_refused(&error) => await_socket(machine, socket).await,
            Err(error) => Err(error),
        };
        match connected {
            Ok(()) => {}
            // It boots again: the next try waits for that.
            Err(Error::AgentLost { .. }) if goes_on(machine) => {}
            Err(error) => return Err(error),
        }
    }
}

fn is_refused(error: &Error) -> bool {
    let codes = [FailureCode::NotFound, FailureCode::Os];
    matches!(error, Error::Guest { failure, .. } if codes.contains(&failure.code))
}

fn goes_on(machine: &Machine) -> bool {
    let state = machine.session().state.borrow();
    !matches!(*state, State::Off | State::Ended(..))
}

/// Wait for the socket, unless nothing is there that would make it.
async fn await_socket(machine: &Machine, socket: &str) -> Result<()> {
    let said = said(machine.shell(detect::COMMAND)).await?;
    let begins = machine.plan().image.system.is_some() && detect::is_before_init(&said);
    match detect::why_not(socket, &said) {
        error @ attest_systemd::Error::NotSystemd { .. } if !begins => {
            return Err(SystemdFailure::error(machine, error));
        }
        _ => {}
    }
    let wait = Wait {
        condition: Condition::UnixSocket(raw(socket.as_ref())),
        timeout_ms: milliseconds(FOREVER),
    };
    let session = machine.session();
    session.call(&Request::Wait(wait)).await.map(drop)
}

/// A user's manager is a service of the system: where that does not run, its socket never comes.
async fn connect_user(machine: &Machine, user: &str) -> Result<DuplexStream> {
    let uid = uid(machine, user).await?;
    let system = machine.inner.managers.get(machine, &Whose::System);
    let service = format!("user@{uid}.service");
    let failed = |error| SystemdFailure::error(machine, error);
    match system.wait_for_unit(&service).await {
        Ok(()) => connect(machine, &user_socket(uid)).await,
        Err(attest_systemd::Error::Wait(_)) => {
            Err(failed(detect::why_not(&user_socket(uid), "comm=systemd\n")))
        }
        Err(error) => Err(failed(error)),
    }
}

/// The guest's own name service knows more than its files.
pub(super) async fn uid(machine: &Machine, user: &str) -> Result<u32> {
    let said = said(machine.exec(["id", "-u", "--", user])).await?;
    said.trim().parse().map_err(|_| {
        let name = machine.name();
        Error::Assertion(format!("{name}: there is no user `{user}`"))
    })
}

/// What a command prints, without an operation of its own in the events.
async fn said(command: crate::command::Command) -> Result<String> {
    let printed = command.spawn().await?.printed(SAID).await?;
    Ok(String::from_utf8_lossy(&printed).into_owned())
}
