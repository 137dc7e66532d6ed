//! What runs, and how it ends.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use crate::{BoxFuture, Launched, Monitor, VmmError};

/// A machine that runs.
pub trait Running: fmt::Debug + Send + Sync {
    /// The VMM's process number on the host.
    fn pid(&self) -> u32;

    /// Resolves when the machine has ended, with how. May be asked any number of times.
    fn ended(&self) -> BoxFuture<'_, Ending>;

    /// End it at once, like pulling the plug; returns when the process is gone.
    fn kill(&self) -> BoxFuture<'_, ()>;

    /// How a guest boots again.
    fn reboots(&self) -> Reboots<'_>;

    /// Stop and continue the virtual CPUs, where the backend can.
    fn pause(&self) -> Option<&dyn Pause>;

    /// Take memory back from the guest, where the machine has a balloon.
    fn balloon(&self) -> Option<&dyn Balloon> {
        None
    }

    /// Save and load what the machine is, where the backend can.
    fn saves(&self) -> Option<&dyn Saves> {
        None
    }

    /// QEMU's monitors, where there is a QEMU.
    fn monitor(&self) -> Option<&dyn Monitor> {
        None
    }
}

/// How a guest boots again.
pub enum Reboots<'a> {
    /// What runs it goes on running.
    InPlace(&'a dyn InPlace),
    /// What runs it ends with [`EndingKind::Reset`], and is to be started again.
    Anew,
    /// Not by us.
    Never,
}

/// A guest that boots again in what runs it.
pub trait InPlace: Send + Sync {
    /// Whether a reset by the guest boots it again (true) or ends the machine (false, the start).
    fn allow_reboot(&self, allow: bool) -> BoxFuture<'_, Result<(), VmmError>>;
}

/// Stop and continue virtual CPUs.
pub trait Pause: Send + Sync {
    /// Stop them.
    fn pause(&self) -> BoxFuture<'_, Result<(), VmmError>>;
    /// Continue.
    fn resume(&self) -> BoxFuture<'_, Result<(), VmmError>>;
}

/// A device that takes memory back from the guest while it runs: the guest's driver hands pages over, and does
/// not use them until it is given them back.
pub trait Balloon: Send + Sync {
    /// Let it grow, or shrink, to so many bytes; 0 gives all back. VMMs count in MiB, and round down. Returns when
    /// the guest has been told, not when it has done it: that is what [`BalloonStatistics::actual`] says.
    fn inflate(&self, bytes: u64) -> BoxFuture<'_, Result<(), VmmError>>;

    /// How large it is, and what the guest last said of its memory.
    fn statistics(&self) -> BoxFuture<'_, Result<BalloonStatistics, VmmError>>;
}

/// A balloon, and what the guest's driver says of its memory: section 5.5.6.4 of the Virtual I/O Device standard
/// (version 1.2). `None` is what the guest or its VMM does not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BalloonStatistics {
    /// What it is to be, bytes.
    pub target: u64,
    /// What it is, bytes: this much the guest has handed over.
    pub actual: u64,
    /// Memory that is used for nothing at all, bytes.
    pub free: Option<u64>,
    /// What programs could still get without swapping, bytes.
    pub available: Option<u64>,
    /// All of the guest's memory, bytes.
    pub total: Option<u64>,
    /// What could be dropped at once, as it is on disks, too, bytes.
    pub disk_caches: Option<u64>,
    /// What was swapped in since the guest booted, bytes.
    pub swap_in: Option<u64>,
    /// What was swapped out since the guest booted, bytes.
    pub swap_out: Option<u64>,
    /// Page faults that had to read from a disk, since the guest booted.
    pub major_faults: Option<u64>,
    /// All other page faults since the guest booted.
    pub minor_faults: Option<u64>,
}

/// Save what a machine is, and become what another was.
pub trait Saves: Send + Sync {
    /// Whether a machine that was saved is still whole: it may be resumed, and nothing has to take its place.
    fn goes_on(&self) -> bool {
        false
    }

    /// The file that its memory is in, where the VMM was given none ([`crate::Ram::Shared`]) and has one of its own.
    fn memory(&self) -> Option<io::Result<File>> {
        None
    }

    /// Write the state of a paused machine into a file, from its start. Where [`Self::goes_on`] is false, the machine
    /// lets go of its disks, whose files are then complete; it is to be killed, not resumed.
    ///
    /// Returns the file with its memory, where the VMM made one for that.
    fn save(&self, to: OwnedFd, what: Saved) -> BoxFuture<'_, Result<Option<File>, VmmError>>;

    /// Become what was saved in this file, on a machine that waits for it; it is paused then.
    fn load(&self, from: OwnedFd, what: Saved) -> BoxFuture<'_, Result<(), VmmError>>;
}

/// What a saved state has in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// Processors and devices: the memory is in a file of its own ([`crate::Ram::Shared`]).
    Devices,
    /// The memory, too, wherever it is.
    All,
}

/// How a machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The kind.
    pub kind: EndingKind,
    /// One line: exit code, signal, the VMM's last words.
    pub detail: String,
}

/// The kinds of [`Ending`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndingKind {
    /// [`Running::kill`] was called.
    Killed,
    /// The guest powered off.
    PoweredOff,
    /// The guest asked for a reset where none was allowed.
    Reset,
    /// The guest's kernel panicked.
    Panic,
    /// Triple fault.
    TripleFault,
    /// The VMM failed by itself or was killed by someone else.
    VmmCrashed,
    /// The connection to a host ended.
    Disconnected,
    /// The lab process died, and the VMM with it.
    LabEnded,
}

/// SIGKILL's number, the same on every Linux.
pub(crate) const SIGKILL: i32 = 9;

/// End a program at once, and let it be known that this was asked for.
pub(crate) fn kill<'a>(process: &'a dyn Launched, killed: &AtomicBool) -> BoxFuture<'a, ()> {
    killed.store(true, Ordering::SeqCst);
    process.signal(SIGKILL);
    Box::pin(async move {
        process.exited().await;
    })
}

/// How a machine ended, from who finds it out.
pub(crate) fn known(ending: &watch::Receiver<Option<Ending>>) -> BoxFuture<'static, Ending> {
    let mut ending = ending.clone();
    Box::pin(async move {
        let known = ending.wait_for(Option::is_some).await;
        known
            .ok()
            .and_then(|known| known.clone())
            // Who finds it out goes without a word only with the whole driver.
            .unwrap_or_else(|| Ending {
                kind: EndingKind::LabEnded,
                detail: "the driver is ending".to_owned(),
            })
    })
}
