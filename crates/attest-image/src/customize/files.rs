//! Files and directories of the host, and text, put into a tree.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::CustomizeError;
use crate::error::ImageError;
use crate::root::{NewContent, NewFile};
use crate::source;
use crate::tree::{Node, Time, Tree};

/// Mode of files that are given as text.
const TEXT_MODE: u16 = 0o644;

/// Put files into a tree. They belong to root. A file replaces what is at its path, a symbolic
/// link too, but no directory; what a directory holds is added to what is there, and directories
/// that are there stay what they are.
///
/// # Errors
/// A file of the host that cannot be read, a path that leads nowhere.
pub fn add(tree: &mut Tree, files: &[NewFile]) -> Result<(), ImageError> {
    files.iter().try_for_each(|file| add_one(tree, file))
}

fn add_one(tree: &mut Tree, file: &NewFile) -> Result<(), ImageError> {
    let path = &file.path;
    if !path.starts_with('/') {
        return Err(CustomizeError::NotAbsolute { path: path.clone() }.into());
    }
    match &file.content {
        NewContent::Text(text) => {
            let node = Node::file(file.mode.unwrap_or(TEXT_MODE), text.as_str());
            put(tree, path, node)
        }
        NewContent::Host(host) if host.is_dir() => add_directory(tree, file, host),
        NewContent::Host(host) => {
            let contents = source::file(host)?;
            let metadata = host.metadata();
            let metadata = metadata.map_err(ImageError::file(host, "it cannot be read"))?;
            // The rest says what it is.
            let own = (metadata.mode() & 0o7777) as u16;
            let mut node = Node::file(file.mode.unwrap_or(own), contents);
            node.attributes.modified = Time {
                seconds: metadata.mtime(),
                nanoseconds: u32::try_from(metadata.mtime_nsec()).unwrap_or_default(),
            };
            put(tree, path, node)
        }
    }
}

fn put(tree: &mut Tree, path: &str, node: Node) -> Result<(), ImageError> {
    let there = tree.find(path).map_err(CustomizeError::from)?;
    if there.is_some_and(|id| tree.node(id).is_directory()) {
        return Err(CustomizeError::IsDirectory {
            path: path.to_owned(),
        }
        .into());
    }
    tree.insert(path, node)?;
    Ok(())
}

fn add_directory(tree: &mut Tree, file: &NewFile, host: &Path) -> Result<(), ImageError> {
    let added = source::directory(host)?;
    let mut first_names = HashMap::new();
    for visit in added.walk() {
        let path = [file.path.as_bytes(), b"/", &visit.path].concat();
        if visit.node.is_directory() {
            let there = tree.get(&path).is_some_and(Node::is_directory);
            if !there {
                let mut attributes = visit.node.attributes.clone();
                (attributes.uid, attributes.gid) = (0, 0);
                tree.insert(&path, Node::directory(0).with(attributes))?;
            }
        } else if let Some(first) = first_names.get(&visit.id) {
            tree.link(&path, first)?;
        } else {
            tree.insert(&path, visit.node.clone().owned(0, 0))?;
            first_names.insert(visit.id, path);
        }
    }
    if let Some(mode) = file.mode {
        let (_, path) = tree.follow(&file.path)?;
        tree.attributes_mut(path)?.mode = mode & 0o7777;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn text(path: &str, text: &str, mode: Option<u16>) -> NewFile {
        NewFile {
            path: path.to_owned(),
            content: NewContent::Text(text.to_owned()),
            mode,
        }
    }

    fn read(tree: &Tree, path: &str) -> String {
        let contents = tree.get(path).unwrap().contents().unwrap();
        String::from_utf8(contents.read(100).unwrap()).unwrap()
    }

    #[test]
    fn text_is_added_and_takes_the_place_of_links() {
        let mut tree = Tree::new();
        tree.insert("run/x", Node::file(0o600, "old")).unwrap();
        tree.insert("etc/x", Node::symlink("../run/x")).unwrap();
        let files = [
            text("/etc/x", "new", None),
            text("/a/b/c", "deep", Some(0o755)),
        ];
        add(&mut tree, &files).unwrap();
        assert_eq!(
            (read(&tree, "etc/x"), read(&tree, "run/x")),
            ("new".into(), "old".into())
        );
        assert_eq!(tree.get("etc/x").unwrap().attributes.mode, 0o644);
        assert_eq!(tree.get("a/b/c").unwrap().attributes.mode, 0o755);
    }

    #[test]
    fn no_directory_is_replaced_by_a_file() {
        let mut tree = Tree::new();
        tree.insert("etc/a", Node::file(0, "")).unwrap();
        for path in ["/etc", "/", "etc/b"] {
            let error = add(&mut tree, &[text(path, "", None)]).unwrap_err();
            assert!(error.to_string().contains(&format!("`{path}`")), "{error}");
        }
        assert!(tree.get("etc/a").is_some());
    }

    #[test]
    fn a_directory_of_the_host_is_merged() {
        let host = tempfile::tempdir().unwrap();
        let top = host.path().join("overlay");
        fs::create_dir_all(top.join("lib/new")).unwrap();
        fs::write(top.join("lib/new/file"), "x").unwrap();
        fs::hard_link(top.join("lib/new/file"), top.join("lib/new/same")).unwrap();
        fs::write(top.join("lib/old"), "y").unwrap();
        let mut tree = Tree::new();
        tree.insert("usr/lib/old", Node::file(0, "")).unwrap();
        tree.insert("usr/lib/kept", Node::file(0, "")).unwrap();
        tree.insert("lib", Node::symlink("usr/lib")).unwrap();
        tree.attributes_mut("usr/lib").unwrap().mode = 0o711;
        let file = |mode| NewFile {
            path: "/".to_owned(),
            content: NewContent::Host(top.clone()),
            mode,
        };
        add(&mut tree, &[file(None)]).unwrap();
        assert_eq!(read(&tree, "usr/lib/new/file"), "x");
        assert_eq!(read(&tree, "lib/old"), "y");
        assert!(tree.get("lib/kept").is_some());
        assert_eq!(tree.get("usr/lib").unwrap().attributes.mode, 0o711);
        let same = tree.find("usr/lib/new/same").unwrap();
        assert_eq!(tree.find("usr/lib/new/file").unwrap(), same);
        assert_eq!(tree.links(same.unwrap()), 2);
        add(&mut tree, &[file(Some(0o700))]).unwrap();
        assert_eq!(tree.get("").unwrap().attributes.mode, 0o700);
    }

    #[test]
    fn a_file_of_the_host_keeps_its_mode() {
        use std::os::unix::fs::PermissionsExt;
        let host = tempfile::tempdir().unwrap();
        let path = host.path().join("tool");
        fs::write(&path, "#!").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        let file = NewFile {
            path: "/usr/bin/tool".to_owned(),
            content: NewContent::Host(path),
            mode: None,
        };
        let mut tree = Tree::new();
        add(&mut tree, &[file]).unwrap();
        let attributes = &tree.get("usr/bin/tool").unwrap().attributes;
        assert_eq!((attributes.mode, attributes.uid), (0o750, 0));
    }
}
