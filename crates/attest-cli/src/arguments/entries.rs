//! The command line for what is kept: images, and snapshots.

use std::path::PathBuf;
use std::time::Duration;

use attest::manifest::Size;
use clap::{Args, Subcommand};

use super::{Format, duration};

#[derive(Debug, Args)]
#[command(after_help = "\
An entry is named as `attest image ls` names it, or by as much of its name, or of what stands
behind the last dash of it, as no other has.

Examples:
  attest image build
  attest image ls
  attest image inspect root-3fa1
  attest image rm 3fa1
  attest image gc --unused-for 7d --max-size 10G
  attest image verify")]
pub(crate) struct Image {
    #[command(subcommand)]
    pub(crate) command: ImageCommand,
    /// Cache directory [default: $XDG_CACHE_HOME/attest or ~/.cache/attest]
    #[arg(long, global = true, value_name = "DIR", env = "ATTEST_CACHE")]
    pub(crate) cache: Option<PathBuf>,
    /// Form of the output
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORM")]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Build what a manifest declares, or look whether it is there
    Build(ImageBuild),
    /// Write the store of systems that Nix built as one image, which all of them boot from
    Store(ImageStore),
    /// Write the initramfs for a kernel: the agent, and the modules that it takes to find a root
    Initrd(ImageInitrd),
    /// Write a kernel in the form that every VMM starts, an uncompressed ELF (vmlinux)
    Kernel(ImageKernel),
    /// List what is kept, the last used first
    #[command(visible_alias = "list")]
    Ls,
    /// Show what an entry is, and its files
    Inspect(EntryName),
    /// Remove entries that nothing uses
    Rm(EntryNames),
    /// Remove what was not used for long, or is too much
    Gc(ImageGc),
    /// Compare files with the digests that they had when they were made
    Verify(AnyEntries),
}

#[derive(Debug, Args)]
#[command(after_help = "\
What is built already is not built again. `attest run` builds what it needs by itself.

Examples:
  attest image build
  attest image build examples/load-balancer
  attest image build examples/load-balancer web proxy")]
pub(crate) struct ImageBuild {
    /// The manifest, or its directory
    #[arg(default_value = ".", value_name = "PATH")]
    pub(crate) manifest: PathBuf,
    /// Images of it [default: all]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A closure is a directory that `closureInfo` made, or a file in which Nix lists one: a graph of
`exportReferencesGraph`, or the JSON of structured attributes with graphs in it. Manifests name what
is written as the `disk` of an image, and the system of the store that it starts as its `init`.

Examples:
  attest image store --closure ./result -o store.erofs
  attest image store --closure \"$NIX_ATTRS_JSON_FILE\" --at-most 2G -o store.erofs")]
pub(crate) struct ImageStore {
    /// What is in it; several share what they have in common
    #[arg(long, required = true, value_name = "PATH")]
    pub(crate) closure: Vec<PathBuf>,
    /// Write nothing that is larger, as 512M or 2G [default: no limit]
    #[arg(long, value_name = "SIZE")]
    pub(crate) at_most: Option<Size>,
    /// Whose limit that is, for the message
    #[arg(long, value_name = "TEXT", requires = "at_most")]
    pub(crate) limit_of: Option<String>,
    /// The image, which is not there yet
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
attest makes the same by itself where an image names none. Manifests name it as `initrd` of an
image, beside the `kernel` that it was made for.

Examples:
  attest image initrd --kernel /boot/vmlinuz -o initrd
  attest image initrd --kernel result/bzImage --modules result/lib/modules/6.12.1 -o initrd")]
pub(crate) struct ImageInitrd {
    /// The kernel, a bzImage or vmlinux
    #[arg(long, value_name = "FILE")]
    pub(crate) kernel: PathBuf,
    /// Its modules, the directory with `modules.dep` [default: looked for beside the kernel, and in
    /// /lib/modules]
    #[arg(long, value_name = "DIR")]
    pub(crate) modules: Option<PathBuf>,
    /// The initramfs
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  attest image kernel /boot/vmlinuz -o vmlinux
  attest image kernel result/bzImage -o vmlinux")]
pub(crate) struct ImageKernel {
    /// The kernel, a bzImage or vmlinux
    #[arg(value_name = "KERNEL")]
    pub(crate) kernel: PathBuf,
    /// The vmlinux
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct EntryName {
    /// The entry
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct EntryNames {
    /// The entries
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
What is in use, or was within the last ten minutes, stays in any case. What was removed is built
anew when it is needed.

Examples:
  attest image gc
  attest image gc --unused-for 7d
  attest image gc --max-size 10G")]
pub(crate) struct ImageGc {
    #[command(flatten)]
    pub(crate) clearing: Clearing,
}

/// What may stay.
#[derive(Debug, Args)]
pub(crate) struct Clearing {
    /// Remove what was not used for so long, as 12h or 7d [default: 30d, where no size is given]
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) unused_for: Option<Duration>,
    /// Keep so much in all, as 500M or 10G, the last used first
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_size: Option<Size>,
}

#[derive(Debug, Args)]
pub(crate) struct AnyEntries {
    /// The entries [default: all]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Snapshots are kept in memory where they fit (in $XDG_RUNTIME_DIR/attest or /dev/shm), else on disk
below the cache directory. ATTEST_SNAPSHOTS_DIR names another directory in place of the memory;
ATTEST_SNAPSHOTS_SIZE says how much they may take in each of the two [default: a quarter of the
memory, and 10G on disk]. When there are more, the least recently used go.

Examples:
  attest snapshot ls
  attest snapshot inspect 3fa1
  attest snapshot rm 3fa1
  attest snapshot gc --unused-for 1d
  attest snapshot verify")]
pub(crate) struct Snapshot {
    #[command(subcommand)]
    pub(crate) command: SnapshotCommand,
    /// Cache directory [default: $XDG_CACHE_HOME/attest or ~/.cache/attest]
    #[arg(long, global = true, value_name = "DIR", env = "ATTEST_CACHE")]
    pub(crate) cache: Option<PathBuf>,
    /// Form of the output
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORM")]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// List what is kept, the last used first
    #[command(visible_alias = "list")]
    Ls,
    /// Show what a snapshot is, its files, and what it was made of
    Inspect(EntryName),
    /// Remove snapshots that nothing uses
    Rm(EntryNames),
    /// Remove what is broken, was not used for long, or is too much
    Gc(SnapshotGc),
    /// Compare files with the digests that they had when they were made
    Verify(AnyEntries),
}

#[derive(Debug, Args)]
#[command(after_help = "\
What is in use stays in any case. What was removed is made anew when it is needed.

Examples:
  attest snapshot gc
  attest snapshot gc --unused-for 1d
  attest snapshot gc --max-size 2G")]
pub(crate) struct SnapshotGc {
    #[command(flatten)]
    pub(crate) clearing: Clearing,
}
