//! Guests of an image that knows nothing of them: it stays as it is, with memory above it, into which the initramfs puts
//! what makes it a guest of the NixOS test driver, and what is one machine's alone.

use std::fs;
use std::path::{Path, PathBuf};

use attest_image::bare::GuestFile;
use attest_image::tree::{Node as TreeNode, Tree};
use attest_image::{Cache, ImageError, Kernel, cpio};

use crate::system::{ROOT, STAGE, UNITS};
use crate::{Fixture, FixtureError, MODULES, Node, PROGRAMS, SHARING, guest, knows_9p};

/// For boards without PCI.
const MMIO: &str = "virtio_mmio";
/// Where the initramfs has what is put into the root.
const NEW: &str = "new";
/// Directories of the host, as NixOS's guests have them, where the kernel knows 9p.
const SHARES: &str = "\
[Unit]
Description=Directories of the host
DefaultDependencies=no
After=local-fs.target systemd-tmpfiles-setup.service
Before=backdoor.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'for share in xchg shared; do mkdir -p /tmp/$share; mount -t 9p -o trans=virtio,version=9p2000.L,msize=131072 $share /tmp/$share; done'
";
const UNITS_DIRECTORY: &str = "/etc/systemd/system";

impl Fixture {
    /// Guests whose root is this image, an erofs with systemd and iproute2 in it; `modules` are the kernel's, as an
    /// erofs.
    ///
    /// # Errors
    /// This host has no static busybox, or the kernel lacks what it takes.
    pub fn of_image(
        cache: &Cache,
        kernel: &Kernel,
        root: &Path,
        modules: Option<&Path>,
    ) -> Result<Self, FixtureError> {
        let mut wanted = [&MODULES[..], &ROOT, &[MMIO]].concat();
        if knows_9p(kernel) {
            wanted.extend(SHARING);
        }
        let disks = [Some(root), modules].into_iter().flatten();
        Ok(Self {
            guest: guest(cache, kernel, STAGE, &wanted, &[])?,
            disks: disks.map(Path::to_owned).collect(),
            _lease: None,
        })
    }

    /// What the guest's kernel boots.
    pub fn kernel(&self) -> &Path {
        &self.guest.kernel
    }

    /// The disks that its first program looks for, in their order, and what it wants on the kernel's command line.
    pub fn disks_of_image(&self) -> (&[PathBuf], &'static str) {
        let argument = if self.disks.len() > 1 {
            "fixture.modules=vdb"
        } else {
            ""
        };
        (&self.disks, argument)
    }

    /// Write the initramfs of a node into the directory: all guests', with the node's own files after it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_initrd(&self, directory: &Path, node: &Node) -> Result<PathBuf, FixtureError> {
        let path = directory.join(format!("{}.initrd", node.name));
        let write = |source| FixtureError::Write {
            path: path.clone(),
            source,
        };
        let mut bytes = fs::read(&self.guest.initrd).map_err(write)?;
        // A kernel takes archives one after the other, each at a multiple of four bytes.
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(cpio::pack(&tree(&node.files)?)?);
        fs::write(&path, bytes).map_err(write)?;
        Ok(path)
    }
}

fn tree(files: &[GuestFile]) -> Result<Tree, FixtureError> {
    let mut tree = Tree::new();
    for file in files {
        let mode = u16::try_from(file.mode).unwrap_or(0o644);
        tree.insert(
            format!("{NEW}{}", file.path),
            TreeNode::file(mode, file.contents.clone()),
        )
        .map_err(ImageError::from)?;
    }
    Ok(tree)
}

/// Addresses for the cards on VLANs, as files of a guest.
pub fn cards() -> Vec<GuestFile> {
    service("fixture-cards", &["/lib/fixture/cards"])
}

/// The backdoor, what [`cards`] are, and directories of the host, as files of a guest.
pub fn backdoor() -> Vec<GuestFile> {
    let mut files = cards();
    files.extend(service("backdoor", &["/lib/fixture/backdoor"]));
    files.extend(wanted("fixture-shares", SHARES));
    files
}

/// One of [`UNITS`], with the programs that it starts.
fn service(name: &str, programs: &[&str]) -> Vec<GuestFile> {
    let unit = UNITS.iter().find(|(known, _)| *known == name);
    let (_, unit) = unit.expect("it is one of them");
    let mut files = wanted(name, unit);
    let programs = PROGRAMS.iter().filter(|(path, _)| programs.contains(path));
    files.extend(programs.map(|(path, text)| file(format!("/usr/local{path}"), 0o755, text)));
    files
}

/// A unit that systemd starts. That it does is said in a file, for archives of this kind need no links then.
fn wanted(name: &str, unit: &str) -> Vec<GuestFile> {
    let wants = format!("[Unit]\nWants={name}.service\n");
    vec![
        file(format!("{UNITS_DIRECTORY}/{name}.service"), 0o644, unit),
        file(
            format!("{UNITS_DIRECTORY}/multi-user.target.d/{name}.conf"),
            0o644,
            &wants,
        ),
    ]
}

fn file(path: String, mode: u32, text: &str) -> GuestFile {
    GuestFile {
        path,
        mode,
        contents: text.as_bytes().to_vec(),
    }
}
