//! Nix as it is called: one program, with what the user adds to each call.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use super::super::interrupts::Interrupts;
use super::nar::{self, NarError};

/// What this needs of Nix, whether or not the user's configuration has it.
const FEATURES: [&str; 2] = ["--extra-experimental-features", "nix-command flakes"];

/// Options of ssh for connections to builders, which would wait forever for one that is gone without a word. Those that
/// the user has in the variable go before them.
const SSH: (&str, &str) = (
    "NIX_SSHOPTS",
    "-o ConnectTimeout=15 -o ServerAliveInterval=15 -o ServerAliveCountMax=4",
);

/// From this version on a derivation's path means the derivation itself, and its outputs are `PATH^*`. Before,
/// its path means its outputs, and `^` is refused. (Release notes of Nix 2.13 and 2.15.)
const CARETS: (u32, u32) = (2, 13);

/// Nix.
#[derive(Debug)]
pub(super) struct Nix {
    program: PathBuf,
    /// As the user gave them.
    arguments: Vec<OsString>,
    /// Those of them that do not say what is evaluated.
    plain: Vec<OsString>,
    version: String,
}

/// Nix did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum NixError {
    #[error(
        "`{program}` cannot be started; install Nix, or name it with --nix or in $ATTEST_NIX_PROGRAM"
    )]
    Start {
        program: String,
        #[source]
        source: std::io::Error,
    },
    #[error("`{installable}` cannot be evaluated; Nix says:\n\n{said}")]
    Evaluation { installable: String, said: String },
    #[error(
        "`{installable}` has no `shards`: it is no test that attest's `lib.mkTest` made; `nix build` builds others"
    )]
    NoTest { installable: String },
    #[error(
        "the paths of `{shard}` are not known before it is built; content-addressed derivations cannot be told apart \
         by their outputs: take `__contentAddressed` away"
    )]
    NoPath { shard: String },
    #[error(
        "Nix's answer on {about} is none that is known; is this version of Nix newer than attest ({said})?"
    )]
    Answer { about: String, said: String },
    #[error("Nix does not say which outputs there are; it says:\n\n{said}")]
    Query { said: String },
    #[error("{output} cannot be read from Nix's store{}", behind(said))]
    Copy {
        output: String,
        said: String,
        #[source]
        source: NarError,
    },
    #[error("interrupted")]
    Interrupted,
}

fn behind(said: &str) -> String {
    match said.trim() {
        "" => String::new(),
        said => format!("; it says: {said}"),
    }
}

impl Nix {
    /// The program, if it is one.
    pub(super) async fn find(
        program: &Path,
        arguments: &[OsString],
        interrupts: &Interrupts,
    ) -> Result<Self, NixError> {
        let mut nix = Self {
            program: program.to_owned(),
            arguments: arguments.to_owned(),
            plain: plain(arguments),
            version: String::new(),
        };
        let mut command = Command::new(program);
        command.arg("--version");
        let said = nix.output(command, interrupts).await?;
        let said = text(&said.stdout);
        said.lines()
            .next()
            .unwrap_or_default()
            .clone_into(&mut nix.version);
        Ok(nix)
    }

    /// What it calls itself.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// What an expression makes of an installable, as JSON.
    pub(super) async fn evaluate(
        &self,
        installable: &str,
        apply: &str,
        interrupts: &Interrupts,
    ) -> Result<Value, NixError> {
        let mut command = self.command(&["eval", "--json", "--apply", apply]);
        command.args(&self.arguments).arg(installable);
        let output = self.output(command, interrupts).await?;
        if interrupts.came() {
            return Err(NixError::Interrupted);
        }
        if !output.status.success() {
            return Err(NixError::Evaluation {
                installable: installable.to_owned(),
                said: text(&output.stderr),
            });
        }
        serde_json::from_slice(&output.stdout).map_err(|_| NixError::Answer {
            about: format!("`{installable}`"),
            said: self.version.clone(),
        })
    }

