//! Steps in one line, for people.

use super::{ActionPlan, ProgramPlan, StepPlan, UnitPlan, UnitVerb, WaitPlan, WaitTarget};

impl StepPlan {
    /// The step in one line: `client: wget -qO- http://server/`.
    pub fn text(&self) -> String {
        let action = self.action.text();
        if self.machines.is_empty() {
            action
        } else {
            format!("{}: {action}", self.machines.join(", "))
        }
    }
}

impl ActionPlan {
    /// The action in one line.
    pub fn text(&self) -> String {
        match self {
            Self::Command(command) => command.program.text(),
            Self::Wait(wait) => wait.text(),
            Self::Unit(unit) => unit.text(),
            Self::Upload { from, to } => format!("upload {} to {}", from.display(), to.display()),
            Self::Download { from, to } => {
                format!("download {} to {}", from.display(), to.display())
            }
            Self::Reboot => "reboot".to_owned(),
            Self::Parallel(steps) => {
                let steps: Vec<String> = steps.iter().map(StepPlan::text).collect();
                format!("at once: {}", steps.join("; "))
            }
        }
    }
}

impl ProgramPlan {
    /// The command in one line, as one would type it into a shell.
    pub fn text(&self) -> String {
        match self {
            Self::Shell(text) => {
                let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
                let first = lines.next().unwrap_or_default();
                if lines.next().is_some() {
                    format!("{first} …")
                } else {
                    first.to_owned()
                }
            }
            Self::Argv(argv) => argv
                .iter()
                .map(|word| quoted(word))
                .collect::<Vec<_>>()
                .join(" "),
        }
    }
}

/// In single quotes where a shell would read the word differently.
fn quoted(word: &str) -> String {
    let plain = |each: char| each.is_ascii_alphanumeric() || "-_./:=,+@%^".contains(each);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''").replace('\n', "\\n"))
    }
}

impl UnitPlan {
    /// What is done, in one line: `restart nginx`.
    pub fn text(&self) -> String {
        let unit = of_user(&self.unit, self.user.as_deref());
        format!("{} {unit}", self.verb.name())
    }
}

impl UnitVerb {
    /// As in the manifest, and as `systemctl` names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Reload => "reload",
            Self::Isolate => "isolate",
        }
    }
}

/// A unit, with the user whose manager has it.
fn of_user(unit: &str, user: Option<&str>) -> String {
    match user {
        Some(user) => format!("{unit} of {user}"),
        None => unit.to_owned(),
    }
}

impl WaitPlan {
    /// What is waited for, in one line.
    pub fn text(&self) -> String {
        match &self.target {
            WaitTarget::Port {
                host,
                port,
                closed: false,
            } => format!("wait for port {host}:{port}"),
            WaitTarget::Port {
                host,
                port,
                closed: true,
            } => format!("wait until port {host}:{port} is closed"),
            WaitTarget::File {
                path,
                matches: Some(pattern),
                ..
            } => {
                format!("wait for /{pattern}/ in {}", path.display())
            }
            WaitTarget::File {
                path,
                vanished: true,
                ..
            } => format!("wait until {} is gone", path.display()),
            WaitTarget::File { path, .. } => format!("wait for file {}", path.display()),
            WaitTarget::Socket { path } => format!("wait for socket {}", path.display()),
            WaitTarget::Unit {
                unit,
                user,
                stopped,
            } => {
                let unit = of_user(unit, user.as_deref());
                if *stopped {
                    format!("wait until unit {unit} is stopped")
                } else {
                    format!("wait for unit {unit}")
                }
            }
            WaitTarget::Succeeds(command) => format!("wait until `{command}` succeeds"),
            WaitTarget::Fails(command) => format!("wait until `{command}` fails"),
            WaitTarget::Process {
                pattern,
                vanished: false,
            } => format!("wait for process /{pattern}/"),
            WaitTarget::Process {
                pattern,
                vanished: true,
            } => format!("wait until no process matches /{pattern}/"),
            WaitTarget::Console(pattern) => format!("wait for /{pattern}/ on the console"),
        }
    }
}
