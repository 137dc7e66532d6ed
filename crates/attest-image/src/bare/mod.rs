//! The built-in guest: an initramfs of the agent as PID 1, a static busybox, a static bash where
//! the host has one, and the kernel modules it needs. No image server, no distribution.

mod key;
mod layout;
mod program;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::Choice;
use crate::cache::{self, Cache};
use crate::cpio;
use crate::erofs::{self, Volume};
use crate::error::ImageError;
use crate::kernel::{self, Kernel};
use crate::source::in_store;
use crate::vmlinux;

pub(crate) use layout::first_steps as tree_of_first_steps;
pub use layout::plain_agent;
use program::Programs;

/// In the entry of the cache.
const CONTAINER_ROOT: &str = "root.erofs";

/// Modules of devices that only some virtual machines have: the agent's stream over vsock, and the
/// balloon that takes memory back. A guest loads them where it has the device.
pub const OPTIONAL_MODULES: [&str; 2] = ["vmw_vsock_virtio_transport", "virtio_balloon"];

/// What goes into the guest.
#[derive(Debug, Clone)]
pub struct BareOptions<'a> {
    /// The static agent, as it is or compressed with gzip, LZ4, xz or zstd.
    pub agent: &'a [u8],
    /// Names of modules; what they need comes by itself. `-` and `_` are the same.
    pub modules: &'a [&'a str],
    /// The same for modules that are left out where the kernel has none of the name.
    pub optional: &'a [&'a str],
    /// A static busybox; looked for in the usual places when absent.
    pub busybox: Option<PathBuf>,
    /// A static bash; looked for in the usual places when absent, and left out when there is none.
    pub bash: Option<PathBuf>,
    /// More files; they take the place of the guest's own.
    pub files: &'a [GuestFile],
}

/// A file for the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestFile {
    /// Absolute.
    pub path: String,
    /// Permissions.
    pub mode: u32,
    /// What is in it.
    pub contents: Vec<u8>,
}

/// A guest that is ready to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BareGuest {
    /// A vmlinux with a PVH entry, or the bzImage.
    pub kernel: PathBuf,
    /// See [`BareGuest::vmlinux`].
    vmlinux: Result<PathBuf, Packed>,
    /// The initramfs.
    pub initrd: PathBuf,
    /// Of the contents of both, or of their paths in a Nix store: equal guests have equal digests, on any host.
    pub digest: blake3::Hash,
    /// As `uname -r` says in it.
    pub release: String,
    /// What was chosen, and why.
    pub choices: Vec<Choice>,
}

/// A kernel that is there as a bzImage only.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Packed {
    image: PathBuf,
    /// Why it was not unpacked.
    reason: String,
}

impl BareGuest {
    /// Its kernel as an uncompressed ELF, with a PVH entry or without, for a VMM that starts nothing else.
    ///
    /// # Errors
    /// [`ImageError::NoVmlinux`] where it is a bzImage that attest does not unpack; `vmm` is named there.
    pub fn vmlinux(&self, vmm: &'static str) -> Result<&Path, ImageError> {
        let found = self.vmlinux.as_deref();
        found.map_err(|packed| ImageError::NoVmlinux {
            path: packed.image.clone(),
            vmm,
            reason: packed.reason.clone(),
        })
    }
}

