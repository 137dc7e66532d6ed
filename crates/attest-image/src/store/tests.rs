use std::fs;
use std::time::{Duration, SystemTime};

use nix::mount::{MsFlags, mount};
use serde_json::json;

use super::*;
use crate::cache::tests::{key, on_a_small_disk};

pub(super) const KIB: u64 = 1 << 10;

fn settings(directory: &Path, limit: u64) -> SnapshotSettings {
    SnapshotSettings {
        directory: Some(directory.join("first")),
        cache: directory.join("cache"),
        limit: Some(limit),
    }
}

pub(super) fn store(limit: u64) -> (tempfile::TempDir, SnapshotStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(&settings(directory.path(), limit)).unwrap();
    (directory, store)
}

pub(super) fn want(store: &SnapshotStore, name: &str) -> WantedSnapshot {
    store.want(key(name), KIB, &mut |_| {}).unwrap()
}

pub(super) fn to_make(wanted: WantedSnapshot) -> Unfinished {
    match wanted.wanted {
        Wanted::Make(unfinished) => unfinished,
        Wanted::Ready(lease) => panic!("it is there: {lease:?}"),
    }
}

pub(super) fn ready(wanted: WantedSnapshot) -> Lease {
    match wanted.wanted {
        Wanted::Ready(lease) => lease,
        Wanted::Make(unfinished) => panic!("it is not there: {unfinished:?}"),
    }
}

/// Fill a snapshot and put it in place.
fn finish(store: &SnapshotStore, unfinished: Unfinished, lab: &str) -> Kept {
    let directory = unfinished.directory();
    fs::write(directory.join("server.memory"), vec![7; 100_000]).unwrap();
    let about = json!({ "lab": lab, "point": "ready" }).to_string();
    fs::write(directory.join(ABOUT_LAB), about).unwrap();
    store.finish(unfinished, lab, &mut |_| {}).unwrap()
}

fn make(store: &SnapshotStore, name: &str) -> Kept {
    finish(store, to_make(want(store, name)), name)
}

/// Abouts of what is there.
fn abouts(entries: &[CacheEntry]) -> Vec<&str> {
    entries
        .iter()
        .map(|entry| entry.about.as_deref().unwrap())
        .collect()
}

/// Make it seem to have been used so long ago.
fn age(lease: Lease, minutes: u64) {
    let digests = File::open(lease.entry().join("DIGESTS")).unwrap();
    drop(lease);
    digests
        .set_modified(SystemTime::now() - Duration::from_mins(minutes))
        .unwrap();
}

#[test]
fn a_snapshot_is_made_once_and_found() {
    let (directory, store) = store(u64::MAX);
    let first = directory.path().join("first");
    let wanted = want(&store, "a");
    let begin = format!("in {}: 1 MiB fit into the ", first.display());
    assert!(wanted.reason.starts_with(&begin), "{}", wanted.reason);
    let kept = finish(&store, to_make(wanted), "web");
    assert_eq!((kept.evicted, kept.over), (vec![], None));
    assert_eq!(kept.lease.entry().parent(), Some(&*first));
    // Another process opens it for itself.
    let other = SnapshotStore::open(&settings(directory.path(), u64::MAX)).unwrap();
    let found = want(&other, "a");
    assert_eq!(found.reason, format!("found in {}", first.display()));
    assert_eq!(ready(found), kept.lease);
    assert_eq!(abouts(&other.caches().ls().unwrap()), ["web"]);
    let (found, broken) = other.find(key("b"), &mut |_| {}).unwrap();
    assert!(found.is_none() && broken.is_empty());
}

