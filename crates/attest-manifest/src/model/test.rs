//! Tests and their steps.

use std::path::PathBuf;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::TimeSpan;

/// A test: steps on the machines, a Python script, or the tests of a Rust test binary. Exactly one
/// of `steps`, `script` and `rust`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Test {
    /// The set-up whose state the test begins with; not for `rust`, whose tests name theirs in
    /// code. Default: none, it begins with the lab as it booted. Example: `setup = "installed"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setup: Option<String>,
    /// How long the test may take, without the boot of its lab. Default: that of
    /// `timeouts.test`. Example: `timeout = "30s"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<TimeSpan>,
    /// What to do, one after the other; the first step that fails ends the test.
    /// Example: `steps = [{ on = "server", run = "true" }]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<Step>>,
    /// A Python script that drives the machines, relative to the manifest: each is a variable of
    /// it. It needs CPython 3.9 or newer. Example: `script = "tests/login.py"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script: Option<PathBuf>,
    /// The `#[attest::test]` functions of a Rust test target.
    /// Example: `rust = { package = "web", test = "lab" }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rust: Option<RustTest>,
}

/// A Rust test target: either `binary`, or `package` and `test`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RustTest {
    /// The built test binary, relative to the manifest.
    /// Example: `binary = "target/debug/deps/lab-0123456789abcdef"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binary: Option<PathBuf>,
    /// The package to build with cargo. Example: `package = "web"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// The test target in the package, as `cargo test --test` names it. Example: `test = "lab"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
    /// Only the tests with this text in their names. Default: all. Example: `filter = "login"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

/// One step of a test: exactly one of `run`, `argv`, `wait`, `unit`, `upload`, `download`, `reboot`
/// and `parallel`. The other keys belong to `run` and `argv`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Step {
    /// The machine, or machines at once. May be left out when the lab has one machine.
    /// Example: `on = "server"`, `on = ["server", "client"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<OneOrMany>,

    /// Run this in a shell, as by `bash -c 'set -euo pipefail; …'` (`sh` where the guest has no
    /// bash). Example: `run = "wget -qO- http://server/"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Run this program with these arguments; no shell takes part.
    /// Example: `argv = ["ls", "/etc"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub argv: Option<Vec<String>>,
    /// Wait until something holds in the machine. Example: `wait = { port = 80 }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<Wait>,
    /// Start or stop a unit of the machine's systemd. Example: `unit = { restart = "nginx" }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitAction>,
    /// Copy a file or directory into the machine.
    /// Example: `upload = { from = "app.conf", to = "/etc/app.conf" }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload: Option<Copy>,
    /// Copy a file or directory out of the machine, into the artifacts of the run.
    /// Example: `download = { from = "/var/log/app.log", to = "app.log" }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub download: Option<Copy>,
    /// Boot the machine again and wait until its agent answers. Example: `reboot = true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reboot: Option<bool>,
    /// Steps to do at the same time; the step ends when all have ended. They cannot be nested.
    /// Example: `parallel = [{ on = "a", run = "true" }, { on = "b", run = "true" }]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel: Option<Vec<Step>>,

    /// The exit code that is expected, 0–255. Default: 0. Example: `status = 3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<i64>,
    /// Expect any exit code but 0. Default: false. Example: `fails = true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fails: Option<bool>,
    /// The whole of stdout. Example: `stdout = "hello\n"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout: Option<String>,
    /// A text somewhere in stdout. Example: `stdout-contains = "200 OK"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout_contains: Option<String>,
    /// A regular expression (of the Rust crate `regex`, `^` and `$` at lines) that finds
    /// something in stdout.
    /// Example: `stdout-matches = "^[0-9]+$"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout_matches: Option<String>,
    /// A text somewhere in stderr. Example: `stderr-contains = "refused"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stderr_contains: Option<String>,
    /// What the command reads. Default: nothing. Example: `stdin = "yes\n"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// Name of the guest's user to run it as. Default: root. Example: `user = "nobody"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Absolute path of the working directory. Default: the user's home.
    /// Example: `directory = "/srv"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Added to the machine's environment. Example: `environment = { DEBUG = "1" }`.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub environment: IndexMap<String, String>,
    /// How long a command may take. Default: that of `timeouts.command`.
    /// Example: `timeout = "5s"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<TimeSpan>,
}

