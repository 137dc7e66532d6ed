//! The snapshots that runs keep: made once, used by those that come later, and what is in the way of that.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{
    Ended, Place, Traces, Watched, adopt, all_ended, cache_of_the_others, run, signal,
};

const LAB: &str = "[machines.a]\n[tests.t]\nsteps = [{ run = \"true\" }]\n";

/// Where memory is written while it is not yet kept.
const UNFINISHED: &str = "new";

/// A run that passes.
fn passes(place: &Place, arguments: &[&str]) -> Ended {
    let ended = place.run(&[&["run", "--output", "out"], arguments].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended
}

/// The events of a kind in the last run.
fn events(place: &Place, kind: &str) -> Vec<Value> {
    let events = place.output("events.jsonl");
    let events = events
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    events
        .filter(|event: &Value| event["event"] == kind)
        .collect()
}

/// What became of the lab of the last run, and why.
fn chosen(place: &Place) -> (String, String) {
    chosen_of(&events(place, "chosen"))
}

fn chosen_of(events: &[Value]) -> (String, String) {
    let mut chosen = events
        .iter()
        .filter(|event| event["event"] == "chosen" && event["what"] == "snapshot");
    let event = chosen.next().expect("a choice");
    assert!(chosen.next().is_none(), "{events:?}");
    let text = |name: &str| event[name].as_str().unwrap().to_owned();
    (text("choice"), text("reason"))
}

fn warnings(place: &Place) -> Vec<String> {
    let warnings = events(place, "warning").into_iter();
    let messages = warnings.map(|event| steady(place, event["message"].as_str().unwrap()));
    messages.collect()
}

/// What is the same wherever it is printed, and on whatever host.
fn steady(place: &Place, text: &str) -> String {
    let text = text.replace(&*place.snapshots().to_string_lossy(), "SNAPSHOTS");
    let text = text.replace(&*place.path("").to_string_lossy(), "PLACE/");
    let mut steady = String::new();
    for word in text.split_inclusive(|letter: char| !letter.is_ascii_alphanumeric()) {
        let letters = word.trim_end_matches(|letter: char| !letter.is_ascii_alphanumeric());
        let is_key = letters.len() == 32 && letters.bytes().all(|byte| byte.is_ascii_hexdigit());
        steady.push_str(&if is_key {
            word.replace(letters, "KEY")
        } else {
            word.to_owned()
        });
    }
    steady
}

/// The one snapshot that is kept, beside those that were set aside.
fn kept(place: &Place) -> PathBuf {
    let mut entries = names(place.snapshots());
    entries.retain(|name| !name.contains("-broken-"));
    let [entry] = &entries[..] else {
        panic!("{entries:?}");
    };
    place.snapshots().join(entry)
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_later_run_goes_on_from_what_an_earlier_one_kept() {
    let place = Place::new(LAB);
    passes(&place, &[]);
    let (choice, reason) = chosen(&place);
    assert_eq!(choice, "boot");
    assert!(
        reason.starts_with("there is none yet; it is made in "),
        "{reason}"
    );
    let entry = kept(&place);
    passes(&place, &[]);
    let (choice, reason) = chosen(&place);
    assert_eq!(
        (choice.as_str(), steady(&place, &reason)),
        ("go on", "found in SNAPSHOTS".to_owned())
    );
    // Nothing boots, and all of it is in the log of the console nevertheless.
    let phases = events(&place, "phase-started");
    assert!(
        phases.iter().all(|event| event["phase"] != "boot"),
        "{phases:?}"
    );
    assert_eq!(kept(&place), entry);
    let never = run(place
        .attest(&["run", "--output", "out"])
        .env("ATTEST_SNAPSHOTS", "never"));
    assert_eq!(never.code, Some(0), "{never:?}");
    assert!(
        events(&place, "chosen")
            .iter()
            .all(|event| event["what"] != "snapshot")
    );
    let again = run(place
        .attest(&["run", "--output", "out"])
        .env("ATTEST_SNAPSHOTS", "rebuild"));
    assert_eq!(again.code, Some(0), "{again:?}");
    let (choice, reason) = chosen(&place);
    assert_eq!(choice, "boot");
    assert!(reason.starts_with("it is to be made anew; "), "{reason}");
    assert_eq!(kept(&place), entry);
    assert_eq!(warnings(&place), Vec::<String>::new());
}

#[test]
fn what_is_on_the_way_to_a_set_up_is_no_lab_of_the_test() {
    let place = Place::new(
        "[machines.a]\n[setups.first]\nsteps = [{ run = \"true\" }]\n\
         [setups.second]\nafter = \"first\"\nsteps = [{ run = \"true\" }]\n\
         [tests.t]\nsetup = \"second\"\nsteps = [{ run = \"true\" }]\n",
    );
    passes(&place, &[]);
    assert_eq!(events(&place, "lab-started").len(), 1);
    assert_eq!(events(&place, "lab-ended").len(), 1);
    let chosen = events(&place, "chosen").into_iter();
    let of_snapshots = chosen.filter(|event| event["what"] == "snapshot");
    let choices: Vec<_> = of_snapshots.map(|event| event["choice"].clone()).collect();
    assert_eq!(choices, ["make", "make", "boot"]);
}

#[test]
fn of_two_runs_at_once_one_makes_it_and_the_other_waits() {
    let place = Place::new(LAB);
    let mut first = Watched::start(&place);
    while first
        .events
        .last()
        .is_none_or(|event| event["what"] != "snapshot")
    {
        first.next().expect("it chooses");
    }
    // It stands still until the other has said that it waits.
    signal(first.pid(), Signal::SIGSTOP);
    let mut second = Watched::with(&place, &["--output", "also"]);
    while second
        .events
        .last()
        .is_none_or(|event| event["text"] != "waiting for another attest that builds the snapshot")
    {
        second.next().expect("it waits");
    }
    signal(first.pid(), Signal::SIGCONT);
    for (run, choice) in [(&mut first, "boot"), (&mut second, "go on")] {
        while run.next().is_some() {}
        assert_eq!(run.child.wait().unwrap().code(), Some(0));
        assert_eq!(chosen_of(&run.events).0, choice);
    }
    kept(&place);
}

/// When a driver that makes a snapshot is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// With the first event of this phase.
    Phase(&'static str),
    /// As soon as there is a file of this name of the one that is being made.
    File(&'static str),
}

impl Moment {
    /// All of the making, in its order.
    const ALL: [Self; 7] = [
        Self::Phase("boot"),
        Self::File("a.memory"),
        Self::Phase("snapshot"),
        Self::Phase("test"),
        Self::File("a.devices"),
        Self::File("snapshot.json"),
        Self::File("DIGESTS"),
    ];

    fn wait(self, run: &mut Watched, place: &Place) {
        match self {
            Self::Phase(name) => {
                while run.events.last().is_none_or(|event| event["phase"] != name) {
                    run.next().expect("the phase");
                }
            }
            // At the last moments it may be over when it is looked for. Nothing tells of a file.
            Self::File(name) => {
                while !run.has_ended() && !is_there(place, name) {
                    std::thread::yield_now();
                }
            }
        }
    }
}

fn is_there(place: &Place, file: &str) -> bool {
    let entries = fs::read_dir(place.snapshots()).unwrap().flatten();
    entries
        .map(|entry| entry.path().join(file))
        .any(|path| path.exists())
}

#[test]
fn a_driver_that_is_killed_while_it_saves_leaves_a_whole_snapshot_or_none() {
    adopt();
    let place = Place::new(LAB);
    passes(&place, &[]);
    let before = Traces::now(&place);
    for moment in Moment::ALL {
        fs::remove_dir_all(place.path("out")).unwrap();
        for name in names(place.snapshots()) {
            fs::remove_dir_all(place.snapshots().join(name)).unwrap();
        }
        let mut killed = Watched::start(&place);
        moment.wait(&mut killed, &place);
        signal(killed.pid(), Signal::SIGKILL);
        while killed.next().is_some() {}
        all_ended(killed.pid());
        assert_eq!(Traces::now(&place), before, "{moment:?}");
        let verified = place.run(&["snapshot", "verify"]);
        assert_eq!(verified.code, Some(0), "{moment:?}: {verified:?}");
        // Whoever looks at them sweeps.
        let left = names(place.snapshots());
        let unfinished = |name: &String| {
            Path::new(name)
                .extension()
                .is_some_and(|end| end == UNFINISHED)
        };
        assert!(!left.iter().any(unfinished), "{moment:?}: {left:?}");
        passes(&place, &[]);
        kept(&place);
        assert_eq!(warnings(&place), Vec::<String>::new(), "{moment:?}");
    }
}

#[test]
fn what_is_damaged_is_set_aside_and_made_again() {
    let place = Place::new(LAB);
    passes(&place, &[]);
    let damaged = |damage: &dyn Fn(&Path)| {
        damage(&kept(&place));
        passes(&place, &[]);
        assert_eq!(chosen(&place).0, "boot");
        let said = warnings(&place).join("\n");
        passes(&place, &[]);
        assert_eq!(chosen(&place).0, "go on");
        said
    };
    let truncated = damaged(&|entry| writable(&entry.join("a.memory")).set_len(1 << 20).unwrap());
    insta::assert_snapshot!(truncated, @"snapshot-KEY is broken: `a.memory` is truncated: 1048576 of 268435456 bytes are left; it is set aside as snapshot-broken-KEY, until `attest snapshot gc`");
    let changed = damaged(&|entry| {
        writable(&entry.join("a.devices"))
            .write_all_at(b"x", 100)
            .unwrap();
    });
    insta::assert_snapshot!(changed, @"snapshot-KEY is broken: `a.devices` is not what was put there; it is set aside as snapshot-broken-2-KEY, until `attest snapshot gc`");
    let missing = damaged(&|entry| fs::remove_file(entry.join("snapshot.json")).unwrap());
    insta::assert_snapshot!(missing, @"snapshot-KEY is broken: `snapshot.json` is missing; it is set aside as snapshot-broken-3-KEY, until `attest snapshot gc`");
    assert_eq!(names(place.snapshots()).len(), 4);
    assert_eq!(place.run(&["snapshot", "gc"]).code, Some(0));
    let entry = kept(&place);
    assert_eq!(
        names(place.snapshots()),
        [entry.file_name().unwrap().to_str().unwrap()]
    );
}

fn writable(path: &Path) -> File {
    File::options().write(true).open(path).unwrap()
}

#[test]
fn another_qemu_is_named() {
    let place = Place::new(LAB);
    passes(&place, &[]);
    let search = std::env::var_os("PATH").expect("a search path");
    let name = "qemu-system-x86_64";
    let directories = std::env::split_paths(&search);
    let real = directories
        .map(|directory| directory.join(name))
        .find(|path| path.exists());
    let real = real.expect("QEMU");
    let own = place.path("bin");
    fs::create_dir(&own).unwrap();
    fs::write(
        own.join(name),
        format!("#!/bin/sh\nexec {} \"$@\"\n", real.display()),
    )
    .unwrap();
    fs::set_permissions(own.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    let mut search_own = own.into_os_string();
    search_own.push(":");
    search_own.push(&search);
    let other = || {
        let ended = run(place
            .attest(&["run", "--output", "out"])
            .env("PATH", &search_own));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        chosen(&place)
    };
    let (choice, reason) = other();
    assert_eq!(choice, "boot");
    let reason = steady(&place, &reason);
    let found = reason
        .strip_prefix("the last one differs: QEMU of a: ")
        .expect(&reason);
    assert!(
        found.contains(&format!(" (PLACE/bin/{name}), was ")),
        "{reason}"
    );
    assert!(
        found.contains(&format!(" ({}); it is made in SNAPSHOTS: ", real.display())),
        "{reason}"
    );
    // Both are kept from now on.
    assert_eq!(other().0, "go on");
    passes(&place, &[]);
    assert_eq!(chosen(&place).0, "go on");
    assert_eq!(names(place.snapshots()).len(), 2);
}

/// A cache of its own with what takes long to make; with the mounts that `script` makes there, where the directory
/// is, a run that passes.
fn passes_with_mounts(place: &Place, script: &str) {
    let prepare = "mkdir -m 700 -p cache/snapshots small && for each in \"$1\"/kernel-* \"$1\"/vmlinux-* \
                   \"$1\"/initramfs-*; do test ! -e \"$each/DIGESTS\" || test -e \"cache/$(basename \"$each\")\" || cp -r \"$each\" cache; done";
    let go = "exec \"$0\" run --cache cache --output out";
    let mut command = std::process::Command::new("unshare");
    place.settle(&mut command);
    command.args([
        "--mount",
        "sh",
        "-c",
        &format!("{prepare} && {script} && {go}"),
    ]);
    command
        .arg(env!("CARGO_BIN_EXE_attest"))
        .arg(cache_of_the_others());
    let ended = run(command.env("ATTEST_SNAPSHOTS_DIR", place.path("small")));
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

fn can_mount() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        eprintln!("SKIPPED: only root may mount");
    }
    is_root
}

#[test]
fn where_no_place_has_room_a_run_goes_on_without() {
    if !can_mount() {
        return;
    }
    let place = Place::new(LAB);
    // One place is too small: the other is taken.
    passes_with_mounts(&place, "mount -t tmpfs -o size=4M,mode=700 none small");
    let (choice, reason) = chosen(&place);
    assert_eq!(choice, "boot");
    insta::assert_snapshot!(steady(&place, &reason), @"there is none yet; it is made in PLACE/cache/snapshots; not in PLACE/small: 256 MiB are more than half of the 4 MiB that are free there");
    assert_eq!(warnings(&place), Vec::<String>::new());
    fs::remove_dir_all(place.path("cache/snapshots")).unwrap();
    passes_with_mounts(
        &place,
        "mount -t tmpfs -o size=4M,mode=700 none small && mount -t tmpfs -o size=8M,mode=700 none cache/snapshots",
    );
    assert!(
        events(&place, "chosen")
            .iter()
            .all(|event| event["what"] != "snapshot")
    );
    insta::assert_snapshot!(warnings(&place).join("\n"), @"snapshots are not kept: one of 256 MiB is too large for PLACE/cache/snapshots, where 8 MiB are free; remove some with `attest snapshot gc`, or set ATTEST_SNAPSHOTS_DIR to a directory with more");
}

#[test]
fn runs_keep_as_much_as_is_wanted() {
    let place = Place::new(LAB);
    let mut command = place.attest(&["run", "--output", "out"]);
    let ended = run(command.env("ATTEST_SNAPSHOTS_SIZE", "1M"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let [warning] = &warnings(&place)[..] else {
        panic!("{:?}", warnings(&place));
    };
    assert!(
        warning.contains("more than the limit of 1 MiB"),
        "{warning}"
    );
    let ended = run(command.env("ATTEST_SNAPSHOTS_SIZE", "much"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    insta::assert_snapshot!(warnings(&place).join("\n"), @"ATTEST_SNAPSHOTS_SIZE is `much`, which is not a size; write it as 500M or 10G");
}

#[test]
fn where_nothing_can_be_written_a_run_goes_on_without() {
    if !can_mount() {
        return;
    }
    let place = Place::new(LAB);
    let read_only =
        |path: &str| format!("mount --bind {path} {path} && mount -o remount,bind,ro {path}");
    passes_with_mounts(&place, &read_only("small"));
    insta::assert_snapshot!(warnings(&place).join("\n"), @"snapshots are not kept: PLACE/small/snapshot-KEY.lock cannot be written to; set ATTEST_SNAPSHOTS_DIR to a directory of your own: Read-only file system (os error 30)");
    // What is there is not used, for VMMs open what they map to be written to, too.
    passes_with_mounts(&place, "true");
    assert_eq!(chosen(&place).0, "boot");
    passes_with_mounts(&place, &read_only("small"));
    insta::assert_snapshot!(warnings(&place).join("\n"), @"the snapshot PLACE/small/snapshot-KEY cannot be read: Read-only file system (os error 30); it is not used");
}

/// Two tests of which the first lasts until the run is interrupted.
const BIG: &str = "[machines.a]\n[tests.first]\nsteps = [{ run = \"sleep 1000\" }]\n\
                   [tests.second]\nsteps = [{ run = \"true\" }]\n";

#[test]
fn a_lab_that_exceeds_the_memory_waits_and_says_so() {
    let place = Place::new(BIG);
    let cache = place.path("cache");
    let prepare =
        "mkdir -m 700 cache && cp -r \"$0\"/kernel-* cache; cp -r \"$0\"/vmlinux-* cache; true";
    let mut command = std::process::Command::new("sh");
    place.settle(&mut command);
    run(command.args(["-c", prepare]).arg(cache_of_the_others()));
    // As if both had taken all that any host has.
    let name = place.path("");
    let name = name.file_name().unwrap().to_str().unwrap();
    let took = serde_json::json!({ "duration_ms": 1, "ended": 1, "memory": 1_u64 << 50 });
    let history = serde_json::json!({ "labs": { name: { "first": took, "second": took } } });
    fs::write(cache.join("history.json"), history.to_string()).unwrap();
    let mut run = Watched::with(
        &place,
        &[
            "--cache", "cache", "--output", "out", "-j2", "--order", "manifest",
        ],
    );
    let said = |run: &mut Watched, part: &str| loop {
        run.next().expect(part);
        let event = run.events.last().unwrap();
        if let Some(text) = event["text"].as_str().filter(|text| text.contains(part)) {
            return (event["test"].clone(), text.to_owned());
        }
    };
    let (who, words) = said(&mut run, "runs alone");
    assert_eq!(who, "first");
    assert!(
        words.starts_with("first runs alone: it needs 1048576 GiB, and "),
        "{words}"
    );
    let (who, words) = said(&mut run, "waits");
    assert_eq!(who, "second");
    assert!(
        words.starts_with("second waits: needs 1048576 GiB, 0 MiB are free of "),
        "{words}"
    );
    signal(run.pid(), Signal::SIGINT);
    while run.next().is_some() {}
    assert_eq!(run.child.wait().unwrap().code(), Some(130));
    assert!(!place.path("out/second").exists());
}
