//! Using what is large: believed without being read, as long as nothing touched it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::entries::BROKEN;
use super::lease::Lease;
use super::lock::Lock;
use super::making::beside;
use super::verify::{Check, Damaged, Reading};
use super::{Cache, LOCK};
use crate::error::ImageError;
use crate::progress::{Progress, Step};

/// Whether an entry may be used.
#[derive(Debug)]
#[must_use = "what is broken must not be used"]
pub enum Trust {
    /// It is what was put there.
    Whole(Lease),
    /// It is not, and out of the way: the next who wants it makes it anew.
    Broken(Broken),
}

/// An entry that was found damaged, and set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// What is wrong with it; at least one file.
    pub damaged: Vec<Damaged>,
    /// Where it is now; none: another had taken it away.
    pub aside: Option<PathBuf>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, damaged) in self.damaged.iter().enumerate() {
            let (entry, file, damage) = (&damaged.entry, &damaged.file, damaged.damage);
            match index {
                0 => write!(f, "{entry} is broken: `{file}` {damage}")?,
                _ => write!(f, ", `{file}` {damage}")?,
            }
        }
        let name = self.aside.as_deref().and_then(Path::file_name);
        if let (Some(name), Some(damaged)) = (name, self.damaged.first()) {
            let (name, command) = (name.to_string_lossy(), damaged.of.command());
            write!(f, "; it is set aside as {name}, until `{command} gc`")?;
        }
        Ok(())
    }
}

impl Cache {
    /// Whether an entry is what was put there. Files that nothing touched since they were last
    /// read are believed, in the time of a `stat`; others are read, and believed from then on. A
    /// broken entry is set aside. `progress` hears how far it is, where it has to read.
    ///
    /// A change through a mapping that was there when a file was sealed cannot be seen without
    /// reading: nobody may keep one.
    ///
    /// # Errors
    /// A file cannot be read, or a broken entry cannot be set aside.
    pub fn trusted(
        &self,
        lease: Lease,
        progress: &mut dyn FnMut(Step),
    ) -> Result<Trust, ImageError> {
        let files = super::seal::files(lease.entry());
        let total = files.iter().map(|file| file.bytes).sum();
        let name = lease.entry().file_name().unwrap_or_default();
        let what = format!("reading {}", name.to_string_lossy());
        let mut progress = Progress::new(what, total, progress);
        let mut check = Check {
            entry: lease.entry(),
            holds: self.holds,
            reading: Reading::Unknown,
            at: &mut |at| progress.at(at),
        };
        let damaged = check.run()?;
        if damaged.is_empty() {
            return Ok(Trust::Whole(lease));
        }
        let aside = set_aside(&lease)?;
        Ok(Trust::Broken(Broken { damaged, aside }))
    }
}

