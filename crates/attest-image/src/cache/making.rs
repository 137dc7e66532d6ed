//! Making an entry: beside its place, under a lock; put in place whole, or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use super::entries::CacheEntry;
use super::lease::Lease;
use super::lock::Lock;
use super::seal::{Seal, seal, sync};
use super::{ABOUT, Cache, LOCK, UNFINISHED, clear};
use crate::error::ImageError;
use crate::progress::Step;

/// What one who wants an entry gets.
#[derive(Debug)]
#[must_use = "an entry that is to be made keeps all others waiting who want it"]
pub enum Wanted {
    /// It is there.
    Ready(Lease),
    /// It is not, and this is for the caller to make. Others who want it wait meanwhile.
    Make(Unfinished),
}

/// An entry that is being made: an empty directory to write to, which nobody takes for an entry.
/// Dropped, it is gone, and one who waited for it makes it; of a killed process, the next who
/// opens the cache or wants the entry removes it.
#[derive(Debug)]
pub struct Unfinished {
    entry: PathBuf,
    directory: PathBuf,
    seal: Seal,
    /// Given back when all else is done.
    _lock: Lock,
}

impl Cache {
    /// The entry of this kind under this key, or the making of it. While another makes the same
    /// one, in this process or another, this waits until that is finished or given up, and says
    /// so through `progress`. It blocks the thread.
    ///
    /// # Errors
    /// The directory cannot be written to; an entry that is there is found nevertheless.
    pub fn want(
        &self,
        kind: &str,
        key: blake3::Hash,
        progress: &mut dyn FnMut(Step),
    ) -> Result<Wanted, ImageError> {
        if let Some(lease) = self.take(kind, key)? {
            return Ok(Wanted::Ready(lease));
        }
        let entry = self.place_of(kind, key);
        let path = beside(&entry, LOCK);
        let lock = if let Some(lock) = Lock::attempt(&path)? {
            lock
        } else {
            progress(Step::wait(format!(
                "waiting for another attest that builds the {kind}"
            )));
            Lock::wait(&path)?
        };
        // Nobody puts an entry there or takes it away without the lock.
        if let Some(lease) = Lease::take(&entry)? {
            return Ok(Wanted::Ready(lease));
        }
        Unfinished::begin(entry, self.seal, lock).map(Wanted::Make)
    }

    /// The entry of this kind under this key, where it is there.
    pub(crate) fn take(&self, kind: &str, key: blake3::Hash) -> Result<Option<Lease>, ImageError> {
        Lease::take(&self.place_of(kind, key))
    }

    /// An entry that was listed, where it is still there.
    pub(crate) fn take_listed(&self, entry: &CacheEntry) -> Result<Option<Lease>, ImageError> {
        Lease::take(&self.directory().join(&entry.name))
    }

    /// Whether somebody may be making or removing it, or was killed over that.
    pub(crate) fn is_busy(&self, kind: &str, key: blake3::Hash) -> bool {
        beside(&self.place_of(kind, key), LOCK).exists()
    }
}

impl Unfinished {
    /// Only the holder of the lock is here: what lies there was left by one who was killed.
    fn begin(entry: PathBuf, seal: Seal, lock: Lock) -> Result<Self, ImageError> {
        let directory = beside(&entry, UNFINISHED);
        clear(&directory)?;
        clear(&entry)?;
        fs::create_dir(&directory).map_err(ImageError::file(&directory, "it cannot be made"))?;
        Ok(Self {
            entry,
            directory,
            seal,
            _lock: lock,
        })
    }

    /// Where its files are to be written. They move when it is finished; files that are open, or
    /// mapped, stay what they are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Put it in place, sealed: from here on nobody may write to its files, neither through a
    /// descriptor nor through a mapping. `about` says in a line what it is, for people.
    ///
    /// # Errors
    /// Its files cannot be read, or no more be written. Then nothing is left of it.
    pub fn finish(self, about: &str) -> Result<Lease, ImageError> {
        let path = self.directory.join(ABOUT);
        let written = fs::write(&path, format!("{about}\n"));
        written.map_err(ImageError::file(&path, "it cannot be written"))?;
        self.place()
    }

    /// The same, where what is written there says itself what it is.
    pub(super) fn place(self) -> Result<Lease, ImageError> {
        self.seal()?;
        self.rename()?;
        let lease = Lease::take(&self.entry)?;
        lease.ok_or_else(|| {
            let gone = std::io::ErrorKind::NotFound.into();
            ImageError::file(&self.entry, "it was removed when it was put in place")(gone)
        })
    }

    pub(super) fn seal(&self) -> Result<(), ImageError> {
        seal(&self.directory, self.seal)
    }

