//! What the kernel's command line says of the root.

use crate::arguments::{disks, of_the_kernel, value};

/// Where the root is, and what is to be done with it: `attest.NAME=VALUE` on the kernel's command
/// line. Disks are named by their serial numbers, or by their places in `attest.disks`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `attest.root`: the disk.
    pub root: String,
    /// `attest.partition`: which of its partitions; none is the whole disk.
    pub partition: Option<u32>,
    /// `attest.rootfstype`: its file system; tried out when it is not said.
    pub filesystem: Option<String>,
    /// `attest.upper`: where what is written goes.
    pub upper: Upper,
    /// `attest.modules`: a disk with the modules of the kernel that runs, for a root without.
    pub modules: Option<String>,
    /// `attest.init`: the system's init; looked for in the usual places when it is not said.
    pub init: Option<String>,
    /// `attest.disks`: the disks in the order of the devices, where they have no serial numbers.
    pub disks: Vec<String>,
}

/// Where what is written to the root goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upper {
    /// To the root itself: the host sees to it that no image is changed.
    Root,
    /// Into memory, by an overlay.
    Memory,
    /// To a disk with an empty ext4, by an overlay.
    Disk(String),
}

impl Options {
    /// Read them; `None` when they name no root, as for the built-in guest.
    pub fn parse(command_line: &str) -> Option<Self> {
        let text = |name: &str| value(command_line, name).map(str::to_owned);
        Some(Self {
            root: text("root")?,
            partition: text("partition").and_then(|number| number.parse().ok()),
            filesystem: text("rootfstype"),
            upper: match value(command_line, "upper") {
                None | Some("memory") => Upper::Memory,
                Some("root") => Upper::Root,
                Some(disk) => Upper::Disk(disk.to_owned()),
            },
            modules: text("modules"),
            init: text("init"),
            disks: disks(command_line),
        })
    }

    /// Those of the kernel that runs.
    pub fn of_the_kernel() -> Option<Self> {
        Self::parse(&of_the_kernel())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_without_a_root_is_the_built_in_guests() {
        assert_eq!(Options::parse("console=ttyS0 quiet root=/dev/vda"), None);
        assert_eq!(Options::parse("attest.upper=memory"), None);
    }

    #[test]
    fn the_last_of_each_counts() {
        let options = Options::parse(
            "quiet attest.root=a attest.root=root attest.partition=2 attest.rootfstype=ext4 \
             attest.upper=scratch attest.modules=modules attest.init=/sbin/openrc-init \
             attest.disks=root,scratch\n",
        );
        let expected = Options {
            root: "root".to_owned(),
            partition: Some(2),
            filesystem: Some("ext4".to_owned()),
            upper: Upper::Disk("scratch".to_owned()),
            modules: Some("modules".to_owned()),
            init: Some("/sbin/openrc-init".to_owned()),
            disks: vec!["root".to_owned(), "scratch".to_owned()],
        };
        assert_eq!(options, Some(expected));
        let least = Options::parse("attest.root=root").unwrap();
        assert_eq!((least.upper, least.init), (Upper::Memory, None));
        let direct = Options::parse("attest.root=root attest.upper=root").unwrap();
        assert_eq!(direct.upper, Upper::Root);
    }
}
