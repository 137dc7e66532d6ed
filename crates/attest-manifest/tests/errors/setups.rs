//! Mistakes in set-ups and isolation.

use insta::assert_snapshot;

use crate::toml;

#[test]
fn setups() {
    assert_snapshot!(toml(
        "[machines.a]\n[setups.none]\n[setups.both]\nsteps = []\nscript = \"x.py\"\n\
         [setups.\"\"]\nsteps = []\n[setups.late]\nafter = \"instaled\"\ntimeout = \"0s\"\n\
         script = \"nowhere.py\"\n[setups.installed]\nsteps = [{ on = \"z\", run = \"true\" }]\n"
    ));
}

#[test]
fn types() {
    assert_snapshot!(toml(
        "isolation = \"forks\"\n[machines.a]\nindependent = \"yes\"\n\
         [setups.ready]\nsteps = [{ rum = \"x\" }]\ntests = []\n"
    ));
}

#[test]
fn cycles() {
    let setup =
        |name: &str, after: &str| format!("[setups.{name}]\nafter = \"{after}\"\nsteps = []\n");
    let mut text = "[machines.a]\n".to_owned();
    // Two that wait for each other, one that waits for them, one that waits for itself, and a
    // chain that is right.
    for (name, after) in [
        ("c", "a"),
        ("a", "b"),
        ("b", "a"),
        ("own", "own"),
        ("d", "e"),
    ] {
        text.push_str(&setup(name, after));
    }
    text.push_str("[setups.e]\nsteps = []\n");
    assert_snapshot!(toml(&text));
    let mut long = "[machines.a]\n".to_owned();
    for number in 0..20 {
        long.push_str(&setup(
            &format!("s{number}"),
            &format!("s{}", (number + 1) % 20),
        ));
    }
    assert_snapshot!(toml(&long));
}

#[test]
fn tests_that_name_them() {
    assert_snapshot!(toml(
        "[machines.a]\n[setups.installed]\nsteps = []\n[tests.t]\nsetup = \"instaled\"\nsteps = []\n\
         [tests.code]\nsetup = \"installed\"\nrust = { binary = \"x\" }\n"
    ));
    assert_snapshot!(toml(
        "[machines.a]\n[tests.t]\nsetup = \"ready\"\nsteps = []\n"
    ));
}

#[test]
fn a_setup_that_cannot_be_read_is_no_unknown_one() {
    assert_snapshot!(toml(
        "[machines.a]\n[setups]\nready = 5\n[tests.t]\nsetup = \"ready\"\nsteps = []\n"
    ));
}
