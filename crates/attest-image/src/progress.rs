//! How far something is that takes its time.

use std::fmt;

/// Parts in which progress is told.
const PARTS: u128 = 100;

/// Something that takes its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is done, for people.
    pub what: String,
    /// How far it is, where that is known.
    pub bytes: Option<Amount>,
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
            (self.tell)(Step {
                what: self.what.clone(),
                bytes,
            });
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
        let step = Step {
            what: "fetching the kernel".to_owned(),
            bytes,
        };
        assert_eq!(step.to_string(), "fetching the kernel (13 of 27 MB)");
        assert_eq!(Step::new("waiting").to_string(), "waiting");
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
