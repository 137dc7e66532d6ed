use std::fs::File;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use super::*;

pub(crate) fn key(text: &str) -> blake3::Hash {
    blake3::hash(text.as_bytes())
}

fn write(directory: &Path, text: &str) -> Result<(), ImageError> {
    let path = directory.join("deep/file");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).map_err(ImageError::file(&path, "write"))
}

fn entry(cache: &Cache, text: &str) -> Result<PathBuf, ImageError> {
    cache.entry("test", key("a"), &mut |_| {}, |path, _| write(path, text))
}

fn contents(entry: &Path) -> String {
    fs::read_to_string(entry.join("deep/file")).unwrap()
}

/// All of the cache.
pub(super) fn all(cache: &Cache) -> Caches {
    cache.clone().into()
}

/// The names in the cache directory.
pub(super) fn names(cache: &Cache) -> Vec<String> {
    let listed = list(cache.directory()).unwrap();
    listed
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn an_entry_is_built_once_by_many() {
    let directory = tempfile::tempdir().unwrap();
    let built = AtomicU32::new(0);
    let together = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                together.wait();
                // Each opens it for itself, as a process does: locks are per open file.
                let cache = Cache::open(directory.path()).unwrap();
                let entry = cache.entry("test", key("a"), &mut |_| {}, |path, _| {
                    built.fetch_add(1, Ordering::SeqCst);
                    write(path, "contents")
                });
                assert_eq!(contents(&entry.unwrap()), "contents");
            });
        }
    });
    let cache = Cache::open(directory.path()).unwrap();
    assert_eq!(built.load(Ordering::SeqCst), 1);
    assert_eq!(damage(&cache), []);
    assert_eq!(
        names(&cache).len(),
        1,
        "no locks are left: {:?}",
        names(&cache)
    );
}

#[test]
fn one_who_waits_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path()).unwrap();
    let (waits, waiting) = std::sync::mpsc::channel();
    let (begin, building) = std::sync::mpsc::channel();
    let first = cache.clone();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            first.entry("test", key("a"), &mut |_| {}, |path, _| {
                begin.send(()).unwrap();
                let heard: Step = waiting.recv().unwrap();
                assert_eq!(
                    heard.to_string(),
                    "waiting for another attest that builds the test"
                );
                write(path, "first")
            })
        });
        building.recv().unwrap();
        let second = cache.entry(
            "test",
            key("a"),
            &mut |step| waits.send(step).unwrap(),
            |_, _| panic!("it is there"),
        );
        assert_eq!(contents(&second.unwrap()), "first");
    });
}

#[test]
fn a_failed_build_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path()).unwrap();
    let failed = cache.entry("test", key("a"), &mut |_| {}, |path, _| {
        write(path, "half")?;
        Err(ImageError::NoCacheDirectory)
    });
    assert!(matches!(failed, Err(ImageError::NoCacheDirectory)));
    assert_eq!(names(&cache), Vec::<String>::new());
    assert_eq!(contents(&entry(&cache, "whole").unwrap()), "whole");
}

#[test]
fn what_a_killed_build_left_goes_when_the_cache_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let leave = |name: &str| {
        write(&directory.path().join(format!("{name}.new")), "half").unwrap();
        let path = directory.path().join(format!("{name}.lock"));
        (Lock::attempt(&path).unwrap().unwrap(), path)
    };
    let (killed, path) = leave("test-killed");
    drop(killed);
    // A killed process drops nothing: its lock file stays.
    File::create(path).unwrap();
    let (_alive, _) = leave("test-alive");
    let cache = Cache::open(directory.path()).unwrap();
    assert_eq!(names(&cache), ["test-alive.lock", "test-alive.new"]);
}

#[test]
fn the_holder_of_the_lock_clears_what_was_left_under_its_key() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path()).unwrap();
    let name = format!("test-{}", &key("a").to_hex()[..32]);
    // The left-over of a builder that was killed since the cache was opened, and an entry
    // that never became whole.
    write(&directory.path().join(format!("{name}.new")), "half").unwrap();
    write(&directory.path().join(&name), "half").unwrap();
    assert_eq!(contents(&entry(&cache, "whole").unwrap()), "whole");
    assert_eq!(names(&cache), [name]);
}

#[test]
fn a_changed_or_missing_file_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path()).unwrap();
    let entry = entry(&cache, "contents").unwrap();
    let file = entry.join("deep/file");
    fs::write(&file, "contentz").unwrap();
    let found = |damage| {
        let (entry, file) = (cache.ls().unwrap()[0].name.clone(), "deep/file".to_owned());
        Damaged {
            of: Holds::Images,
            entry,
            file,
            damage,
        }
    };
    assert_eq!(damage(&cache), [found(Damage::Changed)]);
    fs::remove_file(&file).unwrap();
    assert_eq!(damage(&cache), [found(Damage::Missing)]);
}

