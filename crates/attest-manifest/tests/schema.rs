//! The committed JSON Schema is that of the types.

use std::fs;
use std::path::Path;

#[test]
fn the_committed_schema_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/attest.schema.json");
    let current = format!("{:#}\n", attest_manifest::schema());
    if std::env::var_os("ATTEST_BLESS").is_some() {
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(&path, current).expect("written");
        return;
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == current,
        "the types have changed: run `ATTEST_BLESS=1 cargo test -p attest-manifest --test schema` and commit the schema",
    );
}

#[test]
fn the_schema_knows_every_key_and_refuses_others() {
    let schema = attest_manifest::schema();
    let definitions = schema["$defs"].as_object().expect("definitions");
    for (name, definition) in definitions
        .iter()
        .filter(|(_, definition)| definition["type"] == "object")
    {
        assert_eq!(definition["additionalProperties"], false, "{name}");
        for (key, property) in definition["properties"].as_object().expect("properties") {
            assert!(
                property["description"].is_string(),
                "{name}.{key} has no description"
            );
        }
    }
}
