//! A layer over a tree, as images for containers have them: what it adds replaces what is there,
//! and entries with certain names ("whiteouts") remove what the layers below put there
//! (OCI image specification, "layer.md").

use std::collections::HashSet;

use super::error::TreeError;
use super::node::Node;
use super::{Climb, NodeId, Tree, path};

/// Before the name of what is to be removed.
const WHITEOUT: &[u8] = b".wh.";
/// All that the layers below put into the directory is to be removed.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// A layer that is being put over a tree. A whiteout removes only what was there before the
/// layer, in whichever order the entries come.
#[derive(Debug)]
pub struct Layer<'a> {
    tree: &'a mut Tree,
    /// The names that this layer gave.
    own: HashSet<(NodeId, Box<[u8]>)>,
}

impl Tree {
    /// Begin a layer over what is there.
    pub fn layer(&mut self) -> Layer<'_> {
        Layer {
            tree: self,
            own: HashSet::new(),
        }
    }
}

impl Layer<'_> {
    /// As [`Tree::insert`], but whiteouts remove, and `..` may not lead out of the tree.
    ///
    /// # Errors
    /// As there.
    pub fn insert(&mut self, path: &[u8], node: Node) -> Result<(), TreeError> {
        let (_, name) = path::split(path)?;
        match name {
            Some(OPAQUE) => self.clear(&path[..path.len() - OPAQUE.len()]),
            // `.wh..wh.` begins other names that an old union file system left behind.
            Some(name) if name.starts_with(b".wh..wh.") => Ok(()),
            Some(name) if name.starts_with(WHITEOUT) => {
                self.white_out(path, &name[WHITEOUT.len()..])
            }
            _ => {
                self.tree.insert_within(path, node, Climb::Refuse)?;
                self.note(path)
            }
        }
    }

    /// As [`Tree::link`]; the target may be of a layer below.
    ///
    /// # Errors
    /// As there.
    pub fn link(&mut self, path: &[u8], target: &[u8]) -> Result<(), TreeError> {
        self.tree.link_within(path, target, Climb::Refuse)?;
        self.note(path)
    }

    fn note(&mut self, path: &[u8]) -> Result<(), TreeError> {
        let spot = self.tree.place(path, Climb::Refuse)?;
        self.own.extend(spot.name.map(|name| (spot.parent, name)));
        Ok(())
    }

    fn white_out(&mut self, path: &[u8], name: &[u8]) -> Result<(), TreeError> {
        if matches!(name, b"" | b"." | b"..") {
            return Err(TreeError::Name {
                path: path.into(),
                reason: "a whiteout needs the name of what it removes",
            });
        }
        let at = path.len() - WHITEOUT.len() - name.len();
        let removed = [&path[..at], name].concat();
        let spot = self.tree.place(&removed, Climb::Refuse)?;
        // Where there is nothing to remove, nobody is harmed.
        if let (Some(name), Some(id)) = (spot.name, spot.node) {
            self.clear_lower(spot.parent, &name, id);
        }
        Ok(())
    }

    /// Remove what is in a directory and not of this layer.
    fn clear(&mut self, directory: &[u8]) -> Result<(), TreeError> {
        let way = self
            .tree
            .go(directory, path::parts(directory), Climb::Refuse)?;
        if way.missing.is_empty() && way.leaf.is_none() {
            self.clear_below(way.end());
        }
        Ok(())
    }

    fn clear_below(&mut self, directory: NodeId) {
        for name in self.tree.names_in(directory) {
            if let Some(id) = self.tree.child(directory, &name) {
                self.clear_lower(directory, &name, id);
            }
        }
    }

    /// Remove a node with all that is in it, but for what is of this layer and its parents.
    fn clear_lower(&mut self, parent: NodeId, name: &[u8], id: NodeId) {
        // Directories are left after what is in them; the list takes the place of recursion.
        let mut left = vec![(parent, Box::<[u8]>::from(name), id, false)];
        while let Some((parent, name, id, emptied)) = left.pop() {
            let own = self.own.contains(&(parent, name.clone()));
            let directory = self.tree.node(id).is_directory();
            if directory && !emptied {
                left.push((parent, name, id, true));
                for name in self.tree.names_in(id) {
                    left.extend(
                        self.tree
                            .child(id, &name)
                            .map(|child| (id, name, child, false)),
                    );
                }
                continue;
            }
            let kept = directory && !self.names_are_gone(id);
            if !own && !kept {
                self.tree.take_away(parent, &name);
            }
        }
    }

    fn names_are_gone(&self, directory: NodeId) -> bool {
        self.tree
            .node(directory)
            .entries()
            .is_none_or(super::Entries::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[&str]) -> Tree {
        let mut tree = Tree::new();
        for path in paths {
            tree.insert(path, Node::file(0o644, *path)).unwrap();
        }
        tree
    }

    fn files(tree: &Tree) -> Vec<String> {
        let files = tree.walk().filter(|visit| !visit.node.is_directory());
        files
            .map(|visit| String::from_utf8(visit.path.into()).unwrap())
            .collect()
    }

    fn put(layer: &mut Layer<'_>, paths: &[&str]) {
        for path in paths {
            layer
                .insert(path.as_bytes(), Node::file(0o600, "new"))
                .unwrap();
        }
    }

    #[test]
    fn a_whiteout_removes_what_was_below() {
        let mut tree = tree(&["a/x", "a/y/z", "b"]);
        put(&mut tree.layer(), &["a/.wh.y", ".wh.b", "a/.wh.never"]);
        assert_eq!(files(&tree), ["a/x"]);
    }

    #[test]
    fn a_whiteout_leaves_what_is_of_its_own_layer_in_whichever_order() {
        for paths in [["a/x/new", "a/.wh.x"], ["a/.wh.x", "a/x/new"]] {
            let mut tree = tree(&["a/x/old", "a/x/deep/old", "a/y"]);
            put(&mut tree.layer(), &paths);
            assert_eq!(files(&tree), ["a/x/new", "a/y"], "{paths:?}");
        }
    }

    #[test]
    fn an_opaque_directory_hides_all_below() {
        for paths in [
            ["a/sub/new", "a/.wh..wh..opq"],
            ["a/.wh..wh..opq", "a/sub/new"],
        ] {
            let mut tree = tree(&["a/x", "a/sub/old", "a/other/old", "b"]);
            put(&mut tree.layer(), &paths);
            assert_eq!(files(&tree), ["a/sub/new", "b"], "{paths:?}");
        }
    }

    #[test]
    fn an_opaque_top_hides_all() {
        let mut tree = tree(&["a/x", "b"]);
        put(&mut tree.layer(), &[".wh..wh..opq", "c"]);
        assert_eq!(files(&tree), ["c"]);
    }

    #[test]
    fn layers_go_through_links_of_layers_below() {
        let mut tree = tree(&["usr/bin/old"]);
        tree.insert("bin", Node::symlink("usr/bin")).unwrap();
        let mut layer = tree.layer();
        put(&mut layer, &["bin/new", "bin/.wh.old"]);
        layer.link(b"usr/bin/newer", b"bin/new").unwrap();
        assert_eq!(files(&tree), ["bin", "usr/bin/new", "usr/bin/newer"]);
    }

    #[test]
    fn a_whiteout_of_nothing_or_of_the_directory_itself_is_refused() {
        for path in ["a/.wh.", "a/.wh..", "a/.wh..."] {
            let mut tree = tree(&["a/x"]);
            let result = tree.layer().insert(path.as_bytes(), Node::file(0, ""));
            // The last is the whiteout of `..` itself; the others name nothing.
            assert!(result.is_err(), "{path}");
        }
    }

    #[test]
    fn nothing_leaves_the_tree() {
        let mut tree = tree(&["a/x"]);
        tree.insert("out", Node::symlink("a/../../..")).unwrap();
        let mut layer = tree.layer();
        for path in ["out/etc/passwd", "../x", "a/../../x"] {
            let result = layer.insert(path.as_bytes(), Node::file(0o644, ""));
            assert!(
                matches!(result, Err(TreeError::Escapes { .. })),
                "{path}: {result:?}"
            );
        }
    }
}