    /// Those of these store paths that are there.
    pub(super) async fn valid(
        &self,
        paths: &[&str],
        interrupts: &Interrupts,
    ) -> Result<BTreeSet<String>, NixError> {
        if paths.is_empty() {
            return Ok(BTreeSet::new());
        }
        // What could be fetched is not there; and nothing but the store is asked.
        let question = ["path-info", "--option", "substitute", "false", "--json"];
        let ask = async |form: &[&str]| {
            let mut command = self.command(&question);
            command.args(form).args(&self.plain).args(paths);
            self.output(command, interrupts).await
        };
        let output = ask(&[]).await?;
        let answer = valid_in(&output.stdout, paths);
        if let Some(valid) = answer {
            return Ok(valid);
        }
        // Some versions want to be told in which form they answer.
        let again = ask(&["--json-format", "2"]).await?;
        valid_in(&again.stdout, paths).ok_or_else(|| NixError::Query {
            said: text(&output.stderr),
        })
    }

    /// Begins to build all outputs of these derivations, as many of them as can be. What it does is told on its
    /// stderr, as JSON.
    pub(super) fn build<'a>(
        &self,
        derivations: impl Iterator<Item = &'a str>,
    ) -> Result<Child, NixError> {
        let mut command = self.command(&["build", "--no-link", "--keep-going"]);
        command
            .args(["--log-format", "internal-json"])
            .args(&self.plain);
        for derivation in derivations {
            command.arg(outputs_of(derivation, &self.version));
        }
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().map_err(|source| self.unstarted(source))
    }

    /// Copies what is at a path of the store, wherever the store is, to a path that is not there yet.
    pub(super) async fn copy(&self, path: &str, to: &Path) -> Result<(), NixError> {
        let mut command = self.command(&["store", "dump-path"]);
        command.args(&self.plain).arg(path);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let spawned = command.spawn();
        let mut child = spawned.map_err(|source| self.unstarted(source))?;
        let archive = child.stdout.take().expect("it is piped");
        let mut errors = child.stderr.take().expect("it is piped");
        let to = to.to_owned();
        let unpacking = async {
            let archive = archive.into_owned_fd().map_err(NarError::Read)?;
            let unpack = move || nar::unpack(&mut std::fs::File::from(archive), &to);
            let unpacked = tokio::task::spawn_blocking(unpack).await;
            unpacked.expect("unpacking does not panic")
        };
        let mut said = Vec::new();
        let (unpacked, _) = tokio::join!(unpacking, errors.read_to_end(&mut said));
        let _ = child.wait().await;
        unpacked.map_err(|source| NixError::Copy {
            output: path.to_owned(),
            said: text(&said),
            source,
        })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).args(FEATURES).stdin(Stdio::null());
        let mut ssh = std::env::var_os(SSH.0).unwrap_or_default();
        if !ssh.is_empty() {
            ssh.push(" ");
        }
        ssh.push(SSH.1);
        command.env(SSH.0, ssh);
        command
    }

    async fn output(
        &self,
        mut command: Command,
        interrupts: &Interrupts,
    ) -> Result<Output, NixError> {
        if interrupts.came() {
            return Err(NixError::Interrupted);
        }
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let unstarted = |source| self.unstarted(source);
        let mut child = command.spawn().map_err(unstarted)?;
        let mut out = child.stdout.take().expect("it is piped");
        let mut err = child.stderr.take().expect("it is piped");
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut interrupts = interrupts.clone();
        let (ended, read, read_too) = tokio::join!(
            interrupts.end_of(&mut child),
            out.read_to_end(&mut stdout),
            err.read_to_end(&mut stderr)
        );
        let status = ended.and_then(|status| read.and(read_too).map(|_| status));
        Ok(Output {
            status: status.map_err(unstarted)?,
            stdout,
            stderr,
        })
    }

    fn unstarted(&self, source: std::io::Error) -> NixError {
        NixError::Start {
            program: self.program.display().to_string(),
            source,
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}

/// The arguments without those that say what is evaluated: with them, paths of the store would be taken for
/// attributes.
fn plain(arguments: &[OsString]) -> Vec<OsString> {
    let mut plain = Vec::new();
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        let (values, is_kept) = match word.to_str() {
            Some("-f" | "--file" | "--expr") => (1, false),
            // Their values may be any words.
            Some("--arg" | "--argstr" | "--option" | "--override-input" | "--override-flake") => {
                (2, true)
            }
            _ => (0, true),
        };
        let words = std::iter::once(word).chain(rest.by_ref().take(values));
        if is_kept {
            plain.extend(words.cloned());
        } else {
            words.for_each(drop);
        }
    }
    plain
}

