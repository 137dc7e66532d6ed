//! What tells whether a file or directory of the host is what it was, without reading it.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::{fs, io};

use crate::error::ImageError;
use crate::key::Key;
use crate::tree::Identity;

/// Add a file, or a directory with all that is in it: paths, modes, owners, sizes and times. Of
/// these `st_ctime` cannot be set, and changes with whatever is changed, so that contents and
/// extended attributes need not be read. As for a source, other file systems that are mounted in
/// a directory are left out.
///
/// # Errors
/// Something in it cannot be read.
pub(crate) fn identify(path: &Path, key: &mut Key) -> Result<(), ImageError> {
    let failed = || ImageError::file(path, "it cannot be read");
    let top = path.canonicalize().map_err(failed())?;
    let device = top.symlink_metadata().map_err(failed())?.dev();
    key.part(top.as_os_str().as_bytes());
    let mut left = vec![top];
    let mut count = 0;
    while let Some(path) = left.pop() {
        let failed = || ImageError::file(&path, "it cannot be read");
        let metadata = path.symlink_metadata().map_err(failed())?;
        key.part(path.as_os_str().as_bytes());
        for number in [metadata.mode(), metadata.uid(), metadata.gid()] {
            key.number(number.into());
        }
        key.part(Identity::of(&metadata).bytes());
        count += 1;
        if metadata.is_dir() && metadata.dev() == device {
            let list = || -> io::Result<Vec<_>> {
                fs::read_dir(&path)?
                    .map(|entry| Ok(entry?.path()))
                    .collect()
            };
            let mut listed = list().map_err(failed())?;
            listed.sort();
            left.append(&mut listed);
        }
    }
    key.number(count);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn of(path: &Path) -> blake3::Hash {
        let mut key = Key::new("test", 1);
        identify(path, &mut key).unwrap();
        key.finish()
    }

    #[test]
    fn whatever_changes_in_a_directory_changes_its_identity() {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path().join("top");
        fs::create_dir_all(top.join("a/b")).unwrap();
        let file = top.join("a/b/file");
        fs::write(&file, "first").unwrap();
        let mut known = vec![of(&top)];
        assert_eq!(of(&top), known[0]);
        let mut differs = || {
            let now = of(&top);
            assert!(!known.contains(&now));
            known.push(now);
        };
        fs::write(top.join("new"), "").unwrap();
        differs();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        differs();
        fs::rename(top.join("new"), top.join("a/new")).unwrap();
        differs();
        std::os::unix::fs::symlink("a", top.join("link")).unwrap();
        differs();
    }

    #[test]
    fn what_is_not_there_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let error = identify(&directory.path().join("none"), &mut Key::new("test", 1));
        assert!(error.unwrap_err().to_string().contains("none"));
    }
}
