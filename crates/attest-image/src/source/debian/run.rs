//! `mmdebstrap` itself: what it is told, what it says, and the archive that it writes.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{ChildStderr, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use super::apt::{self, Sources};
use super::{Debian, DebianError, MINIMAL};
use crate::error::ImageError;
use crate::progress::Step;
use crate::sandbox::{Sandboxed, is_root};
use crate::source::tar::{Plain, TarError, unpack};
use crate::tree::{Spool, Tree};

/// Lines of its output that are kept for an error.
const LINES: usize = 200;
/// Bytes of a line that are read.
const LONGEST_LINE: u64 = 4096;
/// Errors that are told.
const TOLD: usize = 6;

pub(super) fn mmdebstrap(
    debian: &Debian,
    sources: &Sources,
    directory: &Path,
    progress: &mut dyn FnMut(Step),
) -> Result<Tree, ImageError> {
    let failed = |source| ImageError::Debian {
        suite: debian.suite.clone(),
        source,
    };
    // It keeps to itself what it makes; the directory is removed with what a killed one leaves.
    let work = tempfile::tempdir_in(directory);
    let work = work.map_err(ImageError::file(
        directory,
        "no directory can be made there",
    ))?;
    progress(Step::new(format!("making the Debian {}", debian.suite)));
    let command = command(debian, sources, work.path());
    let mut running = Sandboxed::start(command, None).map_err(|error| {
        failed(match error.kind() {
            io::ErrorKind::NotFound => DebianError::Missing,
            _ => DebianError::Start(error),
        })
    })?;
    if let Some(mut stdin) = running.child.stdin.take() {
        // It is shorter than a pipe; what ended before reading it says why.
        let _ = stdin.write_all(sources.text().unwrap_or_default().as_bytes());
    }
    let output = running.child.stdout.take().expect("its output is a pipe");
    let words = running.child.stderr.take().expect("its words are a pipe");
    let unpack = || {
        let mut tree = Tree::new();
        let mut spool = Spool::new(directory)?;
        let unpacked = unpack(output, &mut Plain(&mut tree), &mut spool);
        unpacked.map(|()| tree).map_err(|error| match error {
            TarError::Spool { source, .. } => {
                ImageError::file(directory, "the system cannot be unpacked")(source)
            }
            error => failed(DebianError::Archive(error)),
        })
    };
    let (tree, words) = thread::scope(|scope| {
        let (sender, lines) = mpsc::channel();
        let unpacking = scope.spawn(unpack);
        scope.spawn(move || read(words, &sender));
        let words = listen(&lines, progress);
        (unpacking.join(), words)
    });
    let tree = tree.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let status = running.wait().map_err(|e| failed(DebianError::Start(e)))?;
    // It may have failed for the reader did.
    match (status.success(), tree) {
        (true, tree) => tree,
        (false, Err(error @ (ImageError::Full { .. } | ImageError::File { .. }))) => Err(error),
        (false, _) => Err(failed(explain(debian, sources, &words))),
    }
}

fn command(debian: &Debian, sources: &Sources, work: &Path) -> Command {
    let mut command = Command::new("mmdebstrap");
    let packages = MINIMAL.into_iter();
    let packages = packages.chain(debian.packages.iter().map(String::as_str));
    let packages: Vec<&str> = packages.collect();
    command
        .args(["--variant=minbase", "--format=tar", "--verbose"])
        .arg(format!(
            "--mode={}",
            if is_root() { "root" } else { "auto" }
        ))
        .arg(format!("--include={}", packages.join(",")))
        // Its words are read.
        .env("LC_ALL", "C")
        .env("TMPDIR", work)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if is_root() {
        // The user `_apt` may not enter the cache, which is its owner's only.
        command.arg("--aptopt=APT::Sandbox::User \"root\"");
    }
    for option in apt::options() {
        command.arg(format!("--aptopt={option}"));
    }
    if let Sources::Default = sources {
        let components = debian.components.join(",");
        command.arg(format!("--components={components}"));
    }
    command.arg(&debian.suite).arg("-");
    if let Sources::Lines(_) = sources {
        command.arg("-");
    }
    command
}

fn read(words: ChildStderr, sender: &mpsc::Sender<String>) {
    let mut words = BufReader::new(words);
    let mut line = Vec::new();
    loop {
        line.clear();
        let count = words
            .by_ref()
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line);
        if count.is_ok_and(|count| count == 0) {
            return;
        }
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        if sender.send(text).is_err() {
            return;
        }
    }
}

/// Hear it to its end; its last lines.
fn listen(lines: &mpsc::Receiver<String>, progress: &mut dyn FnMut(Step)) -> VecDeque<String> {
    let mut kept = VecDeque::new();
    let mut steps = Steps::default();
    for line in lines {
        if let Some(step) = steps.of(&line) {
            progress(Step::new(step));
        }
        if kept.len() == LINES {
            kept.pop_front();
        }
        kept.push_back(line);
    }
    kept
}

/// What is done, by what it says.
#[derive(Debug, Default)]
struct Steps {
    fetched: usize,
    unpacked: usize,
}

