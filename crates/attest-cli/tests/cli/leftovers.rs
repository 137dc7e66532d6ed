//! Whoever of a run is killed, and whenever: nothing is left of it.

use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::Signal;

use crate::support::{PAIR, Place, Traces, Watched, adopt, all_ended, groups_of, signal};

/// How many moments of a run each of them is killed at.
const MOMENTS: usize = 8;

/// Who is killed: how far it is from the driver, by descent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Driver = 0,
    Lab = 1,
    LabInit = 2,
    Vmm = 3,
}

/// The events of a whole run: before how many of them the victim is not there, and after how many
/// it ends by itself.
fn life(place: &Place, victim: Victim) -> (usize, usize) {
    let mut run = Watched::start(place);
    let mut first = None;
    let mut last = 0;
    while let Some(event) = run.next() {
        if first.is_none() && run.process(victim as usize).is_some() {
            first = Some(run.events.len());
        }
        if event == "phase-started" && run.events.last().unwrap()["phase"] == "shutdown" {
            last = run.events.len();
        }
    }
    assert_eq!(run.child.wait().unwrap().code(), Some(0));
    (first.expect("it lives"), last)
}

/// Run until `moment` events have come and the victim is there, and kill it.
fn killed(place: &Place, victim: Victim, moment: usize) -> Watched {
    let mut run = Watched::start(place);
    while run.events.len() < moment {
        run.next().expect("as many events as ever");
    }
    // At the last moments it may end by itself before it is looked for.
    while !run.has_ended() {
        if let Some(pid) = run.process(victim as usize) {
            signal(pid, Signal::SIGKILL);
            break;
        }
        // Nothing tells of a grandchild's birth.
        std::thread::yield_now();
    }
    run
}

/// Machines that boot, and those that go on from where they were saved.
fn nothing_is_left_of(victim: Victim) {
    nothing_is_left_where("never", victim, PAIR);
    nothing_is_left_where("auto", victim, PAIR);
}

fn nothing_is_left_where(snapshot_use: &'static str, victim: Victim, manifest: &str) {
    adopt();
    let mut place = Place::new(manifest);
    place.snapshot_use = snapshot_use;
    // What is built once stays, in the cache, and the snapshot where those are.
    life(&place, victim);
    let (first, last) = life(&place, victim);
    assert!(last >= first + 5, "{first} to {last}: too few moments");
    let before = Traces::now(&place);
    for number in 0..MOMENTS {
        // The first is its birth, whatever comes then; the last is within the shutdown.
        let moment = match number {
            0 => 0,
            number => first + (last - first) * (number - 1) / (MOMENTS - 2),
        };
        let mut run = killed(&place, victim, moment);
        let what = format!("{snapshot_use}: {victim:?} killed after {moment} events");
        if victim == Victim::Driver {
            let status = run.child.wait().unwrap();
            assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{what}");
            all_ended(run.pid());
        } else {
            while run.next().is_some() {}
            let code = all_ended(run.pid());
            judge(&run, code, &what);
        }
        assert_eq!(Traces::now(&place), before, "{what}");
        let groups = groups_of(run.pid().as_raw().cast_unsigned());
        assert_eq!(groups, Vec::<std::path::PathBuf>::new(), "{what}");
        std::fs::remove_dir_all(place.path("out")).unwrap();
    }
}

/// A run that lost its lab or a machine says so, unless all tests were over.
fn judge(run: &Watched, code: Option<i32>, what: &str) {
    let end = run.events.last().expect("events");
    assert_eq!(end["event"], "run-ended", "{what}");
    if code == Some(0) {
        assert_eq!(end["summary"]["passed"], 2, "{what}");
        return;
    }
    assert_eq!(code, Some(3), "{what}: {end}");
    assert_eq!(end["exit_code"], "infrastructure", "{what}");
    let told = run.events.iter().any(|event| {
        let text = event["failure"]["message"].as_str().unwrap_or_default();
        text.contains("a: ") || text.contains("b: ") || text.contains("lab process")
    });
    assert!(told, "{what}: {:#?}", run.events);
}

#[test]
fn nothing_is_left_of_a_killed_driver() {
    nothing_is_left_of(Victim::Driver);
}

#[test]
fn nothing_is_left_of_a_killed_lab_process() {
    nothing_is_left_of(Victim::Lab);
}

#[test]
fn nothing_is_left_of_a_killed_first_process_of_a_lab() {
    nothing_is_left_of(Victim::LabInit);
}

#[test]
fn nothing_is_left_of_a_killed_vmm() {
    nothing_is_left_of(Victim::Vmm);
}

#[test]
fn nothing_is_left_of_containers_whoever_is_killed() {
    if let Err(reason) = Place::new("").can("nspawn") {
        return eprintln!("SKIPPED: leftovers of containers: {reason}");
    }
    // Containers have no disks.
    let containers = PAIR.replace("disks = [{ size = \"8M\" }]", "");
    let defaults = "[defaults]\nbackend = \"nspawn\"\n[networks.lan]";
    let containers = containers.replace("[networks.lan]", defaults);
    for victim in [Victim::Driver, Victim::Lab, Victim::LabInit, Victim::Vmm] {
        nothing_is_left_where("auto", victim, &containers);
    }
}
