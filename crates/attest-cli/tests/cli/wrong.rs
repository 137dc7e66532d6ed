//! Wrong input: said at once, in the user's words, and nothing is started.

use crate::support::{Place, run};

/// What is wrong with this manifest, as `list` says it.
fn complaint(manifest: &str) -> String {
    let ended = Place::new(manifest).run(&["list"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    ended.stderr
}

#[test]
fn a_wrong_manifest_is_underlined() {
    insta::assert_snapshot!(complaint(
        "[machines.a]\nmemroy = \"1G\"\n\n[tests.t]\nsteps = [{ on = \"b\", run = \"true\" }]\n"
    ));
    insta::assert_snapshot!(complaint("[machines.a]\nmemory = \"1G\n"));
}

#[test]
fn a_wrong_command_line_is_told_from_a_wrong_manifest() {
    let place = Place::new("[machines.a]\n[machines.b]\n");
    let cases: [&[&str]; 9] = [
        &["rum"],
        &["run", "--junti", "x"],
        &["run", "missing.toml"],
        &["run", "attest.toml", "--accel", "xen"],
        &["run", "-q", "-v"],
        &["exec", "nobody", "true"],
        &["exec", "a"],
        &["exec", "a", "--timeout", "soon", "true"],
        &["shell"],
    ];
    let mut all = String::new();
    for case in cases {
        // What is set is told in the usage.
        let mut command = place.attest(case);
        for variable in ["ATTEST_CACHE", "ATTEST_SNAPSHOTS"] {
            command.env_remove(variable);
        }
        let ended = run(&mut command);
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(2), ""),
            "{case:?}: {ended:?}"
        );
        let said = ended.stderr.trim_end();
        all.extend(["$ attest ", &case.join(" "), "\n", said, "\n"]);
    }
    insta::assert_snapshot!(all);
}

#[test]
fn nothing_to_run_has_a_code_of_its_own() {
    let place = Place::new("[machines.a]\n[tests.t]\nsteps = [{ on = \"a\", run = \"true\" }]\n");
    let ended = place.run(&["run", "other"]);
    assert_eq!(ended.code, Some(4));
    insta::assert_snapshot!(ended.stderr, @"no test in . has `other` in its name; see `attest list`");
    assert!(!place.path("attest-out").exists());
}

#[test]
fn a_host_without_qemu_is_told_what_to_install() {
    let place = Place::new("[machines.a]\n[tests.t]\nsteps = [{ on = \"a\", run = \"true\" }]\n");
    let ended = run(place
        .attest(&["run", "--output", "out"])
        .env("PATH", "/nonexistent"));
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let said = ended.stderr.lines().find(|line| line.contains("QEMU"));
    insta::assert_snapshot!(said.unwrap_or_default().trim(), @"a machine cannot be started: a: there is no QEMU to run it: qemu-system-x86_64 is not on PATH; install QEMU: `apt install qemu-system-x86` (Debian), `dnf install qemu-system-x86-core` (Fedora), `pacman -S qemu-system-x86` (Arch), `nix shell nixpkgs#qemu` (Nix)");
}

#[test]
fn the_doctor_gives_reasons() {
    let place = Place::new("");
    let ended = place.run(&["doctor", "--format", "json"]);
    let mut count = 0;
    for line in ended.stdout.lines() {
        let check: serde_json::Value = serde_json::from_str(line).unwrap();
        let reason = check["detail"].as_str().unwrap();
        assert!(check["works"] == true || !reason.is_empty(), "{line}");
        count += 1;
    }
    assert!(count >= 5, "{}", ended.stdout);
    let shown = place.run(&["doctor"]);
    assert_eq!(shown.code, ended.code);
    // No terminal, no colour.
    assert!(!shown.stdout.contains('\x1b'), "{}", shown.stdout);
}
