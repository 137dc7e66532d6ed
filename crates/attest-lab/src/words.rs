//! The command line of the lab process: what it has to know before it can be told anything.

use std::ffi::OsString;

use crate::{LabContent, Scripts};

const GROUP: &str = "--group=";
const SCRIPTS: &str = "--scripts";
const WITHOUT_KVM: &str = "--without-kvm";

/// What the command line says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Words {
    /// The name of its control group.
    pub(crate) group: Option<String>,
    /// Whether it shares the host's IPC, names and user, and its network unless it has containers.
    pub(crate) shares_host: bool,
    /// Whether `/dev/kvm` is of no use in it.
    pub(crate) without_kvm: bool,
}

impl Words {
    pub(crate) fn of(content: LabContent, group: Option<String>) -> Self {
        let scripts = match content {
            LabContent::Scripts(scripts) => Some(scripts),
            LabContent::Programs | LabContent::Containers => None,
        };
        Self {
            group,
            shares_host: scripts.is_some(),
            without_kvm: scripts.is_some_and(|Scripts { without_kvm, .. }| without_kvm),
        }
    }

    /// Whether its network is its own. Containers of scripts need one in which nobody else makes
    /// bridges.
    pub(crate) fn has_own_network(&self) -> bool {
        !self.shares_host || self.group.is_some()
    }

    /// Whether it runs containers of start scripts.
    pub(crate) fn has_containers_of_scripts(&self) -> bool {
        self.shares_host && self.group.is_some()
    }

    pub(crate) fn line(&self) -> Vec<String> {
        let flags = [(self.shares_host, SCRIPTS), (self.without_kvm, WITHOUT_KVM)];
        let flags = flags
            .into_iter()
            .filter(|(is_set, _)| *is_set)
            .map(|(_, flag)| flag.to_owned());
        let group = self.group.iter().map(|name| format!("{GROUP}{name}"));
        flags.chain(group).collect()
    }

    /// `None`: they are not of this build.
    pub(crate) fn parse(words: &[OsString]) -> Option<Self> {
        let mut parsed = Self::default();
        for word in words {
            match word.to_str()? {
                SCRIPTS => parsed.shares_host = true,
                WITHOUT_KVM => parsed.without_kvm = true,
                other => parsed.group = Some(other.strip_prefix(GROUP)?.to_owned()),
            }
        }
        Some(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard() {
        let scripts = |containers, without_kvm| {
            LabContent::Scripts(Scripts {
                containers,
                without_kvm,
            })
        };
        for content in [
            LabContent::Programs,
            LabContent::Containers,
            scripts(false, false),
            scripts(true, true),
        ] {
            for group in [None, Some("attest-1-2".to_owned())] {
                let words = Words::of(content, group);
                let line: Vec<OsString> = words.line().into_iter().map(Into::into).collect();
                assert_eq!(Words::parse(&line), Some(words));
            }
        }
        assert_eq!(Words::parse(&["other".into()]), None);
    }
}
