//! Where a machine's memory is.

use std::os::fd::{AsFd, OwnedFd};

use super::calls::Zone;
use super::landlock;
use crate::Ram;
use crate::microvm::given::MEMORY;

/// The name of its only zone.
const ZONE: &str = "ram";

/// A machine's memory.
#[derive(Debug)]
pub(super) struct Memory {
    /// The file that it is in, or is as it was in; `None`: Cloud Hypervisor has one of its own.
    pub(super) file: Option<OwnedFd>,
    kept: Kept,
    /// Bytes.
    pub(super) bytes: u64,
}

/// Where what a guest writes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// In a file of Cloud Hypervisor's: of that it saves only what was ever touched.
    Own,
    /// In the file that it was given: there is nothing to save.
    Given,
    /// In its process; what is not written is shared with all that map the same file.
    Private,
}

impl Memory {
    /// Of this many bytes.
    pub(super) fn new(ram: Ram, bytes: u64) -> Self {
        let (file, kept) = match ram {
            Ram::Own => (None, Kept::Own),
            Ram::Shared(file) => (Some(file), Kept::Given),
            Ram::Private(file) => (Some(file), Kept::Private),
        };
        Self { file, kept, bytes }
    }

    /// As Cloud Hypervisor is told of it.
    pub(super) fn zone(&self) -> Zone {
        Zone {
            id: ZONE,
            size: self.bytes,
            file: (self.kept != Kept::Own).then_some(MEMORY),
            shared: self.kept != Kept::Private,
        }
    }

    /// Whether it is in the file that it was given.
    pub(super) fn is_given(&self) -> bool {
        self.kept == Kept::Given
    }

    /// Whether Landlock can let a VMM have it.
    pub(super) fn takes_rule(&self) -> bool {
        self.file
            .as_ref()
            .is_none_or(|file| !landlock::takes_no_rule(file.as_fd()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_written_to_a_given_file_is_kept_there() {
        let file = || tempfile::tempfile().unwrap().into();
        let cases = [
            (Ram::Own, None, true, false),
            (Ram::Shared(file()), Some("memory"), true, true),
            (Ram::Private(file()), Some("memory"), false, false),
        ];
        for (ram, name, shared, is_given) in cases {
            let memory = Memory::new(ram, 4096);
            let zone = memory.zone();
            assert_eq!(
                (zone.file, zone.shared, memory.is_given()),
                (name, shared, is_given)
            );
            assert!(memory.takes_rule());
        }
    }
}
