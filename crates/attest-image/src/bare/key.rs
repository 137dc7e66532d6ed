//! Under which key a guest is cached.

use std::path::Path;

use super::BareOptions;
use super::program::Programs;
use crate::error::ImageError;
use crate::kernel::Kernel;
use crate::key::Key;

/// Raised when the layout of the guest changes.
const LAYOUT: u64 = 3;
/// Raised when more kernels can be started directly.
const EXTRACTION: u64 = 2;

pub(super) fn of_kernel(image: &Path) -> Result<blake3::Hash, ImageError> {
    let mut key = Key::new("vmlinux", EXTRACTION);
    key.file(image)?;
    Ok(key.finish())
}

pub(super) fn of_initramfs(
    kernel: &Kernel,
    options: &BareOptions<'_>,
    programs: Option<&Programs>,
) -> Result<blake3::Hash, ImageError> {
    let mut key = Key::new("initramfs", LAYOUT);
    key.part(options.agent);
    key.parts(options.modules);
    key.number(options.files.len() as u64);
    for file in options.files {
        key.part(&file.path);
        key.number(u64::from(file.mode));
        key.part(&file.contents);
    }
    key.part(&kernel.release);
    key.file(&kernel.image)?;
    if let Some(directory) = &kernel.modules {
        key.modules(directory)?;
    }
    key.number(u64::from(programs.is_some()));
    if let Some(programs) = programs {
        key.file(&programs.busybox)?;
        if let Some(bash) = &programs.bash {
            key.file(bash)?;
        }
    }
    Ok(key.finish())
}
