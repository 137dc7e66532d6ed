//! Names of machines in the names of their start scripts.

use super::ScriptKind;

/// What a machine is called whose start script does not tell.
const UNNAMED: &str = "machine";

impl ScriptKind {
    /// The name in `run-NAME-vm` or `run-NAME-nspawn`, which a start command ends with; `machine`
    /// where it does not.
    pub fn name_in(self, command: &str) -> String {
        let end = match self {
            Self::Vm => "-vm",
            Self::Container => "-nspawn",
        };
        let file = command.rsplit('/').next().unwrap_or_default();
        let name = file
            .strip_suffix(end)
            .and_then(|name| name.split_once("run-"))
            .map(|(_, name)| name)
            .filter(|name| !name.is_empty());
        name.unwrap_or(UNNAMED).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_of_the_path_has_the_name() {
        assert_eq!(ScriptKind::Vm.name_in("/s/bin/run-web-vm"), "web");
        assert_eq!(
            ScriptKind::Vm.name_in("/run-x-vm/bin/run-my-db-vm"),
            "my-db"
        );
        assert_eq!(ScriptKind::Vm.name_in("/s/start"), "machine");
        assert_eq!(ScriptKind::Vm.name_in("/s/run--vm"), "machine");
        assert_eq!(ScriptKind::Container.name_in("/s/run-c-nspawn"), "c");
    }
}
