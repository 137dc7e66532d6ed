//! What machines boot from as files of their own, for who keeps them elsewhere than in the cache: Nix does.

use std::fs;
use std::path::{Path, PathBuf};

use crate::bare::{BareOptions, tree_of_first_steps};
use crate::cpio;
use crate::erofs::{self, Volume};
use crate::error::ImageError;
use crate::kernel::{self, Kernel};
use crate::progress::Step;
use crate::source::{self, STORE};
use crate::vmlinux;

/// A store that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreImage {
    /// Of the file.
    pub bytes: u64,
    /// How many paths of the store are in it.
    pub paths: usize,
}

/// Write the root of any number of systems that Nix built, as a read-only image. The closures are as
/// [`source::nix_store`] takes them. Equal closures give equal bytes. With `limit`, nothing is written that is larger.
///
/// # Errors
/// A closure cannot be read, or [`ImageError::Limit`]; the file is there already, or cannot be written.
pub fn store(
    closures: &[PathBuf],
    to: &Path,
    limit: Option<u64>,
    progress: &mut dyn FnMut(Step),
) -> Result<StoreImage, ImageError> {
    progress(Step::new("reading closures".to_owned()));
    let store = source::nix_store(closures, Path::new(STORE))?;
    let image = erofs::Image::of(&store.tree)?;
    let bytes = image.length();
    if let Some(limit) = limit.filter(|limit| bytes > *limit) {
        return Err(ImageError::Limit { bytes, limit });
    }
    let volume = Volume {
        name: "attest-store".to_owned(),
        ..Volume::default()
    };
    image.write(to, &volume, progress)?;
    Ok(StoreImage {
        bytes,
        paths: store.paths,
    })
}

/// Write an initramfs of the agent and those modules of this kernel that it takes to find a root: what attest makes by
/// itself for a system on a disk.
///
/// # Errors
/// The kernel has no such modules, or cannot be read; the file cannot be written.
pub fn initrd(kernel: &Kernel, options: &BareOptions<'_>, to: &Path) -> Result<(), ImageError> {
    let tree = tree_of_first_steps(kernel, options)?;
    write(to, &cpio::pack(&tree)?)
}

/// Write the kernel in the form that all VMMs start: an uncompressed ELF (vmlinux).
///
/// # Errors
/// It is no kernel, or cannot be unpacked; the file cannot be written.
pub fn vmlinux(image: &Path, to: &Path) -> Result<(), ImageError> {
    let bytes = kernel::read_image(image)?;
    let elf = vmlinux::extract(&bytes).or_else(|_| vmlinux::unpacked(&bytes));
    let elf = elf.map_err(|whole| ImageError::Kernel {
        path: image.to_owned(),
        reason: whole.to_string(),
    })?;
    write(to, &elf)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
    fs::write(path, bytes).map_err(ImageError::file(path, "it cannot be written"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_unpacked_once() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("image"), directory.path().join("elf"));
        let elf = vmlinux::tests::elf();
        let packed = crate::packing::tests::gzip(&elf);
        fs::write(&from, vmlinux::tests::bzimage_of("6.1.0", &packed)).unwrap();
        vmlinux(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), elf);
        fs::write(&from, &elf).unwrap();
        vmlinux(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), elf);
        fs::write(&from, "no kernel").unwrap();
        let error = vmlinux(&from, &to).unwrap_err();
        assert!(matches!(error, ImageError::Kernel { .. }), "{error}");
    }
}
