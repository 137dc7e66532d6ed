//! Start scripts in the shape of NixOS's, with guests that have a backdoor as NixOS's have, made of
//! Debian's kernel, busybox and bash: for tests and benchmarks of what runs such scripts.
//!
//! The guest's init starts what systemd starts on NixOS: a root shell on `/dev/hvc0` that announces
//! itself, its stderr on the serial console, and a shell on `tty1`. Cards on VLANs are called `eth1`
//! and so on, and have the address that their hardware address says: `52:54:00:12:VV:NN` is
//! `192.168.VV.NN`. The shares `xchg` and `shared` are mounted on `/tmp/xchg` and `/tmp/shared` where the
//! kernel knows 9p.

mod image;
pub mod metal;
pub mod nix;
mod system;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub use attest_image::bare::GuestFile;
use attest_image::bare::{self, BareGuest, BareOptions};
use attest_image::root::RootImage;
use attest_image::{Cache, ImageError, Kernel, KernelSource};
use attest_vmm::probe::{KvmProbe, kvm};

pub use image::{backdoor, cards};

/// In the place of the agent: the guest's first program.
const INIT: &str = include_str!("guest/init.sh");
/// Programs beside it.
const PROGRAMS: [(&str, &str); 3] = [
    ("/lib/fixture/backdoor", include_str!("guest/backdoor.sh")),
    ("/lib/fixture/cards", include_str!("guest/cards.sh")),
    ("/lib/fixture/login", include_str!("guest/login.sh")),
];
/// For a PC with virtio devices and a keyboard.
const MODULES: [&str; 6] = [
    "virtio_pci",
    "virtio_console",
    "virtio_net",
    "virtio_blk",
    "virtio_rng",
    "atkbd",
];
/// For shared directories, which kernels for clouds have not.
const SHARING: [&str; 2] = ["9pnet_virtio", "9p"];

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FixtureError {
    /// No kernel, no busybox.
    #[error("the guest cannot be made")]
    Image(#[from] ImageError),
    /// A start script cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A machine with a start script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The script is `run-NAME-vm`, and the guest's host name is this.
    pub name: String,
    /// Its number in the test, from 1: the last part of its addresses.
    pub number: u8,
    /// VLANs that it has a card on, in order: `eth1` is the first.
    pub vlans: Vec<u8>,
    /// MiB. Default: 256.
    pub memory: u32,
    /// Added to the kernel's command line.
    pub kernel_arguments: Vec<String>,
    /// What is in no other machine; only for guests of [`Fixture::of_image`].
    pub files: Vec<GuestFile>,
}

impl Node {
    /// With no VLAN.
    pub fn new(name: &str, number: u8) -> Self {
        Self {
            name: name.to_owned(),
            number,
            vlans: Vec::new(),
            memory: 256,
            kernel_arguments: Vec::new(),
            files: Vec::new(),
        }
    }

    /// With cards on these VLANs.
    #[must_use]
    pub fn on(mut self, vlans: &[u8]) -> Self {
        self.vlans = vlans.to_vec();
        self
    }
}

/// The guest that all nodes boot.
#[derive(Debug)]
pub struct Fixture {
    guest: BareGuest,
    /// Disks that are only read: the root, and the kernel's modules.
    disks: Vec<PathBuf>,
    _lease: Option<RootImage>,
}

fn kernel(cache: &Cache) -> Result<Kernel, FixtureError> {
    let asked = std::env::var_os("ATTEST_KERNEL").map(PathBuf::from);
    let source = asked.map_or(KernelSource::Auto, KernelSource::Path);
    Ok(Kernel::find(cache, &source, &mut |step| {
        eprintln!("{step}");
    })?)
}

fn guest(
    cache: &Cache,
    kernel: &Kernel,
    init: &str,
    modules: &[&str],
    files: &[GuestFile],
) -> Result<BareGuest, FixtureError> {
    let options = BareOptions {
        // Its init loads all that there is.
        optional: &[],
        files,
        ..BareOptions::new(init.as_bytes(), modules)
    };
    Ok(bare::build(cache, kernel, &options)?)
}

impl Fixture {
    /// Build the guest, or take it from attest's cache. The kernel is `$ATTEST_KERNEL`, else as attest
    /// finds one.
    ///
    /// # Errors
    /// This host has no kernel, or no static busybox: for tests, a reason to be skipped.
    pub fn new() -> Result<Self, FixtureError> {
        let cache = Cache::open(&Cache::default_directory()?)?;
        let kernel = kernel(&cache)?;
        let files = PROGRAMS.map(|(path, text)| GuestFile {
            path: path.to_owned(),
            mode: 0o755,
            contents: text.as_bytes().to_vec(),
        });
        let mut modules = MODULES.to_vec();
        if knows_9p(&kernel) {
            modules.extend(SHARING);
        }
        Ok(Self {
            guest: guest(&cache, &kernel, INIT, &modules, &files)?,
            disks: Vec::new(),
            _lease: None,
        })
    }

    /// Write the start script of a node into the directory; its path.
    ///
    /// # Errors
    /// The directory cannot be written to.
    pub fn write(&self, directory: &Path, node: &Node) -> Result<PathBuf, FixtureError> {
        let path = directory.join(format!("run-{}-vm", node.name));
        let initrd = if node.files.is_empty() {
            self.guest.initrd.clone()
        } else {
            self.write_initrd(directory, node)?
        };
        write_script(&path, &self.script(node, &initrd))?;
        Ok(path)
    }

    /// Write the start script of a node as a container into the directory; its path. Its root is this
    /// host's static busybox. Memory and kernel arguments mean nothing to it.
    ///
    /// # Errors
    /// The host has no static busybox, or the directory cannot be written to.
    pub fn write_container(directory: &Path, node: &Node) -> Result<PathBuf, FixtureError> {
        let name = &node.name;
        let path = directory.join(format!("run-{name}-nspawn"));
        let vlans: Vec<String> = node.vlans.iter().map(u8::to_string).collect();
        let script = include_str!("guest/container.sh")
            .replace("@NAME@", name)
            .replace("@NUMBER@", &node.number.to_string())
            .replace("@VLANS@", &vlans.join(" "))
            .replace("@BUSYBOX@", &bare::busybox()?.display().to_string());
        write_script(&path, &script)?;
        Ok(path)
    }

    /// Each node's start script, in order.
    ///
    /// # Errors
    /// As of [`Fixture::write`].
    pub fn write_all(
        &self,
        directory: &Path,
        nodes: &[Node],
    ) -> Result<Vec<PathBuf>, FixtureError> {
        nodes
            .iter()
            .map(|node| self.write(directory, node))
            .collect()
    }

    fn script(&self, node: &Node, initrd: &Path) -> String {
        let Node {
            name,
            number,
            vlans,
            memory,
            kernel_arguments,
            ..
        } = node;
        // Where there is a /dev/kvm that runs no guests, QEMU's own choice would be that.
        let accelerator = match kvm() {
            KvmProbe::Usable => "kvm:tcg",
            KvmProbe::Doubtful(_) | KvmProbe::Unusable(_) => "tcg",
        };
        let cards: String = (1..)
            .zip(vlans)
            .map(|(index, vlan)| card(index, *vlan, *number))
            .collect();
        include_str!("guest/start.sh")
            .replace("@NAME@", name)
            .replace("@MEMORY@", &memory.to_string())
            .replace("@ACCELERATOR@", accelerator)
            .replace("    @CARDS@\n", &cards)
            .replace("    @ROOT@\n", &self.disks())
            .replace("@KERNEL@", &self.guest.kernel.display().to_string())
            .replace("@INITRD@", &initrd.display().to_string())
            .replace("@ARGUMENTS@", &kernel_arguments.join(" "))
    }
}

impl Fixture {
    /// What a start script has for the disks that are only read: the first ones.
    fn disks(&self) -> String {
        let disks = (1..).zip(&self.disks).map(|(number, disk)| {
            let disk = disk.display();
            arguments(&[
                format!("-drive file={disk},format=raw,if=none,id=read{number},readonly=on"),
                format!("-device virtio-blk-pci,drive=read{number}"),
            ])
        });
        disks.collect()
    }
}

/// What a start script has for a card.
fn card(index: usize, vlan: u8, number: u8) -> String {
    let mac = format!("52:54:00:12:{vlan:02x}:{number:02x}");
    arguments(&[
        format!("-device virtio-net-pci,netdev=vlan{index},mac={mac}"),
        format!("-netdev vde,id=vlan{index},sock=\"$QEMU_VDE_SOCKET_{vlan}\""),
    ])
}

/// Lines of a start script.
fn arguments(all: &[String]) -> String {
    all.iter().fold(String::new(), |text, argument| {
        text + "    " + argument + " \\\n"
    })
}

fn knows_9p(kernel: &Kernel) -> bool {
    let list = kernel
        .modules
        .as_ref()
        .and_then(|directory| fs::read_to_string(directory.join("modules.dep")).ok());
    list.is_some_and(|list| list.contains("/9p.ko"))
}

/// Write a program for a shell, as start scripts are: for those with faults.
///
/// # Errors
/// It cannot be written.
pub fn write_script(path: &Path, text: &str) -> Result<(), FixtureError> {
    let written = fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)));
    written.map_err(|source| FixtureError::Write {
        path: path.to_owned(),
        source,
    })
}