#[test]
fn what_does_not_fit_goes_to_the_disk_and_is_found_there() {
    let (directory, store) = store(u64::MAX);
    let free = store.first.as_ref().unwrap().room().unwrap().free;
    let wanted = store.want(key("a"), free / 4 * 3, &mut |_| {}).unwrap();
    let disk = directory.path().join("cache/snapshots");
    let begin = format!(
        "in {}; not in {}",
        disk.display(),
        directory.path().display()
    );
    assert!(wanted.reason.starts_with(&begin), "{}", wanted.reason);
    assert!(
        wanted.reason.contains("more than half"),
        "{}",
        wanted.reason
    );
    let kept = finish(&store, to_make(wanted), "web");
    assert_eq!(kept.lease.entry().parent(), Some(&*disk));
    assert_eq!(ready(want(&store, "a")), kept.lease);
    let error = store.want(key("b"), u64::MAX, &mut |_| {}).unwrap_err();
    assert!(matches!(error, SnapshotError::NoRoom { .. }), "{error}");
    assert!(error.is_not_kept() && error.to_string().contains("attest snapshot gc"));
}

#[test]
fn a_directory_that_is_both_places_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let settings = SnapshotSettings {
        directory: Some(directory.path().join("cache/snapshots")),
        ..settings(directory.path(), u64::MAX)
    };
    let store = SnapshotStore::open(&settings).unwrap();
    drop(make(&store, "a"));
    assert_eq!(store.caches().ls().unwrap().len(), 1);
}

#[test]
fn one_who_would_make_it_elsewhere_waits_for_the_first() {
    let (directory, store) = store(u64::MAX);
    let free = store.first.as_ref().unwrap().room().unwrap().free;
    let on_disk = store.want(key("a"), free / 4 * 3, &mut |_| {}).unwrap();
    let unfinished = to_make(on_disk);
    let (waits, waiting) = std::sync::mpsc::channel();
    let other = SnapshotStore::open(&settings(directory.path(), u64::MAX)).unwrap();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            let mut tell = |step: Step| drop(waits.send(step.to_string()));
            ready(other.want(key("a"), KIB, &mut tell).unwrap())
        });
        let heard = waiting.recv().unwrap();
        assert_eq!(heard, "waiting for another attest that builds the snapshot");
        let kept = finish(&store, unfinished, "web");
        assert_eq!(second.join().unwrap(), kept.lease);
    });
    // One who gives it up leaves it to be made where it belongs.
    let on_disk = store.want(key("b"), free / 4 * 3, &mut |_| {}).unwrap();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            let mut tell = |step: Step| drop(waits.send(step.to_string()));
            to_make(other.want(key("b"), KIB, &mut tell).unwrap())
        });
        waiting.recv().unwrap();
        drop(on_disk);
        let unfinished = second.join().unwrap();
        assert!(
            unfinished
                .directory()
                .starts_with(directory.path().join("first"))
        );
    });
}

#[test]
fn the_least_recently_used_go_for_a_new_one() {
    let (_directory, store) = store(280 * KIB);
    age(make(&store, "old").lease, 10);
    age(make(&store, "older").lease, 20);
    let kept = make(&store, "new");
    assert_eq!((abouts(&kept.evicted), kept.over), (vec!["older"], None));
    // What is in use stays, however old.
    let old = ready(want(&store, "old"));
    age(old.clone(), 1000);
    age(kept.lease, 1);
    let kept = make(&store, "newer");
    assert_eq!((abouts(&kept.evicted), kept.over), (vec!["new"], None));
    let another = make(&store, "newest");
    let over = another.over.unwrap();
    assert!(over.bytes > over.limit, "{over:?}");
    assert!(
        over.to_string().contains("more than the limit of 1 MiB"),
        "{over}"
    );
    assert_eq!(abouts(&another.evicted), Vec::<&str>::new());
    assert_eq!(store.caches().ls().unwrap().len(), 3);
}

#[test]
fn one_that_is_larger_than_the_limit_is_kept_alone() {
    let (_directory, store) = store(KIB);
    drop(make(&store, "a"));
    let kept = make(&store, "b");
    assert_eq!(abouts(&kept.evicted), ["a"]);
    assert!(kept.over.is_some());
    assert_eq!(abouts(&store.caches().ls().unwrap()), ["b"]);
}

