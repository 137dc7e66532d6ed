//! The guest behind the shell, and what was found out about it.

use std::sync::Mutex;
use std::time::Duration;

use attest_protocol::GENERATION;
use attest_protocol::message::{Failure, FailureCode, Hello};

use crate::failure::failure;
use crate::script::{Environment, Tools, own};
use crate::shell::{Shell, ShellError};

/// How long a guest may take to say what it is: two programs, under TCG, while it boots.
const PROBE: Duration = Duration::from_mins(1);
/// Bytes of output of attest's own small lines.
pub(crate) const SMALL: usize = 64 * 1024;
/// Its lines: the boot's id, the time since the boot in seconds, and what `timeout` can.
const QUESTION: &[u8] = b"read -r id </proc/sys/kernel/random/boot_id; read -r up rest </proc/uptime; echo \"$id\"; echo \"$up\"; \
timeout 0.5 true 2>/dev/null && echo fractions; timeout -k 1 9 true 2>/dev/null && echo kills; exit 0";

/// The guest behind a shell, for one boot.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) shell: Shell,
    pub(crate) tools: Tools,
    /// Why its shell is of no use.
    fault: Option<ShellError>,
    pub(crate) boot_id: String,
    uptime_ns: u64,
    /// Of every command, as [`attest_protocol::message::Setup`] gave it.
    environment: Mutex<Environment>,
}

impl Guest {
    /// Ask the guest what it is. The answer is the proof that its shell works.
    pub(crate) async fn meet(shell: Shell) -> Result<Self, ShellError> {
        let line = own(QUESTION, "the first question", PROBE);
        let (_, answer) = shell.capture(line, SMALL).await?;
        if answer.is_empty() {
            return Err(ShellError::Mute);
        }
        let answer = String::from_utf8_lossy(&answer);
        let mut lines = answer.lines();
        let boot_id = lines.next().unwrap_or_default().to_owned();
        let uptime = lines.next().unwrap_or_default();
        let mut tools = Tools::default();
        for line in lines {
            match line {
                "fractions" => tools.fractions = true,
                "kills" => tools.kills = true,
                _ => {}
            }
        }
        Ok(Self {
            shell,
            tools,
            fault: None,
            boot_id,
            uptime_ns: nanoseconds(uptime),
            environment: Mutex::default(),
        })
    }

    /// A guest whose shell gave no answer: whatever is asked of it fails with the reason.
    pub(crate) fn unmet(shell: Shell, fault: ShellError) -> Self {
        Self {
            shell,
            tools: Tools::default(),
            fault: Some(fault),
            boot_id: String::new(),
            uptime_ns: 0,
            environment: Mutex::default(),
        }
    }

    /// Whether anything can be asked of it.
    pub(crate) fn check(&self) -> Result<(), ShellError> {
        self.fault.clone().map_or(Ok(()), Err)
    }

    pub(crate) fn environment(&self) -> Environment {
        self.environment.lock().expect("not poisoned").clone()
    }

    pub(crate) fn set_environment(&self, environment: Environment) {
        *self.environment.lock().expect("not poisoned") = environment;
    }

    pub(crate) fn hello(&self) -> Hello {
        let mut nonce = [0; 8];
        // A nonce must only differ from the one of the boot before.
        let _ = getrandom::fill(&mut nonce);
        Hello {
            generation: GENERATION,
            nonce: u64::from_le_bytes(nonce),
            version: concat!(env!("CARGO_PKG_VERSION"), " (root shell)").to_owned(),
            boot_id: self.boot_id.clone(),
            uptime_ns: self.uptime_ns,
            is_init: false,
            waits: false,
        }
    }

    /// Run a small script of attest's own; gives its status and output.
    pub(crate) async fn ask(
        &self,
        script: &[u8],
        name: &str,
        limit: Duration,
    ) -> Result<(i32, Vec<u8>), ShellError> {
        self.shell.capture(own(script, name, limit), SMALL).await
    }

    /// As [`Guest::ask`], where only status 0 is well.
    pub(crate) async fn demand(
        &self,
        script: &[u8],
        name: &str,
        limit: Duration,
    ) -> Result<Vec<u8>, Failure> {
        let (status, output) = self.ask(script, name, limit).await?;
        if status == 0 {
            return Ok(output);
        }
        let said = attest_protocol::one_line(&String::from_utf8_lossy(&output));
        Err(failure(
            FailureCode::Os,
            format!("{name} ended with status {status}: {said}"),
        ))
    }
}

/// Of decimal seconds, as in `/proc/uptime`.
pub(crate) fn nanoseconds(seconds: &str) -> u64 {
    let (whole, part) = seconds
        .trim()
        .split_once('.')
        .unwrap_or((seconds.trim(), ""));
    let whole: u64 = whole.parse().unwrap_or(0);
    let hundredths: u64 = part
        .get(..2)
        .and_then(|part| part.parse().ok())
        .unwrap_or(0);
    whole
        .saturating_mul(1_000_000_000)
        .saturating_add(hundredths * 10_000_000)
}
