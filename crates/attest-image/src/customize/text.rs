//! Text files of a system that are changed line by line, and keep their owners and modes.

use super::CustomizeError;
use crate::tree::{Attributes, Node, Tree, shown};

/// More is no such file, in bytes.
const LONGEST: u64 = 16 << 20;

/// A text file.
#[derive(Debug)]
pub(super) struct TextFile {
    path: Vec<u8>,
    attributes: Attributes,
    pub(super) lines: Vec<String>,
}

impl TextFile {
    /// The one at a path, links followed; `None` where there is none.
    pub(super) fn find(tree: &Tree, path: &str) -> Result<Option<Self>, CustomizeError> {
        let Ok((id, own)) = tree.follow(path) else {
            return Ok(None);
        };
        let node = tree.node(id);
        Ok(Some(Self {
            lines: text(node, path)?.lines().map(str::to_owned).collect(),
            path: own.into(),
            attributes: node.attributes.clone(),
        }))
    }

    /// The one at a path, or an empty one with this mode.
    pub(super) fn find_or_new(tree: &Tree, path: &str, mode: u16) -> Result<Self, CustomizeError> {
        let new = || Self {
            path: path.into(),
            attributes: Node::file(mode, "").attributes,
            lines: Vec::new(),
        };
        Ok(Self::find(tree, path)?.unwrap_or_else(new))
    }

    pub(super) fn write(&self, tree: &mut Tree) -> Result<(), CustomizeError> {
        let text: String = self.lines.iter().flat_map(|line| [line, "\n"]).collect();
        tree.insert(
            &self.path,
            Node::file(0, text).with(self.attributes.clone()),
        )?;
        Ok(())
    }
}

/// A whole file as text.
pub(super) fn text(node: &Node, path: &str) -> Result<String, CustomizeError> {
    let refused = |reason: String| CustomizeError::System {
        path: shown(path.as_bytes()),
        reason,
    };
    let contents = node
        .contents()
        .ok_or_else(|| refused("it is no file".to_owned()))?;
    let bytes = contents
        .read(LONGEST)
        .map_err(|error| refused(error.to_string()))?;
    String::from_utf8(bytes).map_err(|_| refused("it is not text".to_owned()))
}
