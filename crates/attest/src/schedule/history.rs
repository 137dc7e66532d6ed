//! What tests took in earlier runs: a file in the cache directory.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// The file's name in the cache directory.
const FILE: &str = "history.json";
/// Locked while it is replaced, …
const GUARD: &str = "history.guard";
/// … by this.
const UNFINISHED: &str = "history.json~";
/// A larger one is none of ours, bytes.
const LARGEST: u64 = 16 * 1024 * 1024;
/// Tests that are remembered, those of the latest runs first: 10 000 of 100 bytes are 1 MB.
const MOST: usize = 10_000;

/// What tests took in earlier runs, by the name of their lab and their own.
///
/// A manifest is known by its lab's name, not by its place: so a history can be carried from one
/// checkout, or host, to another.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    #[serde(default)]
    labs: BTreeMap<String, BTreeMap<String, Measured>>,
}

/// What one test took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// From the making of its lab to the lab's end, milliseconds.
    pub duration_ms: u64,
    /// What its lab used.
    #[serde(flatten)]
    pub usage: Usage,
    /// When it ended, seconds since 1970.
    pub ended: u64,
}

/// What a lab used, as far as somebody measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The most memory that it had at once, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Thousandths of a CPU that it kept busy, from its beginning to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
}

/// A history that was asked for cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// It cannot be read.
    #[error("the timings in {} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It is something else.
    #[error("{} holds no timings; take the `history.json` of a cache directory", path.display())]
    Garbage {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// It cannot be written.
    #[error("the timings of this run cannot be kept in {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl Usage {
    /// What was measured; else what the other one says.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            memory: self.memory.or(other.memory),
            cpu: self.cpu.or(other.cpu),
        }
    }
}

impl Measured {
    /// It took so long, until now.
    pub(crate) fn of(duration: Duration, usage: Usage) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            usage,
            ended: since.unwrap_or_default().as_secs(),
        }
    }

    /// How long it took.
    pub fn duration(&self) -> Duration {
        Duration::from_millis(self.duration_ms)
    }
}

impl History {
    /// Where a cache directory has it.
    pub fn place(cache: &Path) -> PathBuf {
        cache.join(FILE)
    }

    /// Read a file that was asked for.
    ///
    /// # Errors
    /// It cannot be read, or holds something else.
    pub fn read(path: &Path) -> Result<Self, HistoryError> {
        let failed = |source| HistoryError::Read {
            path: path.to_owned(),
            source,
        };
        let mut text = Vec::new();
        let file = fs::File::open(path).map_err(failed)?;
        file.take(LARGEST).read_to_end(&mut text).map_err(failed)?;
        serde_json::from_slice(&text).map_err(|source| HistoryError::Garbage {
            path: path.to_owned(),
            source,
        })
    }

    /// Read what may be there: without a file, or with one that cannot be used, nothing is known.
    pub fn of_cache(cache: &Path) -> Self {
        Self::read(&Self::place(cache)).unwrap_or_default()
    }

    /// What this test of this lab took last.
    pub fn get(&self, lab: &str, test: &str) -> Option<&Measured> {
        self.labs.get(lab)?.get(test)
    }

    /// It took this. What was not measured this time is as it was.
    pub fn set(&mut self, lab: &str, test: &str, mut measured: Measured) {
        let tests = self.labs.entry(lab.to_owned()).or_default();
        if let Some(Measured { usage: before, .. }) = tests.get(test) {
            measured.usage = measured.usage.or(*before);
        }
        tests.insert(test.to_owned(), measured);
    }

