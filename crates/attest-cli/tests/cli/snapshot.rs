//! `attest snapshot`: the labs that are kept as they were.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use attest::images::{Lease, SnapshotSettings, SnapshotStore, Wanted};
use serde_json::json;

use crate::support::{Ended, Place};

/// The names of the two snapshots of [`place`].
fn name(lab: &str) -> String {
    format!("snapshot-{}", &blake3::hash(lab.as_bytes()).to_hex()[..32])
}

/// Make the snapshot of a lab, used so many hours ago.
fn make(place: &Place, directory: &str, lab: &str, hours: u64) -> Lease {
    let settings = SnapshotSettings {
        directory: Some(place.path(directory)),
        cache: place.path("cache"),
        limit: Some(u64::MAX),
    };
    let store = SnapshotStore::open(&settings).unwrap();
    let key = blake3::hash(lab.as_bytes());
    let wanted = store.want(key, 1, &mut |_| {}).unwrap().wanted;
    let Wanted::Make(unfinished) = wanted else {
        panic!("it is there");
    };
    write(unfinished.directory(), lab);
    let about = format!("{lab}: ready");
    let kept = store.finish(unfinished, &about, &mut |_| {}).unwrap();
    let digests = File::open(kept.lease.entry().join("DIGESTS")).unwrap();
    let ago = Duration::from_hours(hours) + Duration::from_mins(1);
    digests.set_modified(SystemTime::now() - ago).unwrap();
    kept.lease
}

fn write(directory: &Path, lab: &str) {
    let memory = File::create(directory.join("server.memory")).unwrap();
    memory.set_len(256 << 20).unwrap();
    memory.write_all_at(&[7; 4096], 1 << 20).unwrap();
    fs::write(directory.join("server.devices"), "devices").unwrap();
    let about = json!({
        "lab": lab,
        "made": "2026-11-28T07:00:00Z",
        "point": "ready",
        "machines": [{ "name": "server", "memory": 256 << 20, "vcpus": 1 }],
        "fields": { "kernel": "6.1.0", "agent": "7" },
    });
    fs::write(directory.join("snapshot.json"), about.to_string()).unwrap();
}

/// A place with a snapshot in each of the two places.
fn place() -> Place {
    let place = Place::new("");
    drop(make(&place, "memory", "web", 5));
    drop(make(&place, "cache/snapshots", "dns", 24 * 40));
    place
}

fn snapshot(place: &Place, arguments: &[&str]) -> Ended {
    let mut words = vec!["snapshot"];
    words.extend(arguments);
    crate::support::run(
        place
            .attest(&words)
            .env("ATTEST_CACHE", place.path("cache"))
            .env("ATTEST_SNAPSHOTS_DIR", place.path("memory"))
            .env_remove("ATTEST_SNAPSHOTS_SIZE"),
    )
}

fn passed(place: &Place, arguments: &[&str]) -> String {
    let ended = snapshot(place, arguments);
    let said = (ended.code, ended.stderr.as_str());
    assert_eq!(said, (Some(0), ""), "{arguments:?}");
    ended.stdout
}

fn refused(place: &Place, arguments: &[&str], code: i32) -> String {
    let ended = snapshot(place, arguments);
    let said = (ended.code, ended.stdout.as_str());
    assert_eq!(said, (Some(code), ""), "{arguments:?}");
    ended.stderr
}

fn objects(text: &str) -> Vec<serde_json::Value> {
    let objects = text.lines().map(serde_json::from_str);
    objects.map(Result::unwrap).collect()
}

fn names(text: &str) -> Vec<String> {
    let objects = objects(text).into_iter();
    let names = objects.map(|object| object["name"].as_str().unwrap().to_owned());
    names.collect()
}

