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
    /// Disks and cards that are no faster than they are told to be.
    RateLimits,
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
    /// Memory that is taken back from the guest while it runs, and what the guest says of its memory.
    Balloon,
    /// The VMM in a jail of its own jailer: another user, another root.
    Jailer,
    /// Be saved as it is, and go on from there any number of times.
    Snapshots,
}

impl Ability {
    /// All, in the order of tables.
    pub const ALL: [Self; 14] = [
        Self::Image,
        Self::Kernel,
        Self::Size,
        Self::Disks,
        Self::Networks,
        Self::RateLimits,
        Self::Console,
        Self::Clock,
        Self::Reboot,
        Self::PowerOff,
        Self::Pause,
        Self::Balloon,
        Self::Jailer,
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
            Self::RateLimits => "rate limits",
            Self::Console => "console",
            Self::Clock => "clock of its own",
            Self::Reboot => "reboots",
            Self::PowerOff => "power-offs",
            Self::Pause => "pauses",
            Self::Balloon => "balloon",
            Self::Jailer => "jailer",
            Self::Snapshots => "snapshots",
        }
    }

    /// What it is, in one line, for tables.
    pub const fn describes(self) -> &'static str {
        match self {
            Self::Image => "boots an image, which no run changes",
            Self::Kernel => "boots the kernel that it is given, with arguments",
            Self::Size => "is given `memory` and `vcpus`",
            Self::Disks => "has disks beside its root",
            Self::Networks => "has cards on the lab's networks",
            Self::RateLimits => "has disks and cards with `rate`",
            Self::Console => "its console is read from the first byte",
            Self::Clock => "has a wall clock of its own",
            Self::Reboot => "boots again, through the guest's own shutdown",
            Self::PowerOff => "is switched off, through the guest's own shutdown",
            Self::Pause => "its processors stop and go on",
            Self::Balloon => "gives memory back while it runs, with `balloon = true`",
            Self::Jailer => "its VMM runs as another user, in a root of its own, with `jailer`",
            Self::Snapshots => "is saved as it is, and goes on from there any number of times",
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
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Bytes.
    pub memory: u64,
    /// Network cards.
    pub cards: usize,
    /// All disks that it will have: those of the user's, the root, the kernel's modules, and what is written to.
    pub disks: usize,
    /// Whether it has a balloon.
    pub balloon: bool,
    /// Bytes of the kernel's command line, without what the backend adds itself.
    pub kernel_arguments: usize,
}