#[test]
fn to_verify_an_entry_is_not_to_use_it() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path()).unwrap();
    age(&entry(&cache, "contents").unwrap(), DAY);
    let before = cache.ls().unwrap();
    let mut steps = Vec::new();
    let damaged = all(&cache).verify(&before, &mut |step| steps.push(step));
    assert_eq!(damaged.unwrap(), []);
    assert_eq!(cache.ls().unwrap(), before);
    let last = steps.last().unwrap().bytes.unwrap();
    assert_eq!((last.done, last.total), (8, 8));
    // What was removed since it was listed is not damaged.
    all(&cache).rm("test").unwrap();
    assert_eq!(all(&cache).verify(&before, &mut |_| {}).unwrap(), []);
}

/// What is damaged in the cache.
fn damage(cache: &Cache) -> Vec<Damaged> {
    all(cache)
        .verify(&cache.ls().unwrap(), &mut |_| {})
        .unwrap()
}

#[test]
fn a_digest_tells_contents_apart() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path()).unwrap();
    let of = |name: &str, text: &str| {
        let made = cache.entry("test", key(name), &mut |_| {}, |path, _| write(path, text));
        digest(&made.unwrap()).unwrap()
    };
    assert_eq!(of("a", "same"), of("b", "same"));
    assert_ne!(of("a", "same"), of("c", "other"));
}

#[test]
fn a_directory_that_others_may_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let error = Cache::open(directory.path()).unwrap_err();
    assert!(error.to_string().contains("chmod"), "{error}");
}

/// A disk of 64 KiB, mounted where only this thread sees it, and gone with it.
pub(crate) fn on_a_small_disk(test: impl FnOnce(&Path) + Send) {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("SKIPPED: only root may mount a small disk");
    }
    let directory = tempfile::tempdir().unwrap();
    let mounted = || -> nix::Result<()> {
        let nothing = None::<&str>;
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(
            nothing,
            "/",
            nothing,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            nothing,
        )?;
        mount(
            Some("tmpfs"),
            directory.path(),
            Some("tmpfs"),
            MsFlags::empty(),
            Some("size=64k,mode=700"),
        )
    };
    std::thread::scope(|scope| {
        scope.spawn(|| match mounted() {
            Ok(()) => test(directory.path()),
            Err(error) => eprintln!("SKIPPED: no small disk can be mounted: {error}"),
        });
    });
}

#[test]
fn a_full_disk_is_named_and_leaves_nothing() {
    on_a_small_disk(|directory| {
        let cache = Cache::open(directory).unwrap();
        let full = entry(&cache, &"x".repeat(100_000));
        let error = full.unwrap_err();
        assert!(matches!(error, ImageError::Full { .. }), "{error}");
        assert!(error.to_string().contains("ATTEST_CACHE"), "{error}");
        assert_eq!(names(&cache), Vec::<String>::new());
        assert_eq!(contents(&entry(&cache, "small").unwrap()), "small");
    });
}

/// Make an entry seem to have been used so long ago.
fn age(entry: &Path, ago: Duration) {
    let file = File::open(entry.join(DIGESTS)).unwrap();
    file.set_modified(SystemTime::now() - ago).unwrap();
}

const DAY: Duration = Duration::from_hours(24);

#[test]
fn entries_are_listed_with_what_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path()).unwrap();
    let lease = cache.hold("two-words", key("a"), &mut |_| {}, |path, _| {
        fs::write(path.join(ABOUT), "a test\n").unwrap();
        write(path, &"x".repeat(10_000))
    });
    let lease = lease.unwrap();
    let [entry] = &cache.ls().unwrap()[..] else {
        panic!()
    };
    assert_eq!(
        (entry.kind.as_str(), entry.about.as_deref()),
        ("two-words", Some("a test"))
    );
    assert!(entry.bytes >= 10_000 && entry.in_use, "{entry:?}");
    assert_eq!(entry.path, lease.entry());
    drop(lease);
    assert!(!cache.ls().unwrap()[0].in_use);
    let (same, files) = all(&cache).inspect("two-").unwrap();
    assert_eq!(same.name, entry.name);
    let names: Vec<_> = files
        .iter()
        .map(|file| (file.name.as_str(), file.bytes))
        .collect();
    assert_eq!(names, [("about", 7), ("deep/file", 10_000)]);
    let digest = key("a test\n").to_string();
    assert_eq!(files[0].digest, Some(digest));
}

