//! Under which key a guest is cached.

use std::path::Path;

use super::BareOptions;
use super::program::Programs;
use crate::error::ImageError;
use crate::kernel::Kernel;
use crate::key::Key;

/// Raised when the layout of the guest changes.
const LAYOUT: u64 = 5;
/// Raised when more kernels can be started directly, or more is kept of them.
const EXTRACTION: u64 = 3;

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
    key.parts(options.optional);
    add_files(&mut key, options);
    key.part(&kernel.release);
    key.file(&kernel.image)?;
    if let Some(directory) = &kernel.modules {
        key.modules(directory)?;
    }
    key.number(u64::from(programs.is_some()));
    if let Some(programs) = programs {
        add_programs(&mut key, programs)?;
    }
    Ok(key.finish())
}

pub(super) fn of_container(
    options: &BareOptions<'_>,
    programs: &Programs,
) -> Result<blake3::Hash, ImageError> {
    let mut key = Key::new("bare-root", LAYOUT);
    add_files(&mut key, options);
    add_programs(&mut key, programs)?;
    Ok(key.finish())
}

fn add_files(key: &mut Key, options: &BareOptions<'_>) {
    key.number(options.files.len() as u64);
    for file in options.files {
        key.part(&file.path);
        key.number(u64::from(file.mode));
        key.part(&file.contents);
    }
}

fn add_programs(key: &mut Key, programs: &Programs) -> Result<(), ImageError> {
    key.file(&programs.busybox)?;
    programs.bash.iter().try_for_each(|bash| key.file(bash))
}