/// How this version calls the outputs of a derivation.
fn outputs_of(derivation: &str, version: &str) -> OsString {
    if number(version).is_some_and(|number| number < CARETS) {
        derivation.into()
    } else {
        format!("{derivation}^*").into()
    }
}

/// Of `nix (Nix) 2.34.8`; others who make a Nix say their own version before it.
fn number(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split_whitespace().next_back()?.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?;
    let digits = minor.find(|c: char| !c.is_ascii_digit());
    let minor = minor[..digits.unwrap_or(minor.len())].parse().ok()?;
    Some((major, minor))
}

/// The paths that an answer of `nix path-info --json` says to be there; nothing where it is none. It is a list of
/// objects with a `path` (up to 2.18), an object of objects by their paths, or by their base names below `info`;
/// what is not there is `"valid": false`, or null.
fn valid_in(answer: &[u8], paths: &[&str]) -> Option<BTreeSet<String>> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let is_there = |path: &str| match &answer {
        Value::Array(entries) => {
            let mut entries = entries.iter();
            let entry = entries.find(|entry| entry["path"] == *path);
            entry.is_some_and(|entry| entry["valid"] != false)
        }
        answer => {
            let base = Path::new(path).file_name().and_then(OsStr::to_str);
            let Value::Object(entries) = &answer["info"] else {
                return !answer[path].is_null();
            };
            let entry = entries
                .get(path)
                .or_else(|| base.and_then(|base| entries.get(base)));
            entry.is_some_and(|entry| !entry.is_null())
        }
    };
    if !(answer.is_array() || answer.is_object()) {
        return None;
    }
    let valid = paths.iter().filter(|path| is_there(path));
    Some(valid.map(|path| (*path).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_called_as_the_version_does() {
        let called = |version: &str| {
            let called = outputs_of("/nix/store/x.drv", version);
            called.into_string().unwrap()
        };
        for old in ["nix (Nix) 2.8.0", "nix (Nix) 2.12.1"] {
            assert_eq!(called(old), "/nix/store/x.drv", "{old}");
        }
        let new = [
            "nix (Nix) 2.13",
            "nix (Nix) 2.26.3",
            "nix (Nix) 2.30pre20250701_d0c5e27",
            "nix (Lix, like Nix) 2.91.1",
            "nix (Determinate Nix 3.8.5) 2.30.2",
            "nix (Nix) 3.0pre",
            "who knows",
        ];
        for new in new {
            assert_eq!(called(new), "/nix/store/x.drv^*", "{new}");
        }
    }

    #[test]
    fn what_is_evaluated_is_not_for_the_rest() {
        let words = |text: &str| -> Vec<OsString> { text.split(' ').map(OsString::from).collect() };
        let kept = |text: &str| plain(&words(text)).join(OsStr::new(" "));
        assert_eq!(kept("-f t.nix --store /s"), "--store /s");
        assert_eq!(kept("--expr { } -j 4"), "} -j 4");
        let all = "--argstr x -f --option builders --file -L --impure";
        assert_eq!(kept(all), all);
        assert_eq!(kept("-j 4 --file"), "-j 4");
    }

    #[test]
    fn every_version_says_what_is_there() {
        let (there, gone) = ("/nix/store/aaa-there", "/nix/store/bbb-gone");
        let answers = [
            r#"[{"path":"/nix/store/aaa-there","narSize":120},{"path":"/nix/store/bbb-gone","valid":false}]"#,
            r#"{"/nix/store/aaa-there":{"narSize":120},"/nix/store/bbb-gone":null}"#,
            r#"{"version":2,"info":{"aaa-there":{"narSize":120},"bbb-gone":null}}"#,
        ];
        for answer in answers {
            let valid = valid_in(answer.as_bytes(), &[there, gone]).unwrap();
            assert_eq!(valid, BTreeSet::from([there.to_owned()]), "{answer}");
        }
        for none in ["", "null", "error: unrecognised flag"] {
            assert_eq!(valid_in(none.as_bytes(), &[there]), None, "{none}");
        }
    }
}