impl Steps {
    fn of(&mut self, line: &str) -> Option<String> {
        if let Some(stage) = line.strip_prefix("I: ") {
            let stage = stage.trim_end_matches('.');
            let is_stage = stage.contains("ing ") && !stage.contains("tempdir");
            return is_stage.then(|| stage.to_owned());
        }
        let (count, what) = match line.split(' ').next()? {
            "Unpacking" => (&mut self.unpacked, "unpacking packages"),
            verb if verb.starts_with("Get:") => (&mut self.fetched, "fetching packages"),
            _ => return None,
        };
        *count += 1;
        // They are many, and each is quick.
        count
            .is_multiple_of(10)
            .then(|| format!("{what} ({count})"))
    }
}

/// The cause, by the words of apt.
fn explain(debian: &Debian, sources: &Sources, words: &VecDeque<String>) -> DebianError {
    let errors = words.iter().filter_map(|line| line.strip_prefix("E: "));
    let mut reasons: Vec<String> = Vec::new();
    for error in errors.map(str::to_owned) {
        // Its own last words, which follow from those before.
        let follows = error.starts_with("mmdebstrap failed") || error.contains(" failed: ");
        if !follows && !error.ends_with(" failed") && !reasons.contains(&error) {
            reasons.push(error);
        }
    }
    if reasons.is_empty() {
        let said = words.iter().filter(|line| !line.is_empty());
        let last = said.skip(words.len().saturating_sub(TOLD)).cloned();
        reasons = last.collect();
    }
    let packages: Vec<String> = reasons
        .iter()
        .filter_map(|reason| reason.strip_prefix("Unable to locate package "))
        .map(|package| format!("`{package}`"))
        .collect();
    let any = |texts: &[&str]| {
        let lines = words.iter();
        lines
            .into_iter()
            .any(|line| texts.iter().any(|text| line.contains(text)))
    };
    let unreachable = [
        "Could not resolve",
        "Temporary failure resolving",
        "Could not connect",
        "Unable to connect",
        "Connection timed out",
        "Connection refused",
        "Network is unreachable",
        "connection timed out",
    ];
    reasons.truncate(TOLD);
    if !packages.is_empty() {
        let suite = debian.suite.clone();
        DebianError::Packages { suite, packages }
    } else if any(&unreachable) {
        DebianError::Unreachable { reasons }
    } else if any(&[
        "does not have a Release file",
        "404  Not Found",
        "File not found",
    ]) {
        DebianError::Suite {
            suite: debian.suite.clone(),
            mirrors: mirrors(sources),
            reasons,
        }
    } else if any(&[
        "unable to pick chroot mode",
        "is not in /etc/subuid",
        "have to be root",
    ]) {
        DebianError::Rights { reasons }
    } else {
        DebianError::Failed { reasons }
    }
}

fn mirrors(sources: &Sources) -> Vec<String> {
    let Sources::Lines(lines) = sources else {
        return vec!["mmdebstrap's own mirror".to_owned()];
    };
    let words = lines.iter().flat_map(|line| line.split(' '));
    let mut mirrors: Vec<String> = words
        .filter(|word| word.contains("://"))
        .map(str::to_owned)
        .collect();
    mirrors.dedup();
    mirrors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(words: &[&str]) -> DebianError {
        let debian = Debian {
            suite: "stable".to_owned(),
            packages: Vec::new(),
            mirror: None,
            components: Vec::new(),
        };
        let sources = Sources::Lines(vec![
            "deb [x] http://a.example/debian stable main".to_owned(),
        ]);
        let words = words.iter().map(ToString::to_string).collect();
        explain(&debian, &sources, &words)
    }

    #[test]
    fn steps_are_told_and_not_too_often() {
        let mut steps = Steps::default();
        assert_eq!(
            steps.of("I: extracting archives...").as_deref(),
            Some("extracting archives")
        );
        assert_eq!(steps.of("I: removing tempdir /x..."), None);
        assert_eq!(steps.of("I: done"), None);
        let told = (0..25).filter_map(|_| steps.of("Unpacking libc6:amd64 (2.36) ..."));
        assert_eq!(told.last().as_deref(), Some("unpacking packages (20)"));
    }

    #[test]
    fn the_cause_comes_first() {
        let packages = explained(&[
            "Reading package lists...",
            "E: Unable to locate package nginz",
            "E: apt-get --yes install failed",
            "E: mmdebstrap failed to run",
        ]);
        assert_eq!(
            packages.to_string(),
            "the suite `stable` has no package `nginz`"
        );
        let unreachable = explained(&[
            "Err:1 http://a.example/debian stable InRelease",
            "E: Failed to fetch http://a.example/x  Could not connect to a.example:80",
            "E: mmdebstrap failed to run",
        ]);
        assert!(matches!(unreachable, DebianError::Unreachable { .. }));
        let suite = explained(&[
            "E: The repository 'http://a.example/debian x' does not have a Release file.",
        ]);
        assert!(
            suite
                .to_string()
                .starts_with("there is no suite `stable` at http://a.example/debian"),
            "{suite}"
        );
        let other = explained(&["something", "W: odd", "E: mmdebstrap failed to run"]);
        assert!(other.to_string().contains("W: odd"), "{other}");
    }
}