    pub(super) fn rename(&self) -> Result<(), ImageError> {
        fs::rename(&self.directory, &self.entry)
            .map_err(ImageError::file(&self.entry, "it cannot be put in place"))?;
        match self.seal {
            Seal::Durable => sync(self.entry.parent().unwrap_or(&self.entry)),
            Seal::Volatile | Seal::InMemory => Ok(()),
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Nothing is there when it was put in place. What cannot be removed is swept later.
        let _ = clear(&self.directory);
    }
}

/// What belongs to an entry, beside it.
pub(super) fn beside(entry: &Path, extension: &str) -> PathBuf {
    // Names of entries have no dot.
    entry.with_extension(extension)
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::io::{self, BufRead, BufReader, Read};
    use std::process::{Child, Command, Stdio};

    use super::super::tests::{all, key, names};
    use super::*;

    /// Tells a process that [`begin`] starts where the cache is, and where it is to stop.
    const PLACE: &str = "ATTEST_TEST_CACHE";
    const STOP: &str = "ATTEST_TEST_STOP";

    fn want(cache: &Cache) -> Wanted {
        cache.want("test", key("a"), &mut |_| {}).unwrap()
    }

    fn to_make(wanted: Wanted) -> Unfinished {
        match wanted {
            Wanted::Make(unfinished) => unfinished,
            Wanted::Ready(lease) => panic!("it is there: {lease:?}"),
        }
    }

    fn ready(wanted: Wanted) -> Lease {
        match wanted {
            Wanted::Ready(lease) => lease,
            Wanted::Make(unfinished) => panic!("it is not there: {unfinished:?}"),
        }
    }

    fn cache() -> (tempfile::TempDir, Cache) {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        (directory, cache)
    }

    #[test]
    fn what_is_finished_is_there_for_all() {
        let (_directory, cache) = cache();
        let unfinished = to_make(want(&cache));
        fs::write(unfinished.directory().join("file"), "contents").unwrap();
        assert_eq!(cache.ls().unwrap(), []);
        let lease = unfinished.finish("a test").unwrap();
        assert_eq!(lease, ready(want(&cache)));
        assert!(matches!(
            all(&cache).rm("test"),
            Err(ImageError::InUse { .. })
        ));
        let [entry] = &cache.ls().unwrap()[..] else {
            panic!("one entry");
        };
        assert_eq!(entry.about.as_deref(), Some("a test"));
        assert_eq!(entry.path, lease.entry());
        assert_eq!(
            all(&cache)
                .verify(&cache.ls().unwrap(), &mut |_| {})
                .unwrap(),
            []
        );
        assert_eq!(names(&cache).len(), 1, "{:?}", names(&cache));
    }

    #[test]
    fn what_is_given_up_is_made_by_the_one_who_waited() {
        let (_directory, cache) = cache();
        let unfinished = to_make(want(&cache));
        fs::write(unfinished.directory().join("file"), "half").unwrap();
        let (waits, waiting) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                let mut tell = |step: Step| waits.send(step.to_string()).unwrap();
                to_make(cache.want("test", key("a"), &mut tell).unwrap())
            });
            let heard = waiting.recv().unwrap();
            assert_eq!(heard, "waiting for another attest that builds the test");
            drop(unfinished);
            let other = other.join().unwrap();
            assert_eq!(fs::read_dir(other.directory()).unwrap().count(), 0);
        });
        assert_eq!(names(&cache), Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_sealed_is_not_there() {
        let (_directory, cache) = cache();
        let unfinished = to_make(want(&cache));
        fs::create_dir(unfinished.directory().join(ABOUT)).unwrap();
        assert!(unfinished.finish("a test").is_err());
        assert_eq!(names(&cache), Vec::<String>::new());
        drop(to_make(want(&cache)));
    }

    /// Where one who makes an entry may be killed.
    const STOPS: [&str; 5] = ["begun", "half", "written", "sealed", "in place"];

    /// What [`begin`] runs as another process: it goes as far as it is told, and stays there
    /// until it is killed.
    #[test]
    #[ignore = "not a test by itself"]
    fn a_process_that_stops() {
        let (Some(place), Ok(stop)) = (env::var_os(PLACE), env::var(STOP)) else {
            return;
        };
        let at = |here: &str| {
            if here == stop {
                println!("stopped");
                let _ = io::stdin().read(&mut [0]);
            }
        };
        let cache = Cache::open(Path::new(&place)).unwrap();
        let unfinished = to_make(want(&cache));
        at("begun");
        let file = unfinished.directory().join("file");
        fs::write(&file, "half").unwrap();
        at("half");
        fs::write(&file, "whole").unwrap();
        at("written");
        unfinished.seal().unwrap();
        at("sealed");
        unfinished.rename().unwrap();
        at("in place");
    }

    /// A process that makes an entry and got as far as this.
    fn begin(cache: &Cache, stop: &str) -> Child {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture"])
            .arg("cache::making::tests::a_process_that_stops")
            .env(PLACE, cache.directory())
            .env(STOP, stop)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut said = said.map(Result::unwrap);
        assert!(said.any(|line| line.ends_with("stopped")), "{stop}");
        process
    }

    #[test]
    fn a_kill_leaves_a_whole_entry_or_none() {
        for stop in STOPS {
            let (directory, cache) = cache();
            let mut process = begin(&cache, stop);
            let is_there = stop == "in place";
            assert_eq!(cache.ls().unwrap().len(), usize::from(is_there), "{stop}");
            process.kill().unwrap();
            process.wait().unwrap();
            // The next who opens it sweeps it.
            let cache = Cache::open(directory.path()).unwrap();
            assert_eq!(names(&cache).len(), usize::from(is_there), "{stop}");
            if is_there {
                let lease = ready(want(&cache));
                let contents = fs::read_to_string(lease.entry().join("file"));
                assert_eq!(contents.unwrap(), "whole");
            } else {
                drop(to_make(want(&cache)));
            }
            let damaged = all(&cache).verify(&cache.ls().unwrap(), &mut |_| {});
            assert_eq!(damaged.unwrap(), [], "{stop}");
        }
    }

    #[test]
    fn one_who_waits_for_a_process_that_is_killed_makes_it() {
        for stop in STOPS.into_iter().filter(|stop| *stop != "in place") {
            let (_directory, cache) = cache();
            let mut process = begin(&cache, stop);
            // It is killed while it is waited for: the one who waits says so.
            let mut kill = |_| process.kill().unwrap();
            let unfinished = to_make(cache.want("test", key("a"), &mut kill).unwrap());
            assert_eq!(fs::read_dir(unfinished.directory()).unwrap().count(), 0);
            unfinished.finish("another").unwrap();
            process.wait().unwrap();
            assert_eq!(cache.ls().unwrap().len(), 1, "{stop}");
        }
    }
}
