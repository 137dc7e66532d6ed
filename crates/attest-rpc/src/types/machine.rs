//! What is done with machines. Each call has the members `lab` (1 when absent) and `machine`
//! beside what is here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Seconds;

macro_rules! params {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }
    };
}

macro_rules! results {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }
    };
}

params! {
    /// Start it.
    Start {
        /// Whether a reset by the guest boots it again, rather than ending it.
        #[serde(default)]
        allow_reboot: bool,
    }
}

results! {
    /// It runs.
    StartedInfo {
        /// What runs it, on the host.
        pid: Option<u32>,
        /// Whether it did not run before.
        started: bool,
    }
}

params! {
    /// Wait until commands can run.
    Connect {
        /// The session that does not count any more.
        #[serde(default)]
        after: Option<String>,
    }
}

results! {
    /// Commands can run.
    Connected {
        /// Differs for each boot of the machine and each connection with its agent.
        token: String,
        /// Whether an agent is in it; else its shell does what it can.
        agent: bool,
    }
}

results! {
    /// Where it stands.
    MachineState {
        /// Whether something runs it.
        booted: bool,
        /// What runs it, on the host.
        pid: Option<u32>,
        /// Whether commands can run.
        ready: bool,
        /// As in [`Connected`].
        token: Option<String>,
    }
}

/// Where a command's stderr goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StderrUse {
    /// To the caller.
    #[default]
    Keep,
    /// To the caller, and to the console's text and its events.
    Console,
}

params! {
    /// Run a command. Its stdin, when it has one, is the first attachment.
    Exec {
        /// A line for a shell, with `set -euo pipefail`.
        #[serde(default)]
        command: Option<String>,
        /// Or a program and its arguments.
        #[serde(default)]
        argv: Option<Vec<String>>,
        /// How long it may take; `null` is for ever.
        #[serde(default)]
        timeout: Option<Seconds>,
        /// Added to its environment.
        #[serde(default)]
        environment: BTreeMap<String, String>,
        /// Where it runs.
        #[serde(default)]
        directory: Option<String>,
        /// Who runs it; root when absent.
        #[serde(default)]
        user: Option<String>,
        /// Whether there is a stdin.
        #[serde(default)]
        stdin: bool,
        /// Return at once; it goes on until its time is out or the session ends.
        #[serde(default)]
        detach: bool,
        /// Where its stderr goes.
        #[serde(default)]
        stderr: StderrUse,
    }
}

results! {
    /// It ended, with stdout and stderr as attachments. A detached one has all zeros.
    Executed {
        /// Its exit code; 128 + N when signal N ended it, 124 when its time was out.
        code: i32,
        /// The signal that ended it, where that is known.
        signal: Option<i32>,
        /// Whether its time was out.
        timed_out: bool,
        /// How long it took, in the guest.
        seconds: Seconds,
    }
}

params! {
    /// Wait for something in it.
    Wait {
        /// What.
        #[serde(rename = "for")]
        target: Target,
        /// How long; `null` is for ever.
        #[serde(default)]
        timeout: Option<Seconds>,
    }
}

/// What to wait for: one of these, with what belongs to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Target {
    /// A TCP port that accepts connections, at `host`.
    pub port: Option<u16>,
    /// A TCP port that does not, at `host`.
    pub closed_port: Option<u16>,
    /// `localhost` when absent; as seen from the machine.
    pub host: Option<String>,
    /// A path that exists.
    pub file: Option<String>,
    /// A path that does not.
    pub no_file: Option<String>,
    /// A file that has a match of `pattern`.
    pub text_in_file: Option<String>,
    /// A regular expression.
    pub pattern: Option<String>,
    /// A Unix socket that accepts a connection.
    pub unix_socket: Option<String>,
    /// Whether that is one of datagrams.
    pub datagram: bool,
    /// A shell command that succeeds.
    pub succeeds: Option<String>,
    /// A shell command that fails.
    pub fails: Option<String>,
    /// A process whose command line matches.
    pub process: Option<String>,
    /// That there is no such process.
    pub no_process: Option<String>,
    /// A match in what the console printed.
    pub console: Option<String>,
}

results! {
    /// It is so. For a command, what it printed last is the attachment.
    Met {
        /// How long it took.
        seconds: Seconds,
        /// The match, of the console.
        matched: Option<String>,
    }
}

