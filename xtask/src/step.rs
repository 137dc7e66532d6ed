//! Runs cargo and other programs, as the user would from their shell.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use crate::tools;

/// One run of a program in the workspace's root.
#[derive(Debug)]
pub(crate) struct Step {
    /// As messages have it.
    name: String,
    command: Command,
}

/// It did not go well.
#[derive(Debug)]
pub(crate) struct Stopped {
    command: String,
    why: Why,
}

#[derive(Debug)]
enum Why {
    NotStarted(io::Error),
    Ended(ExitStatus),
}

impl Step {
    /// Of cargo.
    pub(crate) fn cargo<const N: usize>(arguments: [&str; N]) -> Self {
        let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        Self::program("cargo", program).args(arguments)
    }

    /// Of this program, which messages name so.
    pub(crate) fn program(name: &str, program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.current_dir(root()).env("PATH", tools::path());
        // What `cargo run` told us about xtask is not true for what runs next, and build scripts
        // that watch these variables would run again.
        for (name, _) in std::env::vars_os() {
            if about_xtask(&name) {
                command.env_remove(name);
            }
        }
        Self {
            name: name.to_owned(),
            command,
        }
    }

    /// In this directory of the workspace.
    pub(crate) fn within(mut self, directory: &str) -> Self {
        self.command.current_dir(root().join(directory));
        self
    }

    pub(crate) fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs to its end, with the user's terminal for its output.
    pub(crate) fn run(mut self) -> Result<(), Stopped> {
        let command = self.shown();
        eprintln!("xtask: {command}");
        let stopped = |why| Stopped {
            command: command.clone(),
            why,
        };
        match self.command.stdin(Stdio::null()).status() {
            Err(error) => Err(stopped(Why::NotStarted(error))),
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(stopped(Why::Ended(status))),
        }
    }

    /// Becomes the command. Comes back only when it could not be started.
    pub(crate) fn replace_me(mut self) -> Stopped {
        Stopped {
            command: self.shown(),
            why: Why::NotStarted(self.command.exec()),
        }
    }

    /// Becomes a program that was built before, by its path below the target directory, in which
    /// this one is, too, with more in its environment. Comes back only when it could not be started.
    pub(crate) fn become_built(
        path: &str,
        arguments: Vec<OsString>,
        more: Option<(&str, String)>,
    ) -> Stopped {
        let own = std::env::current_exe();
        let program = own.map(|own| {
            let target = own.parent().and_then(Path::parent);
            target.unwrap_or(Path::new("target")).join(path)
        });
        let error = match program {
            Ok(program) => Command::new(program)
                .args(arguments)
                .envs(more)
                .current_dir(root())
                .exec(),
            Err(error) => error,
        };
        Stopped {
            command: path.to_owned(),
            why: Why::NotStarted(error),
        }
    }

    fn shown(&self) -> String {
        let words = self.command.get_args().map(|word| word.to_string_lossy());
        format!("{} {}", self.name, words.collect::<Vec<_>>().join(" "))
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Why::NotStarted(error) => write!(f, "`{}` did not start: {error}", self.command),
            Why::Ended(status) => write!(f, "`{}` failed: {status}", self.command),
        }
    }
}

/// The workspace's root. Asked at run time first: a build cache may outlive its checkout.
pub(crate) fn root() -> PathBuf {
    let here =
        std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let here = Path::new(&here);
    here.parent().unwrap_or(here).to_owned()
}

fn about_xtask(name: &OsString) -> bool {
    let name = name.to_string_lossy();
    let prefixes = [
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "CARGO_BIN_",
        "CARGO_CRATE_",
    ];
    prefixes.iter().any(|prefix| name.starts_with(prefix)) || name == "CARGO_PRIMARY_PACKAGE"
}
