//! Pushing the agent in: through a port of its own, by what every guest has.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::answer::ANNOUNCEMENT;
use crate::guest::{Guest, SMALL};
use crate::quote::quote;
use crate::script::own;
use crate::shell::ShellError;

/// The name of the virtio-serial port that an agent is pushed through, and then serves.
pub const PORT: &str = "org.attest.agent";

/// How long the shell may take for a step.
const STEP: Duration = Duration::from_mins(1);
/// How long a megabyte or two through the port may take, under TCG, while the guest boots.
const TRANSFER: Duration = Duration::from_mins(2);
/// How long an agent may take from its start to its first word.
const HELLO: Duration = Duration::from_secs(30);
/// How often it is pushed into one boot of a guest: what ends at once would else never stop ending.
pub(crate) const MOST: u32 = 3;
/// The guest's directories for it, the first that may hold programs: all are emptied by a boot, or
/// are for what may vanish.
const DIRECTORIES: &str = "/run /dev/shm /tmp /var/tmp";

/// Why no agent was pushed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotPushed {
    #[error("the guest has no virtio-serial port named {PORT}")]
    NoPort,
    #[error("the guest has no directory for it that may hold programs: {0}")]
    NoDirectory(String),
    #[error("it did not arrive whole in the guest: {0}")]
    Cut(String),
    #[error("its port failed")]
    Port(#[source] std::io::Error),
    #[error("it ended {MOST} times in this boot of the guest")]
    Ended,
    #[error("it was started and said nothing within {HELLO:?}")]
    Silent,
    #[error(transparent)]
    Shell(#[from] ShellError),
}

/// Whether an agent that was pushed before still serves the port: then it cannot be opened.
pub(crate) async fn is_served(guest: &Guest) -> Result<bool, ShellError> {
    let script =
        format!("{FIND}; [ -n \"$dev\" ] || exit 1; (: <\"$dev\") 2>/dev/null && exit 1; exit 0");
    Ok(guest
        .ask(script.as_bytes(), "a look at the agent's port", STEP)
        .await?
        .0
        == 0)
}

/// Sets `dev` to the port's device, or to nothing.
const FIND: &str = "dev=; for n in /sys/class/virtio-ports/*/name; do read -r name <\"$n\" || continue; \
    if [ \"$name\" = org.attest.agent ]; then d=${n%/name}; dev=/dev/${d##*/}; fi; done 2>/dev/null";

/// Push the agent and start it. Gives the first bytes that it says on its port.
pub(crate) async fn push(
    guest: &Guest,
    port: &mut UnixStream,
    agent: &[u8],
) -> Result<Vec<u8>, NotPushed> {
    let device = find(guest).await?;
    let file = receive(guest, port, agent, &device).await?;
    drain(port);
    start(guest, &file, &device).await?;
    let mut first = vec![0; 4096];
    let count = timeout(HELLO, port.read(&mut first))
        .await
        .map_err(|_| NotPushed::Silent)?
        .map_err(NotPushed::Port)?;
    if count == 0 {
        return Err(NotPushed::Port(std::io::ErrorKind::UnexpectedEof.into()));
    }
    first.truncate(count);
    Ok(first)
}

async fn find(guest: &Guest) -> Result<String, NotPushed> {
    // The kernel names a port a moment after it has made the console beside it.
    let script = format!(
        "for i in 1 2 3 4 5 6 7 8 9 10; do {FIND}; [ -c \"$dev\" ] && {{ echo \"$dev\"; exit 0; }}; sleep 0.1; done; exit 1"
    );
    let (status, said) = guest
        .ask(script.as_bytes(), "finding the agent's port", STEP)
        .await?;
    let device = String::from_utf8_lossy(&said).trim().to_owned();
    if status == 0 && device.starts_with("/dev/") {
        Ok(device)
    } else {
        Err(NotPushed::NoPort)
    }
}

/// Write it into the port while the guest reads it from there. What is left in the port of an
/// agent before it ends with a line of our own.
async fn receive(
    guest: &Guest,
    port: &mut UnixStream,
    agent: &[u8],
    device: &str,
) -> Result<String, NotPushed> {
    let mut mark = [0; 8];
    // Any mark will do where there is no entropy.
    let _ = getrandom::fill(&mut mark);
    let mark = format!("attest-{:016x}", u64::from_le_bytes(mark));
    let device = String::from_utf8_lossy(&quote(device.as_bytes())).into_owned();
    let length = agent.len();
    // A file that may not be executed shows only when it is.
    let script = format!(
        "export LC_ALL=C; for d in {DIRECTORIES}; do f=$(mktemp \"$d/attest-agent-XXXXXX\") || continue; \
         printf '#!/bin/sh\\nexit 0\\n' >\"$f\" && chmod 0700 \"$f\" && \"$f\" && break; rm -f \"$f\"; f=; done 2>&1; \
         [ -n \"$f\" ] || exit 45; \
         {{ while IFS= read -r l; do [ \"$l\" = {mark} ] && break; done; head -c {length} >\"$f\"; }} <{device} 2>&1; \
         s=$(wc -c <\"$f\"); [ \"$s\" = {length} ] || {{ echo \"$s of {length} bytes\"; exit 46; }}; \
         \"$f\" --check 2>&1 || {{ echo \"status $?\"; rm -f \"$f\"; exit 47; }}; echo \"$f\""
    );
    let receiving = guest.shell.capture(
        own(script.as_bytes(), "receiving the agent", TRANSFER),
        SMALL,
    );
    let mut stream = format!("\n{mark}\n").into_bytes();
    stream.extend_from_slice(agent);
    let sending = async {
        let sent = port.write_all(&stream).await;
        sent.map_err(NotPushed::Port)?;
        std::future::pending::<Result<_, NotPushed>>().await
    };
    let (status, said) = tokio::select! {
        received = receiving => received?,
        failed = sending => return failed,
    };
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    let last = said.lines().next_back().unwrap_or_default().to_owned();
    match status {
        0 if last.starts_with('/') => Ok(last),
        45 => Err(NotPushed::NoDirectory(attest_protocol::one_line(&said))),
        _ => Err(NotPushed::Cut(attest_protocol::one_line(&said))),
    }
}

/// Drop what an agent before has said.
fn drain(port: &UnixStream) {
    let mut dropped = [0; 4096];
    while matches!(port.try_read(&mut dropped), Ok(count) if count > 0) {}
}

/// Start it so that the shell stays free. When it ends, however it does, the shell announces itself
/// again, for nothing else would tell: a port stays open on this side.
async fn start(guest: &Guest, file: &str, device: &str) -> Result<(), NotPushed> {
    let (file, device) = (quote(file.as_bytes()), quote(device.as_bytes()));
    let mut text = b"(".to_vec();
    text.extend_from_slice(&file);
    text.extend_from_slice(b" --port ");
    text.extend_from_slice(&device);
    text.extend_from_slice(b" </dev/null >/dev/null 2>&1; echo; echo '");
    text.extend_from_slice(ANNOUNCEMENT.as_bytes());
    text.extend_from_slice(b"') & echo; echo 0");
    let line = crate::shell::Line {
        text,
        name: "starting the agent".to_owned(),
        limit: Some(STEP),
        ..Default::default()
    };
    guest.shell.capture(line, SMALL).await?;
    Ok(())
}
