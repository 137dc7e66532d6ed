//! The key of a root: all that goes into it.
//!
//! Text counts by its bytes. Files of the host count by identity and time, so that what has not
//! changed is not read: an archive by its own, a directory by those of everything in it. Whatever
//! changes a file also changes its `st_ctime`, which no program can set back, so a change cannot
//! go unseen; a copy of a directory counts as another directory. A Debian counts by its
//! declaration and by the host's sources: newer packages of the same suite make no new root until
//! the entry is removed.

use crate::error::ImageError;
use crate::key::Key;
use crate::source;

use super::spec::{
    NewContent, NewFile, NewUser, OwnKernel, Profile, RootFormat, RootSource, RootSpec, Units,
};

/// Counts the changes of what the builder makes of a declaration.
const VERSION: u64 = 1;

/// The key of a root. Its name is not in it.
pub(super) fn key(spec: &RootSpec) -> Result<blake3::Hash, ImageError> {
    let RootSpec {
        name: _,
        source,
        profile,
        users,
        files,
        units,
        run,
        format,
        init,
        kernel,
    } = spec;
    let mut key = Key::new("root", VERSION);
    add_source(&mut key, source)?;
    key.number(match profile {
        Profile::Lean => crate::customize::LEAN_VERSION,
        Profile::Full => 0,
    });
    key.number(users.len() as u64);
    for user in users {
        add_user(&mut key, user);
    }
    key.number(files.len() as u64);
    for file in files {
        add_file(&mut key, file)?;
    }
    let Units {
        enable,
        disable,
        mask,
    } = units;
    for list in [enable, disable, mask, run] {
        key.parts(list);
    }
    key.number(match format {
        RootFormat::Erofs => 0,
        RootFormat::Ext4 => 1,
    });
    key.parts(init);
    key.number(match kernel {
        OwnKernel::Ignored => 0,
        OwnKernel::BroughtOut => 1,
    });
    Ok(key.finish())
}

fn add_source(key: &mut Key, source: &RootSource) -> Result<(), ImageError> {
    match source {
        RootSource::Directory(path) => {
            key.part("directory");
            source::identify(path, key)
        }
        RootSource::Tar(path) => {
            key.part("tar");
            key.file(path)
        }
        RootSource::Oci(path) => {
            key.part("oci");
            source::identify(path, key)
        }
        RootSource::Nix(path) => {
            key.part("nix");
            // What is in a store never changes under its path; a link to it may.
            let path = path.canonicalize().map_err(ImageError::file(
                path,
                "the system that Nix built cannot be read",
            ))?;
            source::identify(&path, key)
        }
        RootSource::Debian(debian) => {
            key.part("debian");
            debian.identify(key);
            Ok(())
        }
    }
}

fn add_user(key: &mut Key, user: &NewUser) {
    let NewUser {
        name,
        uid,
        gid,
        home,
        shell,
        groups,
        password_hash,
    } = user;
    key.part(name);
    for id in [uid, gid] {
        key.parts(id.map(u32::to_le_bytes));
    }
    for text in [home, shell, password_hash] {
        key.parts(text);
    }
    key.parts(groups);
}

fn add_file(key: &mut Key, file: &NewFile) -> Result<(), ImageError> {
    let NewFile {
        path,
        content,
        mode,
    } = file;
    key.part(path);
    key.parts(mode.map(u16::to_le_bytes));
    match content {
        NewContent::Text(text) => {
            key.part("text");
            key.part(text);
            Ok(())
        }
        NewContent::Host(path) => {
            key.part("host");
            source::identify(path, key)
        }
    }
}
