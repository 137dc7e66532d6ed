//! Labs that go on from where equal ones had booted: `--snapshots`.

use crate::support::{Ended, Place};

const ONE: &str = r#"
name = "web"
[machines.a]
memory = "128M"
[tests.good]
steps = [{ on = "a", run = "true" }]
"#;

/// What a run said of its labs; it has passed.
fn told(place: &Place, arguments: &[&str]) -> Vec<String> {
    let ended = place.run(&[&["run"], arguments].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    of_labs(&ended)
}

/// Without times and places.
fn of_labs(ended: &Ended) -> Vec<String> {
    let both = ended.stdout.lines().chain(ended.stderr.lines());
    let lines = both.filter_map(|line| {
        let (start, end) = match line.split_once(" in ") {
            Some((start, _)) if start.starts_with("snapshot: go on") => (start, ""),
            Some((start, _)) if start.starts_with("snapshot: boot") => (start, ""),
            Some((start, end)) if start == "web: booted" => {
                (start, end.split_once(" and ").unwrap().1)
            }
            _ => return None,
        };
        Some(format!("{start} … {end}").trim_end().to_owned())
    });
    lines.collect()
}

#[test]
fn a_second_run_goes_on_from_the_first() {
    let place = Place::new(ONE);
    let booted = "web: booted … saved; later runs go on from there";
    let first = told(&place, &[]);
    assert_eq!(
        first,
        ["snapshot: boot (there is none yet; it is made …", booted]
    );
    assert_eq!(told(&place, &[]), ["snapshot: go on (found …"]);
    // `exec` does, too.
    let exec = place.run(&["exec", "a", "hostname"]);
    assert_eq!((exec.code, &*exec.stdout), (Some(0), "a\n"), "{exec:?}");
    assert_eq!(of_labs(&exec), ["snapshot: go on (found …"]);
    let anew = told(&place, &["--snapshots", "rebuild"]);
    assert_eq!(
        anew,
        [
            "snapshot: boot (it is to be made anew; it is made …",
            booted
        ]
    );
    assert_eq!(told(&place, &["--snapshots", "never"]), [""; 0]);
}

#[test]
fn what_is_other_than_it_was_is_named() {
    let place = Place::new(ONE);
    told(&place, &["-q"]);
    std::fs::write(place.path("attest.toml"), ONE.replace("128M", "160M")).unwrap();
    let changed = told(&place, &[]);
    assert_eq!(
        changed[0],
        "snapshot: boot (the last one differs: memory of a: 160 MiB, was 128 MiB; it is made …"
    );
}

#[test]
fn never_boots_and_saves_nothing() {
    let place = Place::new(ONE);
    let ended = crate::support::run(
        place
            .attest(&["exec", "a", "hostname"])
            .env("ATTEST_SNAPSHOTS", "never"),
    );
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(of_labs(&ended), [""; 0]);
    let listed = place.run(&[
        "snapshot", "ls", "-q", "--format", "json", "--cache", "cache",
    ]);
    assert_eq!((listed.code, &*listed.stdout), (Some(0), ""), "{listed:?}");
    let wrong = place.run(&["run", "--snapshots", "sometimes"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
}
