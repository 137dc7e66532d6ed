//! Processes: those of a build are found by what they descend from, and by their environment.

use std::fs;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The children of all threads of a process.
pub(super) fn children(parent: Pid) -> Vec<Pid> {
    let threads = fs::read_dir(format!("/proc/{parent}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let lists =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let pids = |list: String| -> Vec<Pid> {
        let words = list.split_whitespace().filter_map(|word| word.parse().ok());
        words.map(Pid::from_raw).collect()
    };
    lists.flat_map(pids).collect()
}

/// A process and all that descends from it, parents first.
pub(super) fn tree(root: Pid) -> Vec<Pid> {
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(parent) = tree.get(next) {
        tree.extend(children(*parent));
        next += 1;
    }
    tree
}

/// Whether it builds this derivation: builders have the name in their environment.
pub(super) fn builds(pid: Pid, name: &str) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let mut variables = environment.split(|byte| *byte == 0);
    variables.any(|variable| variable == format!("name={name}").as_bytes())
}

/// Ends all of these at once, in this order.
pub(super) fn end(pids: &[Pid]) {
    for pid in pids {
        match kill(*pid, Signal::SIGKILL) {
            // With its parent, some end by themselves.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => panic!("{pid}: {error}"),
        }
    }
}
