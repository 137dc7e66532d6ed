//! Monitors, screens and keys.

use std::sync::Arc;

use attest::Machine;
use bytes::Bytes;

use crate::error::{ErrorKind, RpcError};
use crate::session::Session;
use crate::types::{
    Answered, Events, EventsFrom, Forward, Link, Monitor, Monitored, Nothing, Qmp, limit,
};

type Input = Vec<Bytes>;

pub(crate) async fn monitor(
    _: Arc<Session>,
    machine: Machine,
    Monitor { command }: Monitor,
    _: Input,
) -> Result<Monitored, RpcError> {
    let text = machine.monitor(&command).await?;
    Ok(Monitored { text })
}

pub(crate) async fn qmp(
    _: Arc<Session>,
    machine: Machine,
    Qmp { execute, arguments }: Qmp,
    _: Input,
) -> Result<Answered, RpcError> {
    let value = machine.qmp(&execute, arguments.into()).await?;
    Ok(Answered { value })
}

pub(crate) async fn qmp_events(
    _: Arc<Session>,
    machine: Machine,
    asked: EventsFrom,
    _: Input,
) -> Result<Events, RpcError> {
    let mut seen = None;
    if asked.wait {
        let grown = machine.wait_for_qmp_events(asked.from);
        seen = tokio::time::timeout(limit(asked.timeout), grown).await.ok();
    }
    // In time or not, what there is is the answer.
    let (events, position) = match seen {
        Some(seen) => seen?,
        None => machine.qmp_events(asked.from).await?,
    };
    Ok(Events { position, events })
}

pub(crate) async fn link(
    _: Arc<Session>,
    machine: Machine,
    Link { up }: Link,
    _: Input,
) -> Result<Nothing, RpcError> {
    machine.link(up).await?;
    Ok(Nothing {})
}

pub(crate) async fn forward(
    _: Arc<Session>,
    machine: Machine,
    Forward {
        host_port,
        guest_port,
    }: Forward,
    _: Input,
) -> Result<Nothing, RpcError> {
    // As its user-mode network does it; QEMU's answer is empty when it went well.
    let said = machine
        .monitor(&format!("hostfwd_add tcp::{host_port}-:{guest_port}"))
        .await?;
    let words = said
        .lines()
        .filter(|line| !line.contains("hostfwd_add") && !line.contains("(qemu)"))
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("; ");
    if words.is_empty() {
        return Ok(Nothing {});
    }
    Err(RpcError::failed(
        ErrorKind::Infrastructure,
        format!(
            "{}: port {host_port} cannot be forwarded: {words}",
            machine.name()
        ),
    )
    .of(machine.name()))
}
