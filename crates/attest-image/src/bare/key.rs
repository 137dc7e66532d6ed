//! Under which key a guest is cached. Files of the host count by identity and time: reading
//! them takes longer than all else that is done for a guest that is there.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::BareOptions;
use super::program::Programs;
use crate::error::ImageError;
use crate::kernel::Kernel;

/// Raised when the layout of the guest changes.
const LAYOUT: u64 = 3;
/// Raised when more kernels can be started directly.
const EXTRACTION: u64 = 2;

struct Key(blake3::Hasher);

impl Key {
    /// Of parts that cannot run into each other: each with its length.
    fn part(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    fn file(&mut self, path: &Path) -> Result<(), ImageError> {
        let metadata = fs::metadata(path).map_err(ImageError::file(path, "it cannot be read"))?;
        self.part(path.as_os_str().as_encoded_bytes());
        for number in [metadata.dev(), metadata.ino(), metadata.size()] {
            self.number(number);
        }
        // A change also counts where a tool sets the time of modification back.
        for time in [
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.ctime(),
            metadata.ctime_nsec(),
        ] {
            self.0.update(&time.to_le_bytes());
        }
        Ok(())
    }
}

pub(super) fn of_kernel(image: &Path) -> Result<blake3::Hash, ImageError> {
    let mut key = Key(blake3::Hasher::new());
    key.number(EXTRACTION);
    key.file(image)?;
    Ok(key.0.finalize())
}

pub(super) fn of_initramfs(
    kernel: &Kernel,
    options: &BareOptions<'_>,
    programs: &Programs,
) -> Result<blake3::Hash, ImageError> {
    let mut key = Key(blake3::Hasher::new());
    key.number(LAYOUT);
    key.part(options.agent);
    key.number(options.modules.len() as u64);
    for module in options.modules {
        key.part(module.as_bytes());
    }
    key.number(options.files.len() as u64);
    for file in options.files {
        key.part(file.path.as_bytes());
        key.number(u64::from(file.mode));
        key.part(&file.contents);
    }
    key.part(kernel.release.as_bytes());
    key.file(&kernel.image)?;
    // The file is written anew whenever modules are installed; without it, the directory counts.
    if let Some(directory) = &kernel.modules {
        let dependencies = directory.join("modules.dep");
        key.file(if dependencies.exists() {
            &dependencies
        } else {
            directory
        })?;
    }
    key.file(&programs.busybox)?;
    if let Some(bash) = &programs.bash {
        key.file(bash)?;
    }
    Ok(key.0.finalize())
}
