//! Monitors, screens and keys.

use std::sync::Arc;
use std::time::Duration;

use attest::Machine;
use bytes::Bytes;

use crate::calls::machine::absolute;
use crate::error::{ErrorKind, RpcError};
use crate::session::Session;
use crate::table::Reply;
use crate::types::{
    Answered, Chars, Events, EventsFrom, Forward, Keys, Link, Monitor, Monitored, Nothing, Qmp,
    Screen, ScreenText, Screenshot, Seconds, Texts, limit,
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

pub(crate) async fn send_keys(
    _: Arc<Session>,
    machine: Machine,
    Keys { keys, delay }: Keys,
    _: Input,
) -> Result<Nothing, RpcError> {
    machine.send_keys(keys, pause(delay)).await?;
    Ok(Nothing {})
}

pub(crate) async fn send_chars(
    _: Arc<Session>,
    machine: Machine,
    Chars { chars, delay }: Chars,
    _: Input,
) -> Result<Nothing, RpcError> {
    machine.send_chars(&chars, pause(delay)).await?;
    Ok(Nothing {})
}

pub(crate) async fn screenshot(
    _: Arc<Session>,
    machine: Machine,
    Screenshot { path }: Screenshot,
    _: Input,
) -> Result<Reply<Screen>, RpcError> {
    let png = machine.screenshot().await?;
    let result = Screen {
        width: png.width,
        height: png.height,
    };
    let Some(path) = path else {
        let attachments = vec![png.bytes.into()];
        return Ok(Reply {
            result,
            attachments,
        });
    };
    let path = absolute(&machine, &path.to_string_lossy())?.to_owned();
    tokio::fs::write(&path, png.bytes).await.map_err(|error| {
        RpcError::failed(
            ErrorKind::Infrastructure,
            format!(
                "{}: the screenshot {} cannot be written: {error}",
                machine.name(),
                path.display()
            ),
        )
        .of(machine.name())
    })?;
    Ok(Reply::from(result))
}

pub(crate) async fn screen_text(
    _: Arc<Session>,
    machine: Machine,
    ScreenText { variants }: ScreenText,
    _: Input,
) -> Result<Texts, RpcError> {
    let texts = machine.screen_text(variants).await?;
    Ok(Texts { texts })
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

/// Between two keys.
fn pause(delay: Option<Seconds>) -> Duration {
    delay.map_or(Duration::ZERO, Seconds::duration)
}