params! {
    /// Wait for a unit to be active.
    WaitUnit {
        /// Its name, as for `systemctl`.
        unit: String,
        /// Of this user's manager.
        #[serde(default)]
        user: Option<String>,
        /// How long; `null` is for ever.
        #[serde(default)]
        timeout: Option<Seconds>,
    }
}

params! {
    /// A unit.
    Unit {
        /// Its name, as for `systemctl`.
        unit: String,
        /// Of this user's manager.
        #[serde(default)]
        user: Option<String>,
    }
}

results! {
    /// What is known of it.
    UnitInfo {
        /// Names and values, as `systemctl show` prints them.
        properties: BTreeMap<String, String>,
    }
}

params! {
    /// Wait until it is off.
    WaitEnded {
        /// How long; `null` is for ever.
        #[serde(default)]
        timeout: Option<Seconds>,
    }
}

results! {
    /// It is off.
    Ended {
        /// How it ended: `powered-off`, `reset`, `vmm-crashed`, ….
        how: String,
    }
}

params! {
    /// Copy a file or a tree.
    Copy {
        /// What, there.
        from: String,
        /// To where, here.
        to: String,
    }
}

results! {
    /// It is copied.
    Copied {
        /// Of contents.
        bytes: u64,
    }
}

params! {
    /// Lines of the console.
    Console {
        /// Which is the first: they count from the machine's start.
        #[serde(default)]
        from: u64,
        /// Whether to wait until there is one.
        #[serde(default)]
        wait: bool,
        /// How long; `null` is for ever.
        #[serde(default)]
        timeout: Option<Seconds>,
    }
}

results! {
    /// Lines are the attachment, each with its end.
    ConsolePart {
        /// The number of the line after them.
        position: u64,
        /// Whether nothing will follow.
        ended: bool,
    }
}

params! {
    /// A command of QEMU's human monitor.
    Monitor {
        /// As typed.
        command: String,
    }
}

results! {
    /// Its answer.
    Monitored {
        /// As printed: echo, answer, prompt.
        text: String,
    }
}

params! {
    /// A command of QEMU's machine protocol.
    Qmp {
        /// Its name.
        execute: String,
        /// Its arguments.
        #[serde(default)]
        arguments: Map<String, Value>,
    }
}

results! {
    /// Its answer.
    Answered {
        /// As it came.
        #[serde(rename = "return")]
        value: Value,
    }
}

params! {
    /// Events of QEMU's machine protocol.
    EventsFrom {
        /// Which is the first: they count from the machine's start.
        #[serde(default)]
        from: u64,
        /// Whether to wait until there is one.
        #[serde(default)]
        wait: bool,
        /// How long; `null` is for ever.
        #[serde(default)]
        timeout: Option<Seconds>,
    }
}

results! {
    /// Some events.
    Events {
        /// The number of the one after them.
        position: u64,
        /// As they came.
        events: Vec<Value>,
    }
}

params! {
    /// Press keys, one after the other.
    Keys {
        /// Names as QEMU's `sendkey` has them: `ctrl-alt-delete`.
        keys: Vec<String>,
        /// Pause after each; `null` is none.
        #[serde(default)]
        delay: Option<Seconds>,
    }
}

params! {
    /// Type a text.
    Chars {
        /// The text.
        chars: String,
        /// Pause after each; `null` is none.
        #[serde(default)]
        delay: Option<Seconds>,
    }
}

params! {
    /// A picture of its screen.
    Screenshot {
        /// A file for it; else it is the attachment.
        #[serde(default)]
        path: Option<PathBuf>,
    }
}

results! {
    /// The picture, in PNG.
    Screen {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
    }
}

params! {
    /// What is to be read on its screen.
    ScreenText {
        /// Whether to read preparations of the picture, too.
        #[serde(default)]
        variants: bool,
    }
}

results! {
    /// What was read, each in another way.
    Texts {
        /// At least one.
        texts: Vec<String>,
    }
}

params! {
    /// Its cable.
    Link {
        /// Whether it is plugged in.
        up: bool,
    }
}

params! {
    /// A port of the host that leads to one of the guest.
    Forward {
        /// On the host.
        host_port: u16,
        /// In the guest.
        guest_port: u16,
    }
}