impl<'a> BareOptions<'a> {
    /// With [`OPTIONAL_MODULES`], busybox and bash from the usual places, and no more files.
    pub fn new(agent: &'a [u8], modules: &'a [&'a str]) -> Self {
        Self {
            agent,
            modules,
            optional: &OPTIONAL_MODULES,
            busybox: None,
            bash: None,
            files: &[],
        }
    }
}

/// Build the guest, or take it from the cache.
///
/// # Errors
/// A missing or dynamic busybox, a kernel without what is needed, files that cannot be read.
pub fn build(
    cache: &Cache,
    kernel: &Kernel,
    options: &BareOptions<'_>,
) -> Result<BareGuest, ImageError> {
    let programs = Programs::find(options)?;
    guest(cache, kernel, options, Some(&programs))
}

/// The init of [`container`].
pub const CONTAINER_INIT: &str = "/sbin/init";

/// The same system as the root of a container, as an erofs: what starts it brings the agent, and
/// the host the kernel.
///
/// # Errors
/// As of [`build`].
pub fn container(cache: &Cache, options: &BareOptions<'_>) -> Result<PathBuf, ImageError> {
    let programs = Programs::find(options)?;
    let key = key::of_container(options, &programs)?;
    let entry = cache.entry("bare-root", key, &mut |_| {}, |directory, progress| {
        let tree = layout::container(options, &programs)?;
        let volume = Volume {
            name: "attest-bare".to_owned(),
            ..Volume::default()
        };
        erofs::write(&tree, &directory.join(CONTAINER_ROOT), &volume, progress).map(drop)
    })?;
    Ok(entry.join(CONTAINER_ROOT))
}

/// As [`build`], of the agent and modules alone: the first steps of a system whose root is on a
/// disk.
///
/// # Errors
/// As there, but for the programs.
pub fn first_steps(
    cache: &Cache,
    kernel: &Kernel,
    options: &BareOptions<'_>,
) -> Result<BareGuest, ImageError> {
    guest(cache, kernel, options, None)
}

fn guest(
    cache: &Cache,
    kernel: &Kernel,
    options: &BareOptions<'_>,
    programs: Option<&Programs>,
) -> Result<BareGuest, ImageError> {
    let started = direct(cache, kernel)?;
    let key = key::of_initramfs(kernel, options, programs)?;
    let entry = cache.entry("initramfs", key, &mut |_| {}, |directory, _| {
        let tree = match programs {
            Some(programs) => layout::tree(kernel, options, programs)?,
            None => layout::first_steps(kernel, options)?,
        };
        write(&directory.join("initrd"), &cpio::pack(&tree)?)
    })?;
    let digests = [started.digest, cache::digest(&entry)?];
    let digest = blake3::hash(digests.map(|digest| *digest.as_bytes()).as_flattened());
    Ok(BareGuest {
        kernel: started.kernel,
        vmlinux: started.vmlinux,
        initrd: entry.join("initrd"),
        digest,
        release: kernel.release.clone(),
        choices: choices(kernel, &started.how, programs),
    })
}

/// A guest of somebody's own initramfs, which brings its own agent.
///
/// # Errors
/// A kernel that cannot be booted, files that cannot be read.
pub fn with_initrd(cache: &Cache, kernel: &Kernel, initrd: &Path) -> Result<BareGuest, ImageError> {
    let started = direct(cache, kernel)?;
    let own = match in_store(initrd) {
        Some(digest) => digest,
        None => blake3::hash(&read(initrd)?),
    };
    let digests = [started.digest, own];
    let digest = blake3::hash(digests.map(|digest| *digest.as_bytes()).as_flattened());
    Ok(BareGuest {
        kernel: started.kernel,
        vmlinux: started.vmlinux,
        initrd: initrd.to_owned(),
        digest,
        release: kernel.release.clone(),
        choices: vec![choice_of_kernel(kernel, &started.how, "")],
    })
}

/// The host's static busybox, which the bare guest needs.
///
/// # Errors
/// There is none in the usual places, or it is not static.
pub fn busybox() -> Result<PathBuf, ImageError> {
    let programs = Programs::find(&BareOptions::new(&[], &[]))?;
    programs.busybox()?;
    Ok(programs.busybox)
}

/// In the cache's entry of a kernel: what is booted; and why it is the bzImage, if it is.
const KERNEL: &str = "kernel";
const REASON: &str = "reason";
/// Beside a bzImage: what is in it, where it can be unpacked but has no PVH entry.
const VMLINUX: &str = "vmlinux";

/// What is booted of a kernel.
struct Started {
    kernel: PathBuf,
    digest: blake3::Hash,
    /// For people.
    how: String,
    vmlinux: Result<PathBuf, Packed>,
}

const DIRECTLY: &str = "started directly (PVH)";

/// What is booted of this kernel, and how it starts.
fn direct(cache: &Cache, kernel: &Kernel) -> Result<Started, ImageError> {
    match in_place(kernel)? {
        Some(started) => Ok(started),
        None => of_cache(cache, kernel),
    }
}

/// A kernel of a Nix store never changes: it needs no copy where it is started as it is.
fn in_place(kernel: &Kernel) -> Result<Option<Started>, ImageError> {
    let path = &kernel.image;
    let Some(digest) = in_store(path) else {
        return Ok(None);
    };
    let is_direct = File::open(path).and_then(|file| vmlinux::is_started_directly(&file));
    let is_direct = is_direct.map_err(ImageError::file(path, "the kernel cannot be read"))?;
    Ok(is_direct.then(|| Started {
        kernel: path.clone(),
        digest,
        how: DIRECTLY.to_owned(),
        vmlinux: Ok(path.clone()),
    }))
}

/// The cache's entry with what is booted.
fn of_cache(cache: &Cache, kernel: &Kernel) -> Result<Started, ImageError> {
    let key = key::of_kernel(&kernel.image)?;
    let entry = cache.entry("vmlinux", key, &mut |_| {}, |directory, _| {
        let image = kernel::read_image(&kernel.image)?;
        match vmlinux::extract(&image) {
            Ok(elf) => write(&directory.join(KERNEL), &elf),
            Err(whole) if whole.boots() && !image.starts_with(b"\x7fELF") => {
                write(&directory.join(REASON), whole.to_string().as_bytes())?;
                if let Ok(elf) = vmlinux::unpacked(&image) {
                    write(&directory.join(VMLINUX), &elf)?;
                }
                write(&directory.join(KERNEL), &image)
            }
            Err(whole) => Err(ImageError::Kernel {
                path: kernel.image.clone(),
                reason: whole.to_string(),
            }),
        }
    })?;
    let (how, vmlinux) = match fs::read_to_string(entry.join(REASON)) {
        Ok(why) => {
            let unpacked = entry.join(VMLINUX);
            let how = format!("started as a bzImage, which boots slower: {why}");
            let packed = Packed {
                image: kernel.image.clone(),
                reason: why,
            };
            (how, unpacked.exists().then_some(unpacked).ok_or(packed))
        }
        Err(_) => (DIRECTLY.to_owned(), Ok(entry.join(KERNEL))),
    };
    Ok(Started {
        kernel: entry.join(KERNEL),
        digest: cache::digest(&entry)?,
        how,
        vmlinux,
    })
}

fn choices(kernel: &Kernel, started: &str, programs: Option<&Programs>) -> Vec<Choice> {
    let without = match kernel.modules {
        Some(_) => "",
        None => "; no modules were found for it, so all that is needed must be built in",
    };
    let kernel = choice_of_kernel(kernel, started, without);
    let Some(programs) = programs else {
        return vec![kernel];
    };
    let bash = match &programs.bash {
        Some(path) => (
            path.display().to_string(),
            "static, for shell commands as bash understands them",
        ),
        None => (
            "none".to_owned(),
            "the host has no static one (Debian: `apt install bash-static`)",
        ),
    };
    vec![
        kernel,
        Choice {
            what: "bash",
            choice: bash.0,
            reason: bash.1.to_owned(),
        },
    ]
}

fn choice_of_kernel(kernel: &Kernel, started: &str, without: &str) -> Choice {
    Choice {
        what: "kernel",
        choice: kernel.release.clone(),
        reason: format!("{}; {started}{without}", kernel.origin),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ImageError> {
    fs::read(path).map_err(ImageError::file(path, "it cannot be read"))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
    fs::write(path, bytes).map_err(ImageError::file(path, "it cannot be written"))
}

#[cfg(test)]
mod tests;