/// A name, or a list of names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One name.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl OneOrMany {
    /// The names, in order.
    pub fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Many(names) => names,
        }
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = OneOrMany;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("the name of a machine, or a list of names")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<OneOrMany, A::Error> {
                let names = de::value::SeqAccessDeserializer::new(sequence);
                Deserialize::deserialize(names).map(OneOrMany::Many)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A copy between host and machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Copy {
    /// What to copy. Uploads: a path of the host, relative to the manifest. Downloads: an
    /// absolute path in the machine. Example: `from = "app.conf"`.
    pub from: PathBuf,
    /// Where to. Uploads: an absolute path in the machine. Downloads: a path below the run's
    /// artifacts of this machine. Example: `to = "/etc/app.conf"`.
    pub to: PathBuf,
}

/// What to do with a unit of systemd: exactly one of `start`, `stop`, `restart`, `reload` and
/// `isolate`. The step ends when the unit's job has ended, and fails when that has. Names are
/// completed as `systemctl` completes them: `nginx` is `nginx.service`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct UnitAction {
    /// Start it. Example: `unit = { start = "nginx" }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Stop it. Example: `unit = { stop = "nginx" }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<String>,
    /// Stop it if it runs, and start it. Example: `unit = { restart = "nginx" }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<String>,
    /// Let it read its configuration anew. Example: `unit = { reload = "nginx" }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reload: Option<String>,
    /// Start it, as a target, and stop all that it does not need.
    /// Example: `unit = { isolate = "rescue.target" }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolate: Option<String>,
    /// The user whose manager has it, who is logged in or lingers. Default: the system's manager.
    /// Example: `unit = { start = "app", user = "alice" }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// How long the job may take. Default: that of `timeouts.command`. Example: `timeout = "5s"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<TimeSpan>,
}

/// What to wait for: exactly one of `port`, `file`, `socket`, `unit`, `succeeds`, `fails`, `process`
/// and `console`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Wait {
    /// A TCP port that accepts connections. Example: `wait = { port = 80 }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// With `port`: at this host, as seen from the machine. Default: `localhost`.
    /// Example: `wait = { port = 80, host = "server" }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// With `port`: wait until it refuses connections. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<bool>,
    /// An absolute path that exists in the machine. Example: `wait = { file = "/run/ready" }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// With `file`: a regular expression, `^` and `$` at lines, that finds something in it.
    /// Example: `wait = { file = "/var/log/app.log", matches = "started in [0-9]+ ms" }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
    /// With `file` and `process`: wait until it is gone. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vanished: Option<bool>,
    /// Absolute path of a Unix socket that accepts connections.
    /// Example: `wait = { socket = "/run/app.sock" }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
    /// A unit of systemd that is active. The wait fails at once when the unit has failed, and when
    /// it is inactive and nothing is queued that could start it. `nginx` is `nginx.service`.
    /// Example: `wait = { unit = "nginx" }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// With `unit`: the user whose manager has it. Default: the system's manager.
    /// Example: `wait = { unit = "app", user = "alice" }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// With `unit`: wait until it is stopped, whether well or because it failed. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<bool>,
    /// A shell command that ends with status 0; it is run again until then.
    /// Example: `wait = { succeeds = "ping -c1 -W1 server" }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub succeeds: Option<String>,
    /// A shell command that ends with another status than 0; it is run again until then.
    /// Example: `wait = { fails = "pidof httpd" }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fails: Option<String>,
    /// A process whose command line, arguments joined by spaces, this regular expression finds
    /// something in. Example: `wait = { process = "^httpd " }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// A regular expression, `^` and `$` at lines, that finds something in the machine's
    /// console output.
    /// Example: `wait = { console = "login:" }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console: Option<String>,
    /// How long to wait. Default: that of `timeouts.command`. Example: `timeout = "5s"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<TimeSpan>,
}
