//! How far something is that takes its time.

use std::fmt;
use std::time::{Duration, Instant};

/// Parts in which progress is told.
const PARTS: u128 = 100;

/// Something that takes its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is done, for people.
    pub what: String,
    /// How far it is, where that is known.
    pub bytes: Option<Amount>,
    /// Another one does it, and this one waits for that.
    pub is_wait: bool,
}

/// So many bytes of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount {
    /// Bytes that are there.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

impl Step {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            bytes: None,
            is_wait: false,
        }
    }

    pub(crate) fn of_bytes(what: impl Into<String>, bytes: Option<Amount>) -> Self {
        Self {
            bytes,
            ..Self::new(what)
        }
    }

    pub(crate) fn wait(what: impl Into<String>) -> Self {
        Self {
            is_wait: true,
            ..Self::new(what)
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match self.bytes {
            Some(amount) => write!(f, " ({amount})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (done, total) = (self.done / 1_000_000, self.total.div_ceil(1_000_000));
        write!(f, "{done} of {total} MB")
    }
}

/// How long a step will take yet, from how long it took to come where it is. A step that says its
/// bytes is followed from the first time that it is told.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    followed: Option<Followed>,
}

#[derive(Debug, Clone)]
struct Followed {
    what: String,
    began: Instant,
    from: u64,
    last: u64,
}

/// What is younger than this has no rate yet.
const EARLIEST: Duration = Duration::from_secs(1);

impl Pace {
    /// A step as people are told it at this time: `reading root.tar (13 of 27 MB, 8 s left)`.
    pub fn text(&mut self, step: &Step, now: Instant) -> String {
        let (Some(amount), Some(left)) = (step.bytes, self.left(step, now)) else {
            return step.to_string();
        };
        // Nobody sets a clock by it.
        let seconds = left.as_secs() + 1;
        let left = match seconds / 60 {
            0 => format!("{seconds} s"),
            minutes => format!("{minutes} min {:02} s", seconds % 60),
        };
        format!("{} ({amount}, {left} left)", step.what)
    }

    /// Time that is left when a step is told at this time; nothing where it cannot be known.
    pub fn left(&mut self, step: &Step, now: Instant) -> Option<Duration> {
        let Amount { done, total } = step.bytes?;
        let is_new = |followed: &Followed| followed.what != step.what || followed.last > done;
        if self.followed.as_ref().is_none_or(is_new) {
            self.followed = Some(Followed {
                what: step.what.clone(),
                began: now,
                from: done,
                last: done,
            });
        }
        let followed = self.followed.as_mut()?;
        followed.last = done;
        let took = now.saturating_duration_since(followed.began);
        let bytes = done - followed.from;
        let left = total.checked_sub(done).filter(|left| *left > 0)?;
        if took < EARLIEST || bytes == 0 {
            return None;
        }
        let nanoseconds = took.as_nanos() * u128::from(left) / u128::from(bytes);
        Some(Duration::from_nanos(u64::try_from(nanoseconds).ok()?))
    }
}

/// Tells how far something is, in steps that are enough for eyes.
pub(crate) struct Progress<'a> {
    what: String,
    total: u64,
    told: Option<u128>,
    tell: &'a mut dyn FnMut(Step),
}

impl<'a> Progress<'a> {
    pub(crate) fn new(what: String, total: u64, tell: &'a mut dyn FnMut(Step)) -> Self {
        Self {
            what,
            total,
            told: None,
            tell,
        }
    }

    /// So many bytes are done.
    pub(crate) fn at(&mut self, done: u64) {
        let part = u128::from(done) * PARTS / u128::from(self.total.max(1));
        if self.told != Some(part) {
            self.told = Some(part);
            let bytes = Some(Amount {
                done,
                total: self.total,
            });
            (self.tell)(Step::of_bytes(self.what.clone(), bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_for_people() {
        let bytes = Some(Amount {
            done: 13_400_000,
            total: 26_700_001,
        });
        let step = Step::of_bytes("fetching the kernel", bytes);
        assert_eq!(step.to_string(), "fetching the kernel (13 of 27 MB)");
        assert_eq!(Step::new("waiting").to_string(), "waiting");
    }

    #[test]
    fn what_is_left_takes_as_long_as_what_was_done() {
        let start = Instant::now();
        let step = |what: &str, done| Step::of_bytes(what, Some(Amount { done, total: 100 }));
        let mut pace = Pace::default();
        let mut left = |what, done, seconds| {
            let now = start + Duration::from_secs(seconds);
            let left = pace.left(&step(what, done), now);
            left.map(|left| left.as_secs())
        };
        assert_eq!(left("a", 20, 0), None, "there is no rate yet");
        assert_eq!(left("a", 40, 4), Some(12));
        assert_eq!(left("a", 60, 8), Some(8));
        assert_eq!(left("a", 100, 9), None, "nothing is left");
        assert_eq!(left("b", 0, 10), None, "another begins anew");
        assert_eq!(left("b", 0, 20), None, "nothing was done");
        assert_eq!(left("b", 50, 20), Some(10));
        assert_eq!(left("b", 10, 30), None, "the same once more");
        assert_eq!(Pace::default().left(&Step::new("x"), start), None);
    }

    #[test]
    fn the_time_that_is_left_is_said_where_it_is_known() {
        let start = Instant::now();
        let step = |done: u64| {
            let done = done * 1_000_000;
            let total = 100_000_000;
            Step::of_bytes("reading root.tar", Some(Amount { done, total }))
        };
        let mut pace = Pace::default();
        let mut text = |done, seconds| pace.text(&step(done), start + Duration::from_secs(seconds));
        assert_eq!(text(0, 0), "reading root.tar (0 of 100 MB)");
        assert_eq!(
            text(10, 10),
            "reading root.tar (10 of 100 MB, 1 min 31 s left)"
        );
        assert_eq!(text(90, 90), "reading root.tar (90 of 100 MB, 11 s left)");
        assert_eq!(text(100, 99), "reading root.tar (100 of 100 MB)");
    }

    #[test]
    fn it_is_told_as_often_as_eyes_can_follow() {
        let mut told = Vec::new();
        let mut tell = |step: Step| told.extend(step.bytes.map(|amount| amount.done));
        let mut progress = Progress::new("x".to_owned(), u64::MAX, &mut tell);
        for done in 0..1000 {
            progress.at(done * (u64::MAX / 1000));
        }
        assert!(told.len() > 50 && told.len() <= 101, "{told:?}");
        let mut none = 0;
        let mut tell = |_: Step| none += 1;
        Progress::new("x".to_owned(), 0, &mut tell).at(0);
        assert_eq!(none, 1);
    }
}
