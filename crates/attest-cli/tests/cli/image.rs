//! `attest image`: what is in the cache.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use crate::support::{Ended, Place};

/// The BLAKE3 of nothing, from its test vectors.
const NOTHING: &str = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";

const ROOT: &str = "root-00112233445566778899aabbccddeeff";
const KERNEL: &str = "kernel-ffeeddccbbaa99887766554433221100";

/// A place with a cache of two entries, used so many hours ago.
fn place() -> Place {
    let place = Place::new("");
    for (name, hours) in [(ROOT, 5), (KERNEL, 24 * 40)] {
        let entry = place.path("cache").join(name);
        fs::create_dir_all(&entry).unwrap();
        fs::write(entry.join("root.erofs"), "").unwrap();
        let digests = entry.join("DIGESTS");
        fs::write(&digests, format!("{NOTHING}  root.erofs\n")).unwrap();
        let used = SystemTime::now() - Duration::from_hours(hours) - Duration::from_mins(1);
        File::open(&digests).unwrap().set_modified(used).unwrap();
    }
    fs::write(
        place.path("cache").join(ROOT).join("about"),
        "debian: web\n",
    )
    .unwrap();
    place
}

fn image(place: &Place, arguments: &[&str]) -> Ended {
    let mut words = vec!["image"];
    words.extend(arguments);
    crate::support::run(
        place
            .attest(&words)
            .env("ATTEST_CACHE", place.path("cache")),
    )
}

fn passed(place: &Place, arguments: &[&str]) -> String {
    let ended = image(place, arguments);
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), ""),
        "{arguments:?}"
    );
    ended.stdout
}

fn refused(place: &Place, arguments: &[&str], code: i32) -> String {
    let ended = image(place, arguments);
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(code), ""),
        "{arguments:?}"
    );
    ended.stderr
}

fn names(text: &str) -> Vec<String> {
    let objects = text.lines().map(|line| {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        object["name"].as_str().unwrap().to_owned()
    });
    objects.collect()
}

#[test]
fn what_is_listed_can_be_looked_at_and_removed() {
    let place = place();
    let listed = passed(&place, &["ls"]);
    let lines: Vec<_> = listed.lines().collect();
    assert!(lines[0].starts_with("NAME"), "{listed}");
    for part in ["root-0011223", "now", "5 h ago", "debian: web"] {
        assert!(lines[1].contains(part), "{part}: {listed}");
    }
    assert!(lines[2].contains("kernel-ffeeddc") && lines[2].contains("40 days ago"));
    assert!(lines[3].starts_with("2 entries"), "{listed}");
    assert!(!listed.contains('\x1b'), "no terminal, no colour");
    assert_eq!(
        names(&passed(&place, &["ls", "--format", "json"])),
        [ROOT, KERNEL]
    );

    let shown = passed(&place, &["inspect", "root-0011223"]);
    for part in [ROOT, "debian: web", "in use  no", NOTHING, "root.erofs"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let object = passed(&place, &["inspect", "0011223", "--format", "json"]);
    let object: serde_json::Value = serde_json::from_str(&object).unwrap();
    assert_eq!(object["files"][0]["blake3"], NOTHING);
    assert_eq!(
        (&object["in_use"], &object["about"]),
        (&false.into(), &"debian: web".into())
    );

    let removed = passed(&place, &["rm", "root-0011223", "ffee"]);
    assert_eq!(removed.lines().count(), 2);
    assert!(
        removed.starts_with(&format!("removed {ROOT}, ")),
        "{removed}"
    );
    assert_eq!(passed(&place, &["ls", "--format", "json"]), "");
    assert!(passed(&place, &["ls"]).starts_with("0 entries, 0 B in "));
    assert_eq!(passed(&place, &["ls", "-q"]), "");
}

#[test]
fn what_is_not_there_or_not_clear_is_named() {
    let place = place();
    fs::create_dir(place.path("cache/root-00ff")).unwrap();
    fs::write(place.path("cache/root-00ff/DIGESTS"), "").unwrap();
    insta::assert_snapshot!(refused(&place, &["rm", "other"], 2), @"error: the cache has no entry `other`; `attest image ls` lists them");
    insta::assert_snapshot!(refused(&place, &["inspect", "root-00"], 2), @"error: the cache has 2 entries whose names begin with `root-00`; name more of it");
    refused(&place, &["gc", "--max-size", "much"], 2);
    refused(&place, &["rm"], 2);
}

#[test]
fn what_is_in_use_stays() {
    let place = place();
    let digests = File::open(place.path("cache").join(ROOT).join("DIGESTS")).unwrap();
    digests.lock_shared().unwrap();
    assert!(passed(&place, &["ls"]).contains("in use"));
    let said = refused(&place, &["rm", "root"], 3);
    assert!(said.contains(ROOT) && said.contains("in use"), "{said}");
    let cleared = passed(&place, &["gc", "--max-size", "0K"]);
    assert!(
        cleared.contains(KERNEL) && !cleared.contains(ROOT),
        "{cleared}"
    );
    drop(digests);
    let cleared = passed(&place, &["gc", "--max-size", "0K", "--format", "json"]);
    assert_eq!(names(&cleared), [ROOT]);
}

#[test]
fn what_was_not_used_for_long_goes() {
    let place = place();
    let cleared = passed(&place, &["gc"]);
    assert!(cleared.contains(&format!("removed {KERNEL}")), "{cleared}");
    assert!(
        cleared.contains("1 entry") && cleared.contains(" left in "),
        "{cleared}"
    );
    assert!(passed(&place, &["gc"]).starts_with("0 entries, 0 B removed, 1 entry"));
    assert_eq!(
        names(&passed(
            &place,
            &["gc", "--unused-for", "1h", "--format", "json"]
        )),
        [ROOT]
    );
}

#[test]
fn damage_is_found() {
    let place = place();
    assert!(passed(&place, &["verify"]).ends_with("nothing is damaged\n"));
    fs::write(place.path("cache").join(ROOT).join("root.erofs"), "x").unwrap();
    fs::remove_file(place.path("cache").join(KERNEL).join("root.erofs")).unwrap();
    let ended = image(&place, &["verify"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(3), ""));
    insta::assert_snapshot!(ended.stdout, @r"
    kernel-ffeeddccbbaa99887766554433221100: `root.erofs` is missing; remove the entry, and it is built anew: `attest image rm kernel-ffeeddccbbaa99887766554433221100`
    root-00112233445566778899aabbccddeeff: `root.erofs` is not what was put there; remove the entry, and it is built anew: `attest image rm root-00112233445566778899aabbccddeeff`
    ");
    let ended = image(&place, &["verify", "root", "--format", "json"]);
    assert_eq!(ended.code, Some(3));
    let line = format!("{{\"damage\":\"changed\",\"entry\":\"{ROOT}\",\"file\":\"root.erofs\"}}\n");
    assert_eq!(ended.stdout, line);
}