#[test]
fn what_is_discarded_is_made_anew() {
    let (_directory, store) = store(u64::MAX);
    assert_eq!(store.discard(key("a")).unwrap(), []);
    let kept = make(&store, "a");
    let error = store.discard(key("a")).unwrap_err();
    let in_use = SnapshotError::Image(ImageError::InUse {
        of: Holds::Snapshots,
        name: Cache::name_of(KIND, key("a")),
    });
    assert_eq!(error.to_string(), in_use.to_string());
    assert!(!error.is_not_kept());
    drop(kept);
    assert_eq!(abouts(&store.discard(key("a")).unwrap()), ["a"]);
    drop(to_make(want(&store, "a")));
}

#[test]
fn what_is_broken_is_told_and_made_anew() {
    let (_directory, store) = store(u64::MAX);
    let lease = make(&store, "a").lease;
    fs::remove_file(lease.entry().join("server.memory")).unwrap();
    drop(lease);
    let wanted = want(&store, "a");
    let told: Vec<_> = wanted.broken.iter().map(ToString::to_string).collect();
    assert!(told[0].contains("`server.memory` is missing"), "{told:?}");
    drop(finish(&store, to_make(wanted), "a"));
    assert_eq!(want(&store, "a").broken, []);
    let entries = store.caches().ls().unwrap();
    assert_eq!(entries.iter().filter(|entry| entry.is_broken).count(), 1);
}

#[test]
fn the_snapshots_of_a_lab_are_told_the_last_first() {
    let (_directory, store) = store(u64::MAX);
    for (name, lab, hours) in [
        ("a", "web", 3),
        ("b", "web", 1),
        ("c", "dns", 2),
        ("d", "web", 4),
    ] {
        let kept = finish(&store, to_make(want(&store, name)), lab);
        let entry = File::open(kept.lease.entry()).unwrap();
        let made = SystemTime::now() - Duration::from_hours(hours);
        entry.set_modified(made).unwrap();
        if name == "d" {
            fs::write(kept.lease.entry().join(ABOUT_LAB), "{").unwrap();
        }
    }
    let name = |name: &str| Cache::name_of(KIND, key(name));
    let nearest = |lab: &str, of: &str| -> Vec<String> {
        let nearest = store.nearest(lab, key(of)).unwrap();
        let checked = nearest.inspect(|(_, about)| assert_eq!(about["lab"], lab));
        checked.map(|(entry, _)| entry.name).collect()
    };
    assert_eq!(nearest("web", "new"), [name("b"), name("a")]);
    assert_eq!(nearest("web", "b"), [name("a")]);
    assert_eq!(nearest("none", "b"), Vec::<String>::new());
}

#[test]
fn a_full_or_read_only_place_is_no_harm() {
    on_a_small_disk(|directory| {
        let open = || SnapshotStore::open(&settings(directory, u64::MAX)).unwrap();
        let small = |store: &SnapshotStore, name: &str| {
            let unfinished = to_make(want(store, name));
            store.finish(unfinished, name, &mut |_| {})
        };
        let store = open();
        let unfinished = to_make(want(&store, "large"));
        // As long as there is room, and so until there is none.
        let fill = fs::write(unfinished.directory().join("memory"), vec![7; 1 << 17]);
        assert!(fill.is_err());
        let error = store.finish(unfinished, "large", &mut |_| {}).unwrap_err();
        assert!(matches!(error, SnapshotError::Full { .. }), "{error}");
        assert_eq!(store.caches().ls().unwrap(), []);
        drop(small(&store, "small").unwrap());

        let nothing = None::<&str>;
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(nothing, directory, nothing, flags, nothing).unwrap();
        let store = open();
        ready(want(&store, "small"));
        let error = store.want(key("other"), KIB, &mut |_| {}).unwrap_err();
        assert!(matches!(error, SnapshotError::ReadOnly { .. }), "{error}");
        assert!(error.is_not_kept() && error.to_string().contains("ATTEST_SNAPSHOTS_DIR"));
    });
}
