//! What the QEMU of this host can do, for `attest doctor`.

use std::process::{Command, Stdio};

use super::QemuProgram;
use crate::probe::{self, KvmProbe};
use crate::{Accelerator, MachineType};

/// Something that may be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// As in the manifest: `kvm`, `microvm`.
    pub name: &'static str,
    /// Why not; `None` when it is there.
    pub refusal: Option<String>,
}

/// Accelerators, then boards. Runs QEMU twice: 10 ms each.
pub fn survey(program: &QemuProgram) -> Vec<Feature> {
    let accelerators = ask(program, "-accel");
    let boards = ask(program, "-machine");
    let kvm = match probe::kvm() {
        KvmProbe::Usable => None,
        KvmProbe::Doubtful(reason) | KvmProbe::Unusable(reason) => Some(reason),
    };
    let accelerator = |accelerator: Accelerator| Feature {
        name: accelerator.name(),
        refusal: missing(&accelerators, accelerator.name(), program)
            .or_else(|| kvm.clone().filter(|_| accelerator == Accelerator::Kvm)),
    };
    let board = |board: MachineType| Feature {
        name: board.name(),
        refusal: missing(&boards, board.name(), program),
    };
    let accelerators = [Accelerator::Kvm, Accelerator::Tcg].map(accelerator);
    accelerators
        .into_iter()
        .chain(MachineType::ALL.map(board))
        .collect()
}

/// The first words of the lines of QEMU's own list.
fn ask(program: &QemuProgram, option: &str) -> Result<Vec<String>, String> {
    let output = Command::new(&program.path)
        .args([option, "help"])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{} does not run: {error}", program.path.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect())
}

fn missing(
    list: &Result<Vec<String>, String>,
    name: &str,
    program: &QemuProgram,
) -> Option<String> {
    match list {
        Err(error) => Some(error.clone()),
        Ok(list) if list.iter().any(|word| word == name) => None,
        Ok(_) => Some(format!("{} was built without it", program.path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn each_no_has_its_reason() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("qemu");
        std::fs::write(&path, "#!/bin/sh\necho 'q35  a PC'\necho tcg\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let program = QemuProgram {
            path,
            version: None,
        };
        let found = survey(&program);
        let refused = |name: &str| {
            found
                .iter()
                .find(|feature| feature.name == name)
                .unwrap()
                .refusal
                .clone()
        };
        assert_eq!(refused("tcg"), None);
        assert_eq!(refused("q35"), None);
        assert!(refused("kvm").unwrap().ends_with("was built without it"));
        assert!(
            refused("microvm")
                .unwrap()
                .ends_with("was built without it")
        );
    }
}
