//! What can go wrong with images.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use crate::cache::Holds;
use crate::customize::CustomizeError;
use crate::init::InitError;
use crate::modules::ModuleError;
use crate::source::{DebianError, NixError, OciError, TarError};
use crate::tree::TreeError;

/// Bytes, as people read them; a part of a MiB is a whole one.
pub(crate) struct Mebibytes(pub(crate) u64);

impl fmt::Display for Mebibytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.0.div_ceil(1 << 20))
    }
}

/// What can go wrong with images.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A file or directory failed.
    #[error("{}: {action}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// No kernel.
    #[error(
        "no kernel: /boot has none with its modules, and none can be fetched here ({reason}); install your \
         distribution's kernel package, or give one with --kernel FILE"
    )]
    NoKernel {
        /// Why none can be fetched.
        reason: String,
    },
    /// A kernel that cannot be used.
    #[error("the kernel {} cannot be used: {reason}", path.display())]
    Kernel {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A kernel that a VMM does not start as it is, and that attest cannot unpack.
    #[error(
        "the kernel {} cannot be booted by {vmm}, which needs an uncompressed one (vmlinux, an ELF): {reason}; unpack it \
         with `scripts/extract-vmlinux` of Linux's sources and give that file as `kernel`, or leave `kernel` out", path.display()
    )]
    NoVmlinux {
        /// Which.
        path: PathBuf,
        /// Whose need it is.
        vmm: &'static str,
        /// Why attest did not unpack it.
        reason: String,
    },
    /// An image that is larger than it may be.
    #[error("the image takes {}, and may take {}", Mebibytes(*bytes), Mebibytes(*limit))]
    Limit {
        /// What it would take, in bytes.
        bytes: u64,
        /// What it may take, in bytes.
        limit: u64,
    },
    /// A kernel without what the guest needs.
    #[error("the kernel {release} cannot run the bare guest")]
    Modules {
        /// Its release.
        release: String,
        /// Why.
        #[source]
        source: ModuleError,
    },
    /// A module that does not come out of its compression.
    #[error("the module {} is damaged: it does not decompress; install the kernel's package again", path.display())]
    ModuleFile {
        /// Which.
        path: PathBuf,
    },
    /// A program that goes into the guest is missing or of the wrong kind.
    #[error("{program}: {reason}")]
    Program {
        /// Which.
        program: String,
        /// Why, and what to install.
        reason: String,
    },
    /// The disk is full.
    #[error("{}: no space is left; free some, or set ATTEST_CACHE to a directory with more", path.display())]
    Full {
        /// What was written.
        path: PathBuf,
        /// As the system says it.
        #[source]
        source: io::Error,
    },
    /// A size that no disk can have.
    #[error("a disk of {bytes} bytes cannot be made: {reason}")]
    DiskSize {
        /// What was asked for.
        bytes: u64,
        /// Why.
        reason: &'static str,
    },
    /// A disk image that is neither raw nor qcow2.
    #[error(
        "the disk image {} is of the format {format}; make it raw: `qemu-img convert -O raw {} disk.img`",
        path.display(), path.display()
    )]
    DiskFormat {
        /// Which.
        path: PathBuf,
        /// Its format.
        format: &'static str,
    },
    /// A qcow2 image that cannot be used.
    #[error("the disk image {} cannot be used: {reason}", path.display())]
    Qcow2 {
        /// Which.
        path: PathBuf,
        /// Why, and what to do.
        reason: &'static str,
    },
    /// Blocks that cannot be shared.
    #[error(
        "the disk image {} cannot be reflinked: {reason}; leave the choice to attest, or write \
         `copy-on-write = \"qcow2\"`",
        path.display()
    )]
    NoReflink {
        /// Of the image.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A path that cannot be a file of the guest.
    #[error("`{path}` cannot be a file of the guest: {reason}")]
    GuestPath {
        /// As given.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// Something that is not in a tree, or cannot be.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// An archive that is damaged or makes no sense.
    #[error("the archive {archive} cannot be used")]
    Archive {
        /// Which.
        archive: String,
        /// Why.
        #[source]
        source: TarError,
    },
    /// An image for containers that is damaged, incomplete or of another kind.
    #[error("the image {} cannot be used", path.display())]
    Oci {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: OciError,
    },
    /// A path that is no system that Nix built, or one of which something is missing.
    #[error("no NixOS can be taken from {}", path.display())]
    Nix {
        /// As given.
        path: PathBuf,
        /// Why.
        #[source]
        source: NixError,
    },
    /// A system without an init that can be started.
    #[error("the image `{image}` cannot be started")]
    Init {
        /// Its name.
        image: String,
        /// Why.
        #[source]
        source: InitError,
    },
    /// A Debian that cannot be made.
    #[error("the Debian `{suite}` cannot be made")]
    Debian {
        /// Its suite.
        suite: String,
        /// Why.
        #[source]
        source: DebianError,
    },
    /// A declared change that cannot be made.
    #[error(transparent)]
    Customize(#[from] CustomizeError),
    /// An image that is to bring a kernel and has none.
    #[error(
        "the image `{image}` is to bring its own kernel, and has none with its modules; add the package \
         (of Debian: `linux-image-cloud-amd64`), or leave `kernel` out"
    )]
    NoOwnKernel {
        /// Its name.
        image: String,
    },
    /// What only root may do.
    #[error("{what} of the image `{image}` needs root; run attest as root, or leave it out")]
    NeedsRoot {
        /// The image's name.
        image: String,
        /// What was declared.
        what: &'static str,
    },
    /// A command that was to be run in an image.
    #[error(
        "the command `{command}` of the image `{image}` ended with {status}{}",
        last_words(output)
    )]
    Run {
        /// The image's name.
        image: String,
        /// As declared.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its output.
        output: Vec<String>,
    },
    /// A program that makes a file system.
    #[error("the file system of {} cannot be made by `{program}`: {reason}", path.display())]
    FileSystem {
        /// The image.
        path: PathBuf,
        /// Of the host.
        program: &'static str,
        /// Its words, or what to install.
        reason: String,
    },
    /// Something that no image can hold.
    #[error("`{path}` cannot be in an image: {reason}")]
    Unstorable {
        /// Of the tree.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// A file that is no image, or damaged.
    #[error("{} is no image that attest wrote, or damaged: {reason}", path.display())]
    NotAnImage {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// A file that cannot be read, or that changed meanwhile.
    #[error("`{path}` cannot be put into the image")]
    Contents {
        /// Of the tree.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A directory of the host, or something in it, was changed while it was read.
    #[error("{} changed while it was read; leave it alone meanwhile, and try again", path.display())]
    Changed {
        /// Which.
        path: PathBuf,
    },
    /// No such entry of the cache.
    #[error("{of} has no entry `{name}`; `{} ls` lists them", of.command())]
    NoEntry {
        /// Of which caches.
        of: Holds,
        /// As asked for.
        name: String,
    },
    /// A name that does not tell which.
    #[error("{of} has {count} entries whose names begin with `{name}`; name more of it")]
    ManyEntries {
        /// Of which caches.
        of: Holds,
        /// As asked for.
        name: String,
        /// How many.
        count: usize,
    },
    /// An entry that cannot be removed now.
    #[error(
        "the entry `{name}` of {of} is in use; it can be removed when the labs that use it have ended"
    )]
    InUse {
        /// Of which caches.
        of: Holds,
        /// Which.
        name: String,
    },
    /// There is no place for a cache.
    #[error("no cache directory: neither ATTEST_CACHE nor XDG_CACHE_HOME nor HOME is set")]
    NoCacheDirectory,
    /// Others could put there what is booted.
    #[error(
        "the cache directory {} belongs to another user, or others may write to it; `chmod go-w` it, or set \
         ATTEST_CACHE to a directory of your own", path.display()
    )]
    SharedCache {
        /// Which.
        path: PathBuf,
    },
}

fn last_words(output: &[String]) -> String {
    match output {
        [] => "; it said nothing".to_owned(),
        lines => format!("; its last words:\n  {}", lines.join("\n  ")),
    }
}

impl ImageError {
    /// What could not be done with a file of the host.
    pub fn file(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| {
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Self::Full { path, source }
                }
                _ => Self::File {
                    path,
                    action,
                    source,
                },
            }
        }
    }
}
