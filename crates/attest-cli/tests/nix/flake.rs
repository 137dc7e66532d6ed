//! The flake as its users have it.

use std::fs;

use tempfile::TempDir;

use attest_fixture::nix::{self, Failure, Nix, Well as _};

/// Templates, with the checks that they have.
const TEMPLATES: [(&str, &[&str]); 3] = [
    ("default", &["web"]),
    ("flake-parts", &["boot"]),
    ("nixos-test", &["login", "login-on-attest"]),
];

#[test]
fn all_of_it_evaluates() {
    for nix in Nix::all(&crate::tested()) {
        let flake = format!("path:{}", nix.sources.attest().display());
        let inputs = nix.inputs();
        let mut words = vec!["flake", "check", "--no-build", "--keep-going", &flake];
        words.extend(inputs.iter().map(String::as_str));
        match nix.run(&words) {
            Ok(_) => {}
            // It looks for templates in /nix/store, although its own store is somewhere else.
            Err(Failure { stderr }) if nix.version.starts_with("2.8.") => {
                for error in stderr.lines().filter(|line| line.starts_with("error")) {
                    let is_known = error.contains("has a bad 'path' attribute")
                        || error.starts_with("error: some errors");
                    assert!(is_known, "Nix {}:\n{stderr}", nix.version);
                }
            }
            failed @ Err(_) => {
                failed.well(&nix);
            }
        }
    }
}

/// What the tests in `boots` have built is not built again.
#[test]
fn its_checks_pass() {
    let Some(nix) = Nix::newest(&crate::tested()) else {
        return;
    };
    let flake = format!("path:{}", nix.sources.attest().display());
    let inputs = nix.inputs();
    let mut words = vec!["flake", "check", "-L", &flake];
    words.extend(inputs.iter().map(String::as_str));
    let checked = nix.run(&words);
    if nix.version.starts_with("2.8.") {
        let failure = checked.expect_err("of the templates");
        assert!(failure.stderr.contains("bad 'path'"), "{failure:?}");
    } else {
        checked.well(&nix);
    }
}

/// The inputs of a user's flake.
fn inputs(nix: &Nix) -> Vec<String> {
    let attest = nix.sources.attest();
    let nixpkgs = nix.sources.nixpkgs();
    let parts = nix.sources.tests().join("flake-parts");
    let inputs = [
        ("attest", &attest),
        ("attest/nixpkgs", &nixpkgs),
        ("nixpkgs", &nixpkgs),
        ("flake-parts", &parts),
    ];
    let words = inputs.map(|(name, path)| {
        let place = format!("path:{}", path.display());
        ["--override-input".to_owned(), name.to_owned(), place]
    });
    let first = std::iter::once("--no-write-lock-file".to_owned());
    first.chain(words.into_iter().flatten()).collect()
}

#[test]
fn templates_evaluate() {
    for nix in Nix::all(&crate::tested()) {
        for (name, checks) in TEMPLATES {
            let place = TempDir::new().unwrap();
            let from = nix.sources.attest().join("nix/templates").join(name);
            nix::copy(&from, place.path()).unwrap();
            let found = nix.checks_of(place.path(), &inputs(&nix)).well(&nix);
            assert_eq!(found, checks, "{name}");
        }
    }
}

/// Outside of Nix's sandbox, in the namespace in which `nix run` shows the store.
#[test]
fn a_test_runs_by_its_driver() {
    let Some(nix) = Nix::newest(&crate::tested()) else {
        return;
    };
    let flake = nix.sources.attest();
    let driver = format!(
        "path:{}#checks.x86_64-linux.two-machines.driver",
        flake.display()
    );
    let inputs = nix.inputs();
    for (arguments, says) in [
        (&["list"][..], "addresses"),
        (&["run", "names", "--output", "out"], ""),
        (&["exec", "server", "--", "hostname"], "server\n"),
    ] {
        let mut words = vec!["run", &driver];
        words.extend(inputs.iter().map(String::as_str));
        words.push("--");
        words.extend(arguments);
        let place = TempDir::new().unwrap();
        let mut command = nix.command(&words);
        command
            .current_dir(place.path())
            .env("ATTEST_HOST", &nix.bundle.directory)
            .env("ATTEST_SNAPSHOTS_DIR", place.path());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(says), "{output:?}");
        if arguments[0] == "run" {
            assert!(place.path().join("out/junit.xml").exists());
        }
    }
}

#[test]
fn a_template_is_written_by_its_name() {
    let Some(nix) = Nix::newest(&crate::tested()) else {
        return;
    };
    if nix.version.starts_with("2.8.") {
        eprintln!("skipped: Nix 2.8 takes templates from /nix/store alone");
        return;
    }
    let place = TempDir::new().unwrap();
    let template = format!("path:{}#flake-parts", nix.sources.attest().display());
    // Else it would ask where its nixpkgs is.
    let nixpkgs = format!("path:{}", nix.sources.nixpkgs().display());
    let flake = format!("path:{}", nix.sources.attest().display());
    let words = [
        "flake",
        "lock",
        &flake,
        "--override-input",
        "nixpkgs",
        &nixpkgs,
    ];
    nix.run(&words).well(&nix);
    let mut command = nix.command(&["flake", "init", "--template", &template]);
    let output = command.current_dir(place.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(fs::read_to_string(place.path().join("flake.nix")).is_ok());
}
