//! The `[Install]` section of a unit, its drop-ins included.

use super::find::Found;
use crate::customize::CustomizeError;
use crate::customize::text::text;
use crate::tree::Tree;

/// What the section says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Install {
    /// By `WantedBy=`, `RequiredBy=` and `UpheldBy=`.
    pub(super) starters: [Vec<String>; 3],
    pub(super) also: Vec<String>,
    pub(super) alias: Vec<String>,
    pub(super) default_instance: Option<String>,
}

impl Install {
    pub(super) fn of(tree: &Tree, found: &Found) -> Result<Self, CustomizeError> {
        let mut install = Self::default();
        if let Some(node) = tree.get(&found.path) {
            install.read(&text(node, found.path.trim_start_matches('/'))?);
        }
        for node in found.drop_ins(tree) {
            install.read(&text(&node, found.path.trim_start_matches('/'))?);
        }
        Ok(install)
    }

    /// Whether something starts it.
    pub(super) fn is_started(&self) -> bool {
        self.starters.iter().any(|starters| !starters.is_empty())
    }

    /// Whether enabling it means anything.
    pub(super) fn is_something(&self) -> bool {
        self.is_started() || !self.alias.is_empty() || !self.also.is_empty()
    }

    fn read(&mut self, text: &str) {
        let text = text.replace("\\\n", " ");
        let mut is_install = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                is_install = line == "[Install]";
            } else if is_install
                && !line.starts_with(['#', ';'])
                && let Some((key, value)) = line.split_once('=')
            {
                self.set(key.trim_end(), value.trim_start());
            }
        }
    }

    fn set(&mut self, key: &str, value: &str) {
        let list = match key {
            "WantedBy" => &mut self.starters[0],
            "RequiredBy" => &mut self.starters[1],
            "UpheldBy" => &mut self.starters[2],
            "Also" => &mut self.also,
            "Alias" => &mut self.alias,
            "DefaultInstance" => {
                self.default_instance = (!value.is_empty()).then(|| value.to_owned());
                return;
            }
            _ => return,
        };
        if value.is_empty() {
            list.clear();
        }
        list.extend(value.split_whitespace().map(str::to_owned));
    }
}