/// What is the same wherever and whenever it is printed.
fn steady(place: &Place, text: &str) -> String {
    let text = text.replace(&*place.path("").to_string_lossy(), "PLACE/");
    let is_steady = |line: &&str| {
        let changing = ["size  ", "made  ", "used  "];
        !changing.iter().any(|what| line.starts_with(what))
    };
    let lines = text.split_inclusive('\n').filter(is_steady);
    let lines: String = lines.collect();
    let mut text = String::new();
    for word in lines.split_inclusive([' ', ':', '\n']) {
        let digits = word.trim_end();
        let is_digest = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        text.push_str(&if is_digest {
            word.replace(digits, "DIGEST")
        } else {
            word.to_owned()
        });
    }
    text
}

#[test]
fn snapshots_of_both_places_are_listed() {
    let place = place();
    let listed = passed(&place, &["ls"]);
    let lines: Vec<_> = listed.lines().collect();
    let short = |lab: &str| name(lab)[.."snapshot-".len() + 7].to_owned();
    for (line, parts) in [
        (
            0,
            ["NAME", "LAB", "SIZE", "USED  ", "WHERE"].map(str::to_owned),
        ),
        (
            1,
            [
                short("web"),
                "web".into(),
                " kB".into(),
                "5 h ago".into(),
                "/memory".into(),
            ],
        ),
        (
            2,
            [
                short("dns"),
                "dns".into(),
                " kB".into(),
                "40 days ago".into(),
                "/cache/snapshots".into(),
            ],
        ),
    ] {
        for part in parts {
            assert!(lines[line].contains(&part), "{part}: {listed}");
        }
    }
    assert!(lines[3].starts_with("2 entries, "), "{listed}");
    assert!(lines[3].contains("/memory and "), "{listed}");
    let json = passed(&place, &["ls", "--format", "json"]);
    assert_eq!(names(&json), [name("web"), name("dns")]);
    assert_eq!(objects(&json)[0]["broken"], false);
}

#[test]
fn a_snapshot_shows_what_it_was_made_of() {
    let place = place();
    let key = &name("web")["snapshot-".len()..][..7];
    insta::assert_snapshot!(steady(&place, &passed(&place, &["inspect", key])));
    let object = &objects(&passed(&place, &["inspect", key, "--format", "json"]))[0];
    assert_eq!(object["snapshot"]["machines"][0]["name"], "server");
    assert_eq!(object["snapshot"]["fields"]["agent"], "7");
    let memory = &object["files"][2];
    assert_eq!(
        (&memory["name"], &memory["bytes"]),
        (&json!("server.memory"), &json!(256 << 20))
    );
    assert!(
        object["bytes"].as_u64().unwrap() < 1 << 20,
        "holes take no place"
    );
}

#[test]
fn what_is_not_there_not_clear_or_in_use_is_named() {
    let place = place();
    insta::assert_snapshot!(refused(&place, &["rm", "other"], 2), @"error: the cache of snapshots has no entry `other`; `attest snapshot ls` lists them");
    insta::assert_snapshot!(refused(&place, &["inspect", "snapshot-"], 2), @"error: the cache of snapshots has 2 entries whose names begin with `snapshot-`; name more of it");
    let lease = make(&place, "memory", "used", 0);
    assert!(passed(&place, &["ls"]).contains("in use"));
    let said = refused(&place, &["rm", &name("used")], 3);
    insta::assert_snapshot!(said.replace(&name("used"), "NAME"), @"error: the entry `NAME` of the cache of snapshots is in use; it can be removed when the labs that use it have ended");
    let gone = passed(&place, &["gc", "--max-size", "0K", "--format", "json"]);
    assert_eq!(names(&gone), [name("web"), name("dns")]);
    drop(lease);
    let gone = passed(&place, &["rm", &name("used")]);
    assert!(
        gone.starts_with(&format!("removed {}, ", name("used"))),
        "{gone}"
    );
    assert_eq!(passed(&place, &["ls", "-q"]), "");
}

#[test]
fn what_was_not_used_for_long_goes_from_both_places() {
    let place = place();
    let gone = passed(&place, &["gc"]);
    assert!(gone.contains(&format!("removed {}", name("dns"))), "{gone}");
    assert!(
        gone.contains("1 entry") && gone.contains(" left in "),
        "{gone}"
    );
    let gone = passed(&place, &["gc", "--unused-for", "1h", "--format", "json"]);
    assert_eq!(names(&gone), [name("web")]);
}

