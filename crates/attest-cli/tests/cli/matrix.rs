//! What the backends have, on paper and as the command prints it.

use std::path::Path;

use crate::support::Place;

/// Set to write it anew.
const BLESS: &str = "ATTEST_BLESS";

#[test]
fn the_committed_page_is_what_the_command_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/backends.md");
    let ended = Place::new("").run(&["doctor", "--matrix"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(&path, &ended.stdout).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == ended.stdout,
        "docs/backends.md is not of this code; write it anew with {BLESS}=1"
    );
}

#[test]
fn every_no_has_a_reason_for_programs_too() {
    let ended = Place::new("").run(&["doctor", "--matrix", "--format", "json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let mut abilities = Vec::new();
    for line in ended.stdout.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let backends = row["backends"].as_object().unwrap();
        for name in ["qemu", "firecracker", "cloud-hypervisor", "nspawn", "ssh"] {
            let has = &backends[name];
            assert_eq!(has["has"] == true, has["reason"].is_null(), "{line}");
        }
        abilities.push(row["ability"].as_str().unwrap().to_owned());
    }
    for name in ["snapshots", "rate limits", "balloon", "jailer"] {
        assert!(abilities.iter().any(|known| known == name), "{name}");
    }
}
