//! The committed schema is that of the code.

use std::path::Path;

/// Set to write it anew.
const BLESS: &str = "ATTEST_BLESS";

#[test]
fn the_committed_schema_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema.json");
    let mut current = serde_json::to_string_pretty(&attest_rpc::schema()).unwrap();
    current.push('\n');
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == current,
        "{} is not of this code; write it anew with {BLESS}=1",
        path.display()
    );
}

#[test]
fn every_method_and_member_is_described() {
    let schema = attest_rpc::schema();
    let undescribed: Vec<String> = ["methods", "client_notifications", "server_notifications"]
        .iter()
        .flat_map(|group| schema[group].as_object().unwrap())
        .filter(|(_, entry)| entry["description"].as_str().is_none_or(str::is_empty))
        .map(|(name, _)| name.clone())
        .collect();
    assert_eq!(undescribed, Vec::<String>::new());
    let text = schema.to_string();
    for pointer in text.split("\"#/$defs/").skip(1) {
        let name = pointer.split('"').next().unwrap();
        assert!(schema["$defs"][name].is_object(), "{name} is nowhere");
    }
}
