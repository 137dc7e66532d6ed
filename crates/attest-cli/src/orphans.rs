//! What scripts start and leave behind: it ends with attest.

use std::fs;

use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

/// Become the parent of whatever loses its own from now on.
pub(crate) fn adopt() {
    // A kernel that cannot leaves them to init, as ever.
    let _ = set_child_subreaper(true);
}

/// Kill all children of this process, and theirs. It is for its end: nothing else of it may have
/// children that it needs.
pub(crate) fn end() {
    loop {
        let children = children();
        if children.is_empty() {
            return;
        }
        for child in children {
            let _ = kill(child, Signal::SIGKILL);
            // Its own children are ours from then on.
            let _ = waitpid(child, None);
        }
    }
}

/// Children of all our threads; none where the kernel does not list them.
fn children() -> Vec<Pid> {
    let Ok(threads) = fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| {
            let numbers = list.split_whitespace().map(str::parse);
            numbers.flatten().map(Pid::from_raw).collect::<Vec<_>>()
        })
        .collect()
}
