//! Whether the kernel confines programs to files, and what it cannot confine to.
#![expect(unsafe_code, reason = "a system call that takes no pointer")]

use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What Cloud Hypervisor insists on: `ABI::V3` of its `landlock.rs`, which is Linux 6.2.
const NEEDED: i64 = 3;
/// `LANDLOCK_CREATE_RULESET_VERSION` of linux/landlock.h.
const VERSION: u32 = 1;

/// Whether the kernel has as much of Landlock as is needed.
pub(super) fn is_there() -> bool {
    let none = std::ptr::null::<u8>();
    // SAFETY: with this flag the kernel makes nothing, reads nothing through the pointer, and returns a number
    // (landlock_create_ruleset(2)).
    let version = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_landlock_create_ruleset,
            none,
            0_usize,
            VERSION,
        )
    };
    version >= NEEDED
}

/// Whether a file is one that Landlock takes no rule for: one of the kernel's own, without a file system. That of a
/// memfd shows itself so (memfd_create(2)).
pub(super) fn takes_no_rule(file: BorrowedFd<'_>) -> bool {
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    fs::read_link(name).is_ok_and(|name| name.to_string_lossy().starts_with("/memfd:"))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;

    #[test]
    fn a_file_without_a_file_system_is_known() {
        let memory = memfd_create(c"test", MFdFlags::MFD_CLOEXEC).unwrap();
        assert!(takes_no_rule(memory.as_fd()));
        let file = tempfile::tempfile().unwrap();
        assert!(!takes_no_rule(file.as_fd()));
    }
}