#[test]
fn entries_are_named_by_what_tells_them_apart() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path()).unwrap();
    for name in ["a", "b"] {
        cache
            .entry("test", key(name), &mut |_| {}, |path, _| write(path, name))
            .unwrap();
    }
    assert!(matches!(
        all(&cache).inspect("test"),
        Err(ImageError::ManyEntries { count: 2, .. })
    ));
    for name in ["other", ""] {
        assert!(
            matches!(all(&cache).rm(name), Err(ImageError::NoEntry { .. })),
            "{name}"
        );
    }
    let listed = cache.ls().unwrap();
    let short = &listed[1].key()[..7];
    assert_eq!(all(&cache).inspect(short).unwrap().0.name, listed[1].name);
    let whole = listed[0].name.clone();
    assert_eq!(all(&cache).rm(&whole).unwrap().name, whole);
    assert_eq!(cache.ls().unwrap().len(), 1);
}

#[test]
fn what_is_in_use_is_not_removed() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path()).unwrap();
    let lease = cache
        .hold("test", key("a"), &mut |_| {}, |path, _| write(path, "x"))
        .unwrap();
    let second = lease.clone();
    drop(lease);
    age(second.entry(), DAY);
    assert!(matches!(
        all(&cache).rm("test"),
        Err(ImageError::InUse { .. })
    ));
    let nothing = Keep {
        unused_for: Some(Duration::ZERO),
        bytes: Some(0),
        ..Keep::default()
    };
    assert_eq!(all(&cache).gc(nothing, &mut |_| {}).unwrap(), []);
    drop(second);
    assert_eq!(all(&cache).gc(nothing, &mut |_| {}).unwrap().len(), 1);
    assert_eq!(names(&cache), Vec::<String>::new());
}

#[test]
fn the_lease_of_a_killed_process_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path()).unwrap();
    let entry = entry(&cache, "x").unwrap();
    // Another process holds it, and tells when it does.
    let holder = std::process::Command::new("flock")
        .args(["--no-fork", "--shared"])
        .arg(entry.join(DIGESTS))
        .args(["sh", "-c", "echo; exec cat"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn();
    let Ok(mut holder) = holder else {
        return eprintln!("SKIPPED: there is no flock (util-linux)");
    };
    let mut held = [0];
    io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut held).unwrap();
    assert!(matches!(
        all(&cache).rm("test"),
        Err(ImageError::InUse { .. })
    ));
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(all(&cache).rm("test").is_ok());
}

#[test]
fn the_oldest_go_first() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path()).unwrap();
    let mut entries = Vec::new();
    for days in 0..4 {
        let made = cache.entry("test", key(&days.to_string()), &mut |_| {}, |path, _| {
            fs::write(path.join(ABOUT), days.to_string()).unwrap();
            write(path, &"x".repeat(100_000))
        });
        let made = made.unwrap();
        age(&made, DAY * days + Duration::from_mins(20));
        entries.push(made);
    }
    let left = || -> Vec<bool> { entries.iter().map(|entry| entry.exists()).collect() };
    let each = cache.ls().unwrap()[0].bytes;
    assert_eq!(all(&cache).gc(Keep::default(), &mut |_| {}).unwrap(), []);
    all(&cache)
        .gc(
            Keep {
                unused_for: Some(DAY * 3),
                bytes: None,
                ..Keep::default()
            },
            &mut |_| {},
        )
        .unwrap();
    assert_eq!(left(), [true, true, true, false]);
    all(&cache)
        .gc(
            Keep {
                unused_for: None,
                bytes: Some(each * 2),
                ..Keep::default()
            },
            &mut |_| {},
        )
        .unwrap();
    assert_eq!(left(), [true, true, false, false]);
    // To be used is to be young again.
    assert!(Lease::take(&entries[1]).unwrap().is_some());
    all(&cache)
        .gc(
            Keep {
                unused_for: None,
                bytes: Some(0),
                ..Keep::default()
            },
            &mut |_| {},
        )
        .unwrap();
    assert_eq!(left(), [false, true, false, false]);
}

#[test]
fn what_was_removed_while_it_was_asked_for_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path()).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let _ = all(&cache).rm("test");
            }
        });
        let held =
            (0..50).map(|_| cache.hold("test", key("a"), &mut |_| {}, |path, _| write(path, "x")));
        let held: Result<Vec<_>, _> = held.map(|lease| Ok(contents(lease?.entry()))).collect();
        stop.store(true, Ordering::SeqCst);
        assert_eq!(
            held.map_err(|error: ImageError| error.to_string()),
            Ok(vec!["x".to_owned(); 50])
        );
    });
}
