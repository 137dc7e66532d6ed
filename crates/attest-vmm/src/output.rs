//! What a VMM says on stdout and stderr: kept in a log, with the last words at hand.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::watch;

/// What a VMM says.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    kept: Arc<Mutex<Kept>>,
    ended: watch::Receiver<bool>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<String>,
    faulted: bool,
}

/// Lines kept for errors.
const LINES: usize = 20;

/// Longest line that is kept, in bytes.
const LONGEST: u64 = 4096;

impl Output {
    /// Drain the pipe, for the VMM must never block on it; each line is heard.
    pub(crate) fn follow(
        pipe: OwnedFd,
        log: Option<PathBuf>,
        mut hear: Box<dyn FnMut(&str) + Send>,
    ) -> std::io::Result<Self> {
        let mut pipe = BufReader::new(pipe::Receiver::from_owned_fd(pipe)?);
        let kept = Arc::<Mutex<Kept>>::default();
        let (sender, ended) = watch::channel(false);
        let keeping = Arc::clone(&kept);
        tokio::spawn(async move {
            // Without its log a machine can still run.
            let mut log = log.and_then(|path| File::create(path).ok());
            let mut line = Vec::new();
            while let Ok(1..) = (&mut pipe).take(LONGEST).read_until(b'\n', &mut line).await {
                if let Some(file) = &mut log {
                    let _ = file.write_all(&line);
                }
                let text = String::from_utf8_lossy(&line);
                hear(text.trim());
                keeping.lock().expect("not poisoned").push(text.trim());
                line.clear();
            }
            sender.send_replace(true);
        });
        Ok(Self { kept, ended })
    }

    /// Resolves when the VMM has closed it.
    pub(crate) async fn at_end(&self) {
        let mut ended = self.ended.clone();
        // An error would mean that nothing follows it any more.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// What it said last, as one line; call it after [`Self::at_end`].
    pub(crate) fn last_words(&self) -> String {
        let kept = self.kept.lock().expect("not poisoned");
        let words: Vec<&str> = kept.lines.iter().map(String::as_str).collect();
        if words.is_empty() {
            "it said nothing".to_owned()
        } else {
            words.join("; ")
        }
    }

    /// Whether QEMU told of a triple fault. Where it is a reset, no registers follow.
    pub(crate) fn faulted(&self) -> bool {
        self.kept.lock().expect("not poisoned").faulted
    }
}

impl Kept {
    fn push(&mut self, line: &str) {
        self.faulted |= line == "Triple fault";
        if line.is_empty() || is_dump(line) || is_news(line) {
            return;
        }
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line.to_owned());
    }
}

/// Whether a line of Firecracker's log, or of Cloud Hypervisor's, tells that all goes well, or only where in a program
/// without symbols something did not.
fn is_news(line: &str) -> bool {
    line.contains(":INFO] ")
        || line.contains("> INFO:")
        || line == "Stack backtrace:"
        || line.contains(": <unknown>")
}

/// Whether a line belongs to the register dumps of `-d cpu_reset`, which are no words.
fn is_dump(line: &str) -> bool {
    let register = |name: &str| {
        let name = name.trim();
        (2..=6).contains(&name.len())
            && name
                .chars()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
    };
    line == "Triple fault"
        || line.starts_with("CPU Reset")
        || line.split_once('=').is_some_and(|(name, _)| register(name))
        // The second line of vector registers has no name of its own.
        || line.chars().all(|c| c.is_ascii_hexdigit() || c == ' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dumps_are_no_words_but_a_fault_is_seen() {
        let mut kept = Kept::default();
        for line in [
            "CPU Reset (CPU 0)",
            "EAX=00000000 EBX=00000000",
            "EIP=0000fff0 EFL=00000002",
            "ES =0000 00000000 0000ffff 00009300",
            "FCW=037f FSW=0000 [ST=0] FTW=00 MXCSR=00001f80",
            "XMM00=0000000000000000 0000000000000000 XMM01=0000000000000000 0000000000000000",
            "Triple fault",
            "CPU Reset (CPU 1)",
            "RAX=0000000000000002 RBX=ffffffff81e4a4c0",
            "RIP=ffffffff8102f3c1 RFL=00000002 [-------] CPL=0 II=0",
            "RIP=0000000000000000 RFL=00000002 [-------] CPL=0 II=0",
            "qemu-system-x86_64: the end",
        ] {
            kept.push(line);
        }
        assert_eq!(kept.lines, ["qemu-system-x86_64: the end"]);
        assert!(kept.faulted);
    }

    #[test]
    fn news_are_no_words() {
        let mut kept = Kept::default();
        for line in [
            "2026-11-28T10:26:07.2 [vm:main:INFO] Running",
            "cloud-hypervisor:   0.017983s: <vmm> INFO:vmm/src/lib.rs:2080 -- VM exit event",
            "cloud-hypervisor:   0.017758s: <vcpu0> ERROR:vmm/src/cpu.rs:1460 -- VCPU generated error",
            "Stack backtrace:",
            "0: <unknown>",
            "12: <unknown>)",
        ] {
            kept.push(line);
        }
        assert_eq!(kept.lines.len(), 1, "{:?}", kept.lines);
        assert!(kept.lines[0].contains("ERROR"));
    }

    #[test]
    fn only_the_last_words_are_kept() {
        let mut kept = Kept::default();
        for number in 0..100 {
            kept.push(&format!("qemu-system-x86_64: {number}"));
        }
        assert_eq!(kept.lines.len(), LINES);
        assert_eq!(kept.lines[LINES - 1], "qemu-system-x86_64: 99");
    }
}
