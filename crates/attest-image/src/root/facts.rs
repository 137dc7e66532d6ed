//! What a built root says of itself: a file of its entry.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::ImageError;
use crate::tree::Tree;

/// Name of the file.
const FACTS: &str = "root.json";
/// More is no file of facts, in bytes.
const LONGEST: u64 = 1 << 20;

/// What a root is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[non_exhaustive]
pub struct RootFacts {
    /// Of the image that it was first built for.
    pub name: String,
    /// Where it comes from, for people.
    pub source: String,
    /// What the system calls itself: `PRETTY_NAME` of os-release(5).
    pub system: Option<String>,
    /// Its init, as it was given or found; an absolute path.
    pub init: Option<String>,
    /// How many files, directories and so on there are in it.
    pub nodes: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Units that the lean profile masks.
    pub masked: Vec<String>,
    /// Units that in the lean profile start only when they are asked for.
    pub on_demand: Vec<String>,
    /// Units that were enabled as asked.
    pub enabled: Vec<String>,
}

impl RootFacts {
    /// Of an entry of the cache; none where the entry is no root.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn of_entry(entry: &Path) -> Result<Option<Self>, ImageError> {
        let path = entry.join(FACTS);
        let failed = || ImageError::file(&path, "it cannot be read");
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read(&path).map_err(failed())?;
        let facts = serde_json::from_slice(&text);
        facts.map(Some).map_err(|error| failed()(error.into()))
    }

    pub(super) fn write(&self, entry: &Path) -> Result<(), ImageError> {
        let path = entry.join(FACTS);
        let text = serde_json::to_vec_pretty(self).map_err(std::io::Error::from);
        let written = text.and_then(|text| fs::write(&path, text));
        written.map_err(ImageError::file(&path, "it cannot be written"))
    }

    /// Look at what there is.
    pub(super) fn look(&mut self, tree: &Tree) {
        let release = ["etc/os-release", "usr/lib/os-release"];
        self.system = release.into_iter().find_map(|path| pretty_name(tree, path));
        self.nodes = tree.count() as u64;
        self.bytes = tree.bytes();
    }
}

fn pretty_name(tree: &Tree, path: &str) -> Option<String> {
    let text = tree.get(path)?.contents()?.read(LONGEST).ok()?;
    let text = String::from_utf8_lossy(&text);
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    // Of the quoting that os-release(5) allows, what is in use.
    let value = value.trim().trim_matches(['"', '\'']);
    let shown = crate::tree::shown(value.as_bytes());
    (!shown.is_empty()).then_some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Node;

    #[test]
    fn a_system_is_recognised() {
        let mut tree = Tree::new();
        let text = "ID=x\nPRETTY_NAME=\"Some \u{1b}Linux 12\"\n";
        tree.insert("usr/lib/os-release", Node::file(0o644, text))
            .unwrap();
        tree.insert("etc/os-release", Node::symlink("../usr/lib/os-release"))
            .unwrap();
        let mut facts = RootFacts::default();
        facts.look(&tree);
        assert_eq!(facts.system.as_deref(), Some("Some \\u{1b}Linux 12"));
    }

    #[test]
    fn facts_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(RootFacts::of_entry(directory.path()).unwrap(), None);
        let facts = RootFacts {
            name: "web".to_owned(),
            masked: vec!["a.timer".to_owned()],
            ..RootFacts::default()
        };
        facts.write(directory.path()).unwrap();
        assert_eq!(RootFacts::of_entry(directory.path()).unwrap(), Some(facts));
        fs::write(directory.path().join(FACTS), "{").unwrap();
        assert!(RootFacts::of_entry(directory.path()).is_err());
    }
}
