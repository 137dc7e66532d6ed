//! Hardware addresses in start scripts, as far as the scripts can be read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::sync::OnceLock;

use regex::Regex;

use super::{ScriptMachine, ScriptsError};

/// Longest script that is looked into, bytes. NixOS's have about 10 kB.
const LONGEST: u64 = 1024 * 1024;

/// Refuse machines whose cards would take each other's packets. A script that cannot be read as a
/// text has no addresses.
pub(super) fn check(machines: &[ScriptMachine]) -> Result<(), ScriptsError> {
    let mut owners = BTreeMap::<String, Vec<String>>::new();
    for machine in machines {
        for address in addresses(&text(&machine.command)) {
            owners
                .entry(address)
                .or_default()
                .push(machine.name.clone());
        }
    }
    match owners.into_iter().find(|(_, owners)| owners.len() > 1) {
        Some((address, machines)) => Err(ScriptsError::SameAddress { address, machines }),
        None => Ok(()),
    }
}

/// Of the program that a command begins with.
fn text(command: &str) -> String {
    let program = command.split_whitespace().next().unwrap_or_default();
    let mut text = Vec::new();
    let read = File::open(program).and_then(|file| file.take(LONGEST).read_to_end(&mut text));
    match read {
        Ok(_) => String::from_utf8(text).unwrap_or_default(),
        Err(_) => String::new(),
    }
}

fn addresses(script: &str) -> Vec<String> {
    static ADDRESS: OnceLock<Regex> = OnceLock::new();
    let address = ADDRESS.get_or_init(|| {
        Regex::new(r"\bmac=((?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2})\b").expect("it is right")
    });
    address
        .captures_iter(script)
        .map(|found| found[1].to_ascii_lowercase())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::ScriptKind;
    use super::*;

    #[test]
    fn equal_addresses_are_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let machine = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            ScriptMachine {
                name: name.to_owned(),
                command: format!("{} --with arguments", path.display()),
                kind: ScriptKind::Vm,
            }
        };
        let a = machine(
            "a",
            "-device virtio-net-pci,netdev=vlan1,mac=52:54:00:12:01:0A \\",
        );
        let b = machine("b", "mac=52:54:00:12:01:02 mac=52:54:00:12:02:02");
        let c = machine("c", "-device x,mac=52:54:00:12:01:0a,y");
        check(&[a.clone(), b]).unwrap();
        let error = check(&[a, c]).unwrap_err().to_string();
        assert!(
            error.contains("a and c") && error.contains("52:54:00:12:01:0a"),
            "{error}"
        );
    }

    #[test]
    fn programs_and_missing_scripts_have_none() {
        assert_eq!(text("/bin/sh"), "");
        assert_eq!(text("/does/not/exist"), "");
        assert_eq!(text(""), "");
    }
}
