//! Suites of tests of whole systems, in the shapes that such tests have. Each is in a directory of its own: its lab
//! (`attest.toml`), and the same content several times over: in Rust (`tests/`), in Python (`suite.py`), as a script
//! for the NixOS test driver (`test_script.py`), and as plain shell scripts that run in the machines themselves
//! (`floor/`). `attest run bench/suites/policy-reload` runs one; `cargo xtask bench suites` measures all.
//!
//! What their tests in Rust have in common is here.

use attest::{Machine, Result};

/// Run a command that succeeds, and find all of these in what it writes.
///
/// # Panics
/// One of them is not there.
pub async fn says(machine: &Machine, command: &str, parts: &[&str]) -> Result<()> {
    let said = machine.shell(command).await?.text();
    assert_parts(command, &said, parts);
    Ok(())
}

/// As [`says`], of a command that fails.
///
/// # Panics
/// One of them is not there.
pub async fn refuses(machine: &Machine, command: &str, parts: &[&str]) -> Result<()> {
    let said = machine.shell(command).expect_failure().await?.text();
    assert_parts(command, &said, parts);
    Ok(())
}

/// Run a command that succeeds, and has nothing to say.
///
/// # Panics
/// It says something.
pub async fn is_silent(machine: &Machine, command: &str) -> Result<()> {
    let said = machine.shell(command).await?.text();
    assert_eq!(said, "", "`{command}` has something to say");
    Ok(())
}

fn assert_parts(command: &str, said: &str, parts: &[&str]) {
    for part in parts {
        assert!(
            said.contains(part),
            "`{command}` says no {part:?}, but {said:?}"
        );
    }
}