#[test]
fn damage_is_found_and_what_is_broken_goes() {
    let place = place();
    assert!(passed(&place, &["verify"]).ends_with("nothing is damaged\n"));
    let web = place.path("memory").join(name("web"));
    let memory = File::options().write(true).open(web.join("server.memory"));
    memory.unwrap().set_len(1 << 20).unwrap();
    let dns = place.path("cache/snapshots").join(name("dns"));
    fs::remove_file(dns.join("server.devices")).unwrap();
    let ended = snapshot(&place, &["verify"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(3), ""));
    let said = ended
        .stdout
        .replace(&name("web"), "WEB")
        .replace(&name("dns"), "DNS");
    insta::assert_snapshot!(said, @r"
    WEB: `server.memory` is truncated: 1048576 of 268435456 bytes are left; remove the entry, and it is built anew: `attest snapshot rm WEB`
    DNS: `server.devices` is missing; remove the entry, and it is built anew: `attest snapshot rm DNS`
    ");
    let ended = snapshot(&place, &["verify", &name("web"), "--format", "json"]);
    assert_eq!(objects(&ended.stdout)[0]["damage"], "truncated");
    // As it is set aside by one who would have used it.
    fs::rename(
        &web,
        web.with_file_name(name("web").replace("snapshot-", "snapshot-broken-")),
    )
    .unwrap();
    let listed = passed(&place, &["ls"]);
    assert!(listed.contains("snapshot-broken-"), "{listed}");
    assert!(passed(&place, &["inspect", "snapshot-broken"]).contains("broken     yes"));
    fs::write(dns.join("server.devices"), "devices").unwrap();
    assert!(passed(&place, &["verify"]).starts_with("1 entry, "));
    let gone = passed(&place, &["gc", "--unused-for", "1000d", "--format", "json"]);
    assert_eq!(
        names(&gone),
        [name("web").replace("snapshot-", "snapshot-broken-")]
    );
}

#[test]
fn what_is_set_wrongly_is_told() {
    let place = Place::new("");
    let with = |name: &str, value: &Path| {
        let mut command = place.attest(&["snapshot", "ls"]);
        command.env("ATTEST_CACHE", place.path("cache"));
        command.env("ATTEST_SNAPSHOTS_DIR", place.path("memory"));
        let ended = crate::support::run(command.env(name, value));
        (ended.code, steady(&place, &ended.stderr))
    };
    let (code, said) = with("ATTEST_SNAPSHOTS_SIZE", Path::new("much"));
    assert_eq!(code, Some(2));
    insta::assert_snapshot!(said, @"error: ATTEST_SNAPSHOTS_SIZE is `much`, which is not a size; write it as 500M or 10G");
    fs::set_permissions(place.path("run"), fs::Permissions::from_mode(0o777)).unwrap();
    let (code, said) = with("ATTEST_SNAPSHOTS_DIR", &place.path("run"));
    assert_eq!(code, Some(3));
    insta::assert_snapshot!(said, @"error: snapshots are not kept in PLACE/run: it belongs to another user, or others may write to it; remove it, or set ATTEST_SNAPSHOTS_DIR to a directory of your own");
}

#[test]
fn a_place_that_cannot_be_used_is_told_and_the_other_is_looked_at() {
    let place = place();
    let disk = place.path("cache/snapshots");
    fs::set_permissions(disk, fs::Permissions::from_mode(0o777)).unwrap();
    let ended = snapshot(&place, &["ls", "--format", "json"]);
    assert_eq!(
        (ended.code, names(&ended.stdout)),
        (Some(0), vec![name("web")])
    );
    insta::assert_snapshot!(steady(&place, &ended.stderr), @"warning: snapshots are not kept in PLACE/cache/snapshots: it belongs to another user, or others may write to it; remove it, or set ATTEST_SNAPSHOTS_DIR to a directory of your own");
}
