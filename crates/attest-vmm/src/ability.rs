//! What only some backends can.

use crate::{Accelerator, Jailer};

/// Something that a machine may be asked for, and that not every backend can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ability {
    /// Boot an image, which no run changes.
    Image,
    /// A kernel of its own, with arguments of its own.
    Kernel,
    /// Memory and processors of its own size.
    Size,
    /// Disks beside the root.
    Disks,
    /// Cards on the lab's networks.
    Networks,
    /// A console, from the first byte.
    Console,
    /// A wall clock of its own.
    Clock,
    /// Boot again, through the guest's own shutdown.
    Reboot,
    /// Off, through the guest's own shutdown.
    PowerOff,
    /// Stop and continue its processors.
    Pause,
    /// Be saved as it is, and go on from there any number of times.
    Snapshots,
}

impl Ability {
    /// All, in the order of tables.
    pub const ALL: [Self; 11] = [
        Self::Image,
        Self::Kernel,
        Self::Size,
        Self::Disks,
        Self::Networks,
        Self::Console,
        Self::Clock,
        Self::Reboot,
        Self::PowerOff,
        Self::Pause,
        Self::Snapshots,
    ];

    /// As messages and tables have it: a backend has it, or has none.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Kernel => "kernel of its own",
            Self::Size => "memory and processors of its own",
            Self::Disks => "disks",
            Self::Networks => "networks of the lab",
            Self::Console => "console",
            Self::Clock => "clock of its own",
            Self::Reboot => "reboots",
            Self::PowerOff => "power-offs",
            Self::Pause => "pauses",
            Self::Snapshots => "snapshots",
        }
    }
}

/// What a machine needs of its backend and of this host, before anything is started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Whose.
    pub machine: String,
    /// What its manifest asks for.
    pub abilities: Vec<Ability>,
    /// The accelerator that was asked for.
    pub accelerator: Option<Accelerator>,
    /// Whether its VMM is to be in a jail.
    pub jailer: Jailer,
}