    /// Add these to the cache directory's, whatever other runs have put there meanwhile. A reader
    /// finds either the old file or the new one.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add_to(&self, cache: &Path) -> Result<(), HistoryError> {
        let path = Self::place(cache);
        self.add_to_file(cache, &path)
            .map_err(|source| HistoryError::Write { path, source })
    }

    fn add_to_file(&self, cache: &Path, path: &Path) -> io::Result<()> {
        fs::create_dir_all(cache)?;
        // The file itself is replaced, and whoever waited for its lock would have that of the old.
        let guard = fs::File::create(cache.join(GUARD))?;
        guard.lock()?;
        let mut all = Self::of_cache(cache);
        for (lab, tests) in &self.labs {
            for (test, measured) in tests {
                all.set(lab, test, *measured);
            }
        }
        all.forget();
        // What a killed writer left there is written over.
        let new = cache.join(UNFINISHED);
        let mut text = serde_json::to_vec(&all)?;
        text.push(b'\n');
        fs::write(&new, text)?;
        fs::rename(new, path)
    }

    /// Only the latest stay.
    fn forget(&mut self) {
        let all = self.labs.iter().flat_map(|(lab, tests)| {
            let of_test = |(test, measured): (&String, &Measured)| {
                (measured.ended, lab.clone(), test.clone())
            };
            tests.iter().map(of_test)
        });
        let mut all: Vec<_> = all.collect();
        if all.len() <= MOST {
            return;
        }
        all.sort();
        let too_many = all.len() - MOST;
        for (_, lab, test) in all.into_iter().take(too_many) {
            if let Some(tests) = self.labs.get_mut(&lab) {
                tests.remove(&test);
            }
        }
        self.labs.retain(|_, tests| !tests.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(duration_ms: u64, ended: u64) -> Measured {
        Measured {
            duration_ms,
            ended,
            ..Measured::default()
        }
    }

    #[test]
    fn what_is_added_is_there_beside_what_was() {
        let cache = tempfile::tempdir().unwrap();
        let mut first = History::default();
        first.set("web", "serves", measured(10, 1));
        first.set("web", "waits", measured(20, 1));
        first.add_to(cache.path()).unwrap();
        let mut second = History::default();
        second.set("web", "waits", measured(30, 2));
        second.set("db", "waits", measured(40, 2));
        second.add_to(cache.path()).unwrap();
        let all = History::of_cache(cache.path());
        let took = |lab, test| all.get(lab, test).map(|measured| measured.duration_ms);
        assert_eq!(took("web", "serves"), Some(10));
        assert_eq!(took("web", "waits"), Some(30));
        assert_eq!(took("db", "waits"), Some(40));
        assert_eq!(took("db", "serves"), None);
        assert!(!cache.path().join(UNFINISHED).exists());
    }

    #[test]
    fn runs_that_end_at_once_lose_nothing() {
        let cache = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for number in 0..8 {
                let cache = cache.path();
                scope.spawn(move || {
                    let mut one = History::default();
                    one.set("lab", &number.to_string(), measured(number, 1));
                    one.add_to(cache).unwrap();
                });
            }
        });
        let all = History::of_cache(cache.path());
        assert!((0..8).all(|number| all.get("lab", &number.to_string()).is_some()));
    }

    #[test]
    fn what_was_measured_once_stays_known() {
        let mut history = History::default();
        let with_memory = Measured {
            usage: Usage {
                memory: Some(7),
                cpu: None,
            },
            ..measured(10, 1)
        };
        history.set("web", "serves", with_memory);
        history.set("web", "serves", measured(20, 2));
        let now = history.get("web", "serves").unwrap();
        assert_eq!((now.duration_ms, now.usage.memory), (20, Some(7)));
        let text = serde_json::to_string(&history).unwrap();
        assert!(
            text.contains("\"memory\":7") && !text.contains("usage"),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<History>(&text).unwrap(), history);
    }

    #[test]
    fn garbage_is_no_history_and_is_replaced() {
        let cache = tempfile::tempdir().unwrap();
        let path = History::place(cache.path());
        for garbage in [
            "",
            "{",
            "[1]",
            "{\"labs\": 1}",
            "{\"labs\": {\"a\": {\"b\": {}}}}",
        ] {
            fs::write(&path, garbage).unwrap();
            assert_eq!(History::of_cache(cache.path()), History::default());
            let error = History::read(&path).unwrap_err();
            assert!(
                matches!(error, HistoryError::Garbage { .. }),
                "{garbage}: {error}"
            );
        }
        let mut new = History::default();
        new.set("a", "b", measured(1, 1));
        new.add_to(cache.path()).unwrap();
        assert_eq!(History::of_cache(cache.path()), new);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut all = History::default();
        for number in 0..MOST as u64 + 5 {
            all.set("lab", &number.to_string(), measured(1, number));
        }
        all.set("old", "old", measured(1, 0));
        all.forget();
        assert_eq!(all.labs.len(), 1);
        assert_eq!(all.labs["lab"].len(), MOST);
        assert_eq!(all.get("lab", "4"), None);
        assert!(all.get("lab", "5").is_some());
    }
}