/// Give an entry another name, under which nobody looks for it. What uses it goes on.
fn set_aside(lease: &Lease) -> Result<Option<PathBuf>, ImageError> {
    let entry = lease.entry();
    let _lock = Lock::wait(&beside(entry, LOCK))?;
    if !lease.is_current() {
        return Ok(None);
    }
    let name = entry.file_name().unwrap_or_default().to_string_lossy();
    let (kind, key) = name.rsplit_once('-').unwrap_or((&*name, ""));
    // Names are only given under the lock of the entry.
    let names = (1_u32..).map(|count| match count {
        1 => format!("{kind}{BROKEN}-{key}"),
        _ => format!("{kind}{BROKEN}-{count}-{key}"),
    });
    let mut places = names.map(|name| entry.with_file_name(name));
    let aside = places.find(|place| !place.exists());
    if let Some(aside) = &aside {
        let renamed = fs::rename(entry, aside);
        renamed.map_err(ImageError::file(
            entry,
            "it is broken, and cannot be set aside",
        ))?;
    }
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::time::{Duration, SystemTime};

    use super::super::identity::Identity;
    use super::super::seal::Seal;
    use super::super::tests::{all, key, names};
    use super::super::{CacheEntry, Damage, Holds, Keep, Wanted};
    use super::*;

    const MEMORY: &str = "server.memory";

    fn cache() -> (tempfile::TempDir, Cache) {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open_for(Holds::Snapshots, directory.path()).unwrap();
        // Also where temporary files are in memory.
        let seal = Seal::Volatile;
        (directory, Cache { seal, ..cache })
    }

    /// An entry with a file of a block, a hole and a byte; made when it is not there.
    fn entry(cache: &Cache) -> Lease {
        match cache.want("snapshot", key("a"), &mut |_| {}).unwrap() {
            Wanted::Ready(lease) => lease,
            Wanted::Make(unfinished) => {
                let memory = File::create(unfinished.directory().join(MEMORY)).unwrap();
                memory.set_len(8 << 20).unwrap();
                memory.write_all_at(&[7; 4096], 0).unwrap();
                memory.write_all_at(&[7], (8 << 20) - 1).unwrap();
                // As what machines write before they are saved.
                while !Identity::of(&memory.metadata().unwrap()).suffices(0) {}
                unfinished.finish("a test").unwrap()
            }
        }
    }

    /// Whether it is trusted, and how many bytes were read for it.
    fn trusted(cache: &Cache, lease: Lease) -> (Trust, u64) {
        let mut read = 0;
        let mut tell = |step: Step| read = step.bytes.unwrap().done;
        let trust = cache.trusted(lease, &mut tell).unwrap();
        (trust, read)
    }

    fn assert_whole(cache: &Cache) {
        let (trust, _) = trusted(cache, entry(cache));
        assert!(matches!(trust, Trust::Whole(_)), "{trust:?}");
    }

    fn broken(cache: &Cache) -> Broken {
        match trusted(cache, entry(cache)).0 {
            Trust::Broken(broken) => broken,
            Trust::Whole(lease) => panic!("{lease:?} is whole"),
        }
    }

    /// Make the files of an entry old enough that a change of them shows, and known as that.
    fn settle(cache: &Cache) {
        let lease = entry(cache);
        let old = SystemTime::now() - Duration::from_hours(1);
        let memory = File::open(lease.entry().join(MEMORY)).unwrap();
        memory.set_modified(old).unwrap();
        // Time stamps come from a clock that ticks; until it has, what was touched is read.
        while trusted(cache, lease.clone()).1 > 0 {}
    }

    fn damage(broken: &Broken) -> Vec<(&str, Damage)> {
        let damaged = broken.damaged.iter();
        damaged
            .map(|damaged| (&*damaged.file, damaged.damage))
            .collect()
    }

    fn listed(cache: &Cache) -> Vec<CacheEntry> {
        cache.ls().unwrap()
    }

    #[test]
    fn what_nothing_touched_is_not_read_again() {
        let (_directory, cache) = cache();
        settle(&cache);
        let before = listed(&cache);
        let (trust, read) = trusted(&cache, entry(&cache));
        assert!(matches!(trust, Trust::Whole(_)), "{trust:?}");
        assert_eq!(read, 0);
        // To be told that it was touched is to be read; what is the same is believed again.
        let memory = File::open(entry(&cache).entry().join(MEMORY)).unwrap();
        memory.set_modified(SystemTime::now()).unwrap();
        let (trust, read) = trusted(&cache, entry(&cache));
        assert!(matches!(trust, Trust::Whole(_)), "{trust:?}");
        assert!(read >= 8 << 20, "{read}");
        settle(&cache);
        assert_eq!(listed(&cache)[0].created, before[0].created);
    }

    #[test]
    fn what_is_large_and_in_memory_has_no_digest() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let cache = Cache::open_for(Holds::Snapshots, directory.path()).unwrap();
        let lease = entry(&cache);
        let digests = |cache: &Cache| {
            let (_, files) = all(cache).inspect("snapshot").unwrap();
            let digests = files.into_iter().map(|file| (file.name, file.digest));
            digests.collect::<Vec<_>>()
        };
        let about = Some(key("a test\n").to_string());
        let wanted = [("about".to_owned(), about), (MEMORY.to_owned(), None)];
        assert_eq!(digests(&cache), wanted);
        let (trust, read) = trusted(&cache, lease.clone());
        assert!(matches!(trust, Trust::Whole(_)), "{trust:?}");
        assert!(read < 8 << 20, "{read}");
        assert_eq!(
            all(&cache).verify(&listed(&cache), &mut |_| {}).unwrap(),
            []
        );
        // There is nothing to compare it with.
        let memory = File::open(lease.entry().join(MEMORY)).unwrap();
        memory.set_modified(SystemTime::now()).unwrap();
        let found = broken(&cache);
        assert_eq!(damage(&found), [(MEMORY, Damage::Changed)]);
        assert_whole(&cache);
    }

    #[test]
    fn what_was_written_before_the_host_was_started_is_read() {
        let (_directory, cache) = cache();
        settle(&cache);
        let path = entry(&cache).entry().join("IDENTITIES");
        let text = fs::read_to_string(&path).unwrap();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        assert!(text.contains(boot.trim()));
        fs::write(&path, text.replace(boot.trim(), "another")).unwrap();
        assert!(trusted(&cache, entry(&cache)).1 > 0);
        assert_eq!(trusted(&cache, entry(&cache)).1, 0);
        for garbage in ["", "{}", "\0\0"] {
            fs::write(&path, garbage).unwrap();
            assert!(trusted(&cache, entry(&cache)).1 > 0, "{garbage}");
        }
    }

    #[test]
    fn what_is_broken_is_set_aside_and_made_anew() {
        let (_directory, cache) = cache();
        settle(&cache);
        let lease = entry(&cache);
        let memory = File::options().write(true).open(lease.entry().join(MEMORY));
        memory.unwrap().write_all_at(&[8], 5000).unwrap();
        let found = broken(&cache);
        assert_eq!(damage(&found), [(MEMORY, Damage::Changed)]);
        let path = lease.entry().to_owned();
        let name = path.file_name().unwrap().to_str().unwrap();
        let aside = name.replace("snapshot-", "snapshot-broken-");
        assert_eq!(
            found.to_string(),
            format!(
                "{name} is broken: `server.memory` is not what was put there; it is set aside as \
                 {aside}, until `attest snapshot gc`"
            )
        );
        // The one who uses it goes on; all others get a new one.
        let [entry_aside] = &listed(&cache)[..] else {
            panic!("one entry");
        };
        assert!(
            entry_aside.is_broken && entry_aside.in_use,
            "{entry_aside:?}"
        );
        assert_eq!(
            (&*entry_aside.kind, &*entry_aside.name),
            ("snapshot", &*aside)
        );
        assert_whole(&cache);
        // One more of the same key.
        fs::remove_file(entry(&cache).entry().join(MEMORY)).unwrap();
        let again = broken(&cache);
        assert_eq!(damage(&again), [(MEMORY, Damage::Missing)]);
        let again = again.aside.unwrap();
        assert!(again.to_str().unwrap().contains("snapshot-broken-2-"));
        // A key names what is whole.
        drop(entry(&cache));
        let key = &name["snapshot-".len()..][..7];
        assert_eq!(all(&cache).inspect(key).unwrap().0.name, name);
        let keep = Keep {
            broken: true,
            ..Keep::default()
        };
        assert_eq!(all(&cache).gc(keep, &mut |_| {}).unwrap(), []);
        let gone = all(&cache).gc(Keep::default(), &mut |_| {}).unwrap();
        assert_eq!(gone.len(), 1, "the other is in use: {gone:?}");
        drop(lease);
        all(&cache).gc(Keep::default(), &mut |_| {}).unwrap();
        assert_eq!(names(&cache), [name]);
    }

    #[test]
    fn damage_has_a_name() {
        type Harm = fn(&Path);
        let harms: [(Harm, &str, Damage); 5] = [
            (
                |entry| {
                    let file = File::options().write(true).open(entry.join(MEMORY));
                    file.unwrap().set_len(4096).unwrap();
                },
                MEMORY,
                Damage::Truncated {
                    bytes: 4096,
                    of: 8 << 20,
                },
            ),
            (
                |entry| fs::write(entry.join("about"), "another").unwrap(),
                "about",
                Damage::Changed,
            ),
            (
                |entry| fs::remove_file(entry.join("about")).unwrap(),
                "about",
                Damage::Missing,
            ),
            // A power cut may leave the digests empty, or a part of them.
            (
                |entry| fs::write(entry.join("DIGESTS"), "").unwrap(),
                "DIGESTS",
                Damage::Changed,
            ),
            (
                |entry| {
                    let text = fs::read_to_string(entry.join("DIGESTS")).unwrap();
                    let (_, end) = text.split_once('\n').unwrap();
                    fs::write(entry.join("DIGESTS"), end).unwrap();
                },
                "DIGESTS",
                Damage::Changed,
            ),
        ];
        for (harm, file, what) in harms {
            let (_directory, cache) = cache();
            settle(&cache);
            let path = entry(&cache).entry().to_owned();
            harm(&path);
            let verified = all(&cache).verify(&listed(&cache), &mut |_| {}).unwrap();
            let found = broken(&cache);
            assert_eq!(damage(&found), [(file, what)]);
            assert_eq!(found.damaged, verified);
            assert_whole(&cache);
        }
    }

    #[test]
    fn the_same_damage_is_found_by_many_and_set_aside_once() {
        let (_directory, cache) = cache();
        let lease = entry(&cache);
        fs::write(lease.entry().join("about"), "another").unwrap();
        let found = [(); 2].map(|()| trusted(&cache, lease.clone()).0);
        let aside = found.map(|trust| match trust {
            Trust::Broken(broken) => broken.aside.is_some(),
            Trust::Whole(lease) => panic!("{lease:?} is whole"),
        });
        assert_eq!(aside, [true, false]);
    }
}
