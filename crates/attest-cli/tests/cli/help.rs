//! What the program says of itself.

use crate::support::{Place, run};

#[test]
fn every_command_has_its_help() {
    let place = Place::new("");
    let commands = [
        "",
        "run",
        "list",
        "plan",
        "doctor",
        "shell",
        "exec",
        "image",
        "image build",
        "image store",
        "image initrd",
        "image kernel",
        "image ls",
        "image inspect",
        "image rm",
        "image gc",
        "image verify",
        "snapshot",
        "snapshot ls",
        "snapshot inspect",
        "snapshot rm",
        "snapshot gc",
        "snapshot verify",
        "nix",
        "nix build",
        "nix shard",
        "nix snapshot",
        "nix aggregate",
        "merge-junit",
        "completions",
        "man",
        "schema",
        "nixos-test-driver",
        "generate-driver-symbols",
        "rpc",
    ];
    for name in commands {
        let mut arguments: Vec<_> = name.split_whitespace().collect();
        arguments.push("--help");
        let mut command = place.attest(&arguments);
        for variable in [
            "ATTEST_CACHE",
            "ATTEST_SNAPSHOTS",
            "ATTEST_KEEP",
            "ATTEST_NIX_PROGRAM",
        ] {
            command.env_remove(variable);
        }
        let help = run(&mut command);
        assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
        let name = if name.is_empty() { "attest" } else { name };
        insta::assert_snapshot!(format!("help-{}", name.replace(' ', "-")), help.stdout);
    }
}

#[test]
fn no_command_means_help() {
    let ended = Place::new("").run(&[]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    assert!(ended.stderr.contains("Usage: attest"), "{}", ended.stderr);
}

#[test]
fn shells_can_complete_and_man_can_show() {
    let place = Place::new("");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let completions = place.run(&["completions", shell]);
        assert_eq!(completions.code, Some(0));
        for word in ["doctor", "exec", "--junit", "--job"] {
            let bare = word.trim_start_matches('-');
            assert!(completions.stdout.contains(bare), "{shell}: {word}");
        }
    }
    let man = place.run(&["man"]);
    assert_eq!(man.code, Some(0));
    assert!(man.stdout.contains(".TH attest 1"), "{}", man.stdout);
    for part in ["interrupted", "attest\\-doctor(1)"] {
        assert!(man.stdout.contains(part), "{part}: {}", man.stdout);
    }
    let man = place.run(&["man", "exec"]);
    for part in [".TH attest-exec 1", "ATTEST_CACHE", "Examples:"] {
        assert!(man.stdout.contains(part), "{part}: {}", man.stdout);
    }
    let man = place.run(&["man", "image", "gc"]);
    for part in [".TH attest-image-gc 1", "ATTEST_CACHE", "unused\\-for"] {
        assert!(man.stdout.contains(part), "{part}: {}", man.stdout);
    }
    let unknown = place.run(&["man", "rum"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("`rum`"), "{}", unknown.stderr);
}

#[test]
fn the_schema_is_the_one_that_is_published() {
    let schema = Place::new("").run(&["schema"]);
    let published = include_str!("../../../attest-manifest/schema/attest.schema.json");
    assert!(schema.stdout == published);
}

#[test]
fn the_version_is_the_packages() {
    let version = Place::new("").run(&["--version"]);
    assert_eq!(
        version.stdout,
        format!("attest {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_closed_pipe_is_no_error() {
    let place = Place::new("");
    let mut command = std::process::Command::new("sh");
    place.settle(&mut command);
    let script = "{ \"$0\" schema; echo \"ended with $?\" >&2; } | head -n 1";
    command.args(["-c", script, env!("CARGO_BIN_EXE_attest")]);
    let ended = crate::support::run(&mut command);
    assert_eq!(ended.stdout, "{\n");
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

#[test]
fn a_reader_that_has_gone_is_no_error_of_any_command() {
    let manifest = "[machines.a]\n[tests.t]\nsteps = [{ on = \"a\", run = \"true\" }]\n";
    let place = Place::new(manifest);
    let commands = [
        "schema",
        "rpc --schema",
        "man",
        "completions bash",
        "list",
        "plan",
        "image ls",
        "doctor",
    ];
    for arguments in commands {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_attest"));
        place.settle(&mut command);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        command.args(arguments.split(' ')).stdout(writer);
        let ended = command.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "{arguments}");
    }
}
