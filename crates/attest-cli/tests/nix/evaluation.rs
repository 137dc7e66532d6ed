//! What is said without building anything: of tests, of what is wrong with them, of the flake.

use std::collections::BTreeMap;

use attest_fixture::nix::{Nix, Well as _};

/// A file of tests that evaluate, with an expression for it.
fn files(nix: &Nix) -> [(&'static str, String); 2] {
    let lib = format!(
        "(import {}/lib {{ lib = import {}/lib; }})",
        nix.sources.tests().display(),
        nix.sources.nixpkgs().display()
    );
    [
        ("lib", lib),
        ("evaluation", nix.sources.expression("evaluation.nix")),
    ]
}

#[test]
fn values_are_as_expected() {
    for nix in Nix::all(&crate::tested()) {
        for (name, file) in files(&nix) {
            let differing = nix.evaluate(&format!("{file}.values")).well(&nix);
            assert_eq!(differing, serde_json::json!({}), "{name}, {}", nix.version);
        }
    }
}

#[test]
fn what_is_wrong_is_said() {
    let Some(nix) = Nix::newest(&crate::tested()) else {
        return;
    };
    let mut messages = BTreeMap::new();
    for (file, expression) in files(&nix) {
        let says = nix.evaluate(&format!("{expression}.names")).well(&nix);
        for (name, parts) in says.as_object().unwrap() {
            let failed = nix.evaluate(&format!("{expression}.wrong.\"{name}\""));
            let failure = failed.expect_err(name);
            for part in parts.as_array().unwrap() {
                let part = part.as_str().unwrap();
                assert!(failure.stderr.contains(part), "{name}: {part}\n{failure:?}");
            }
            if file == "evaluation" {
                messages.insert(name.clone(), failure.message(&nix));
            }
        }
    }
    let messages: Vec<String> = messages
        .iter()
        .map(|(name, message)| format!("# {name}\n{message}\n\n"))
        .collect();
    insta::assert_snapshot!("messages", messages.concat());
}

/// Each is an error in every version.
#[test]
fn older_versions_say_the_same() {
    for nix in Nix::older(&crate::tested()) {
        let expression = nix.sources.expression("evaluation.nix");
        for name in ["unknown-option", "shared-directories", "system"] {
            let failed = nix.evaluate(&format!("{expression}.wrong.{name}"));
            let failure = failed.expect_err(name);
            let says = nix.evaluate(&format!("{expression}.names.{name}"));
            for part in says.well(&nix).as_array().unwrap() {
                let part = part.as_str().unwrap();
                assert!(failure.stderr.contains(part), "{name}: {part}\n{failure:?}");
            }
        }
    }
}
