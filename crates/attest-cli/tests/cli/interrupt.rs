//! Ctrl-C.

use std::io::{BufRead as _, BufReader};

use nix::sys::signal::Signal;

use crate::support::{Place, Traces, Watched, adopt, all_ended, signal};

const LONG_RUN: &str = r#"
isolation = "shared"
[networks.lan]
[machines.a]
[tests.before]
steps = [{ on = "a", run = "true" }]
[tests.during]
steps = [{ on = "a", run = "sleep 1000" }]
[tests.never]
steps = [{ on = "a", run = "true" }]
"#;

/// A run that is in the midst of its second test.
fn midway(place: &Place) -> Watched {
    let mut run = Watched::start(place);
    run.until("test-ended");
    run.until("operation-started");
    run
}

#[test]
fn once_is_an_orderly_stop_with_the_results_so_far() {
    adopt();
    let place = Place::new(LONG_RUN);
    let before = Traces::now(&place);
    let mut run = midway(&place);
    signal(run.pid(), Signal::SIGINT);
    while run.next().is_some() {}
    assert_eq!(all_ended(run.pid()), Some(130));
    let end = run.events.last().unwrap();
    assert_eq!(
        (&end["event"], &end["exit_code"]),
        (&"run-ended".into(), &"interrupted".into())
    );
    assert_eq!(
        (&end["summary"]["passed"], &end["summary"]["interrupted"]),
        (&1.into(), &2.into())
    );
    let junit = place.output("junit.xml");
    assert!(
        junit.contains("before") && junit.contains("interrupted"),
        "{junit}"
    );
    let timeline = place.output("timeline.html");
    assert!(timeline.contains("2 interrupted"), "{timeline}");
    assert_eq!(Traces::now(&place), before);
}

#[test]
fn twice_is_an_end_at_once() {
    adopt();
    let place = Place::new(LONG_RUN);
    let before = Traces::now(&place);
    let mut run = midway(&place);
    let mut said = BufReader::new(run.child.stderr.take().unwrap()).lines();
    // A VMM that does not react is waited for, in an orderly stop.
    signal(run.process(3).unwrap(), Signal::SIGSTOP);
    signal(run.pid(), Signal::SIGINT);
    let words = said.next().unwrap().unwrap();
    assert!(words.contains("again to end at once"), "{words}");
    signal(run.pid(), Signal::SIGINT);
    while run.next().is_some() {}
    assert_eq!(all_ended(run.pid()), Some(130));
    assert_ne!(run.events.last().unwrap()["event"], "run-ended");
    assert!(place.output("timeline.html").contains("ended at once"));
    assert_eq!(Traces::now(&place), before);
}

#[test]
fn while_machines_boot_it_works_as_well() {
    adopt();
    // Labs that were saved go on, and boot no more.
    let place = Place::new(&LONG_RUN.replace("shared", "boot"));
    let before = Traces::now(&place);
    let mut run = Watched::start(&place);
    while run
        .events
        .last()
        .is_none_or(|event| event["phase"] != "boot")
    {
        run.next().expect("a boot");
    }
    signal(run.pid(), Signal::SIGTERM);
    while run.next().is_some() {}
    assert_eq!(all_ended(run.pid()), Some(130));
    assert_eq!(run.events.last().unwrap()["summary"]["passed"], 0);
    assert_eq!(Traces::now(&place), before);
}
