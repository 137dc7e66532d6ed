//! Two builders on this host, each with a store of its own; the process through which Nix speaks to one is killed
//! together with what it builds.

use nix::unistd::Pid;

use super::place::{Place, Watched};
use super::processes::{builds, children, end, tree};

/// Options of Nix by which it builds nothing itself; each builder does one thing at once.
fn elsewhere(place: &Place) -> [String; 6] {
    let builder = |name| {
        format!(
            "{} x86_64-linux - 1 1 nixos-test",
            place.path(name).display()
        )
    };
    let builders = format!("{} ; {}", builder("one"), builder("two"));
    [
        "--option", "max-jobs", "0", "--option", "builders", &builders,
    ]
    .map(str::to_owned)
}

fn start(place: &Place, test: &str) -> Watched {
    let builders = elsewhere(place);
    let builders: Vec<&str> = builders.iter().map(String::as_str).collect();
    Watched::start(place.attest(&[test], &["--format", "json"], &builders))
}

/// Kill what builds this derivation, with all that Nix started for it.
fn kill_builder(attest: Pid, derivation: &str) {
    let programs = tree(attest).into_iter().skip(1);
    let hooks = programs.flat_map(children).map(tree);
    let builder = hooks
        .filter(|hook| hook.iter().any(|pid| builds(*pid, derivation)))
        .min_by_key(|hook| std::cmp::Reverse(hook.len()));
    end(&builder.expect("somebody builds it"));
}

#[test]
fn shards_are_spread_over_both() {
    for place in Place::all() {
        let mut build = start(&place, "green");
        build.until_waiting("first");
        build.until_waiting("second");
        let gates = ["first", "second"].map(|shard| place.open(shard));
        assert_eq!(build.end(), Some(0), "{}", place.version);
        drop(gates);
        let builders = ["first", "second"].map(|shard| {
            let builder = place.shard(shard)["attempts"][0]["builder"].clone();
            let name = builder.as_str().unwrap().to_owned();
            name.rsplit('/').next().unwrap().to_owned()
        });
        let mut builders = builders.to_vec();
        builders.sort();
        assert_eq!(builders, ["one", "two"], "{}", place.version);
    }
}

#[test]
fn what_a_builder_was_killed_with_is_built_again() {
    for place in Place::all() {
        let mut build = start(&place, "killed");
        build.until_waiting("long");
        kill_builder(build.pid(), "attest-shard-long");
        build.until_lost("long");
        let gate = place.open("long");
        assert_eq!(build.end(), Some(0), "{}", place.version);
        drop(gate);
        assert_eq!(
            place.outcomes("long"),
            ["no-output", "built"],
            "{}",
            place.version
        );
        assert_eq!(place.outcomes("short"), ["built"], "{}", place.version);
        let shard = place.shard("long");
        let lost = &shard["attempts"][0];
        assert!(
            lost["reason"].as_str().unwrap().contains("(Killed)"),
            "{lost}"
        );
        assert_eq!(lost["log"][0], "at the gate");
        assert_eq!(shard["verdict"], "passed");
        insta::assert_snapshot!("killed-junit", place.same(&place.output("junit.xml")));
    }
}

#[test]
fn a_test_that_fails_stays_red_beside_it() {
    for place in Place::all() {
        let mut build = start(&place, "mixed");
        build.until_waiting("long");
        kill_builder(build.pid(), "attest-shard-long");
        build.until_lost("long");
        let gate = place.open("long");
        assert_eq!(build.end(), Some(1), "{}", place.version);
        drop(gate);
        // What failed is a result, which nobody asks for again.
        assert_eq!(place.outcomes("failing"), ["built"], "{}", place.version);
        assert_eq!(
            place.outcomes("long"),
            ["no-output", "built"],
            "{}",
            place.version
        );
        insta::assert_snapshot!("mixed-junit", place.same(&place.output("junit.xml")));
    }
}
