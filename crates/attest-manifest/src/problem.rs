//! What is wrong, and where in the manifest's values: positions in the text come later.

use std::fmt;

/// Problems that are shown; the rest is counted.
pub(crate) const SHOWN: usize = 20;

/// One step down into a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    Key(String),
    Index(usize),
}

/// A place in the manifest's values, from the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place(pub(crate) Vec<Segment>);

impl Place {
    /// Whether `other` is this place or below it.
    pub(crate) fn holds(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }
}

impl fmt::Display for Place {
    /// As one would write it in TOML: `machines.server.disks[0].size`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(number) => write!(formatter, "[{number}]")?,
                Segment::Key(key) => {
                    if index > 0 {
                        formatter.write_str(".")?;
                    }
                    let bare =
                        |each: char| each.is_ascii_alphanumeric() || each == '-' || each == '_';
                    if !key.is_empty() && key.chars().all(bare) {
                        formatter.write_str(key)?;
                    } else {
                        write!(formatter, "{key:?}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// A place on the stack: nothing is copied until there is a problem to report.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct At<'a> {
    inner: Option<(&'a At<'a>, Step<'a>)>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl<'a> At<'a> {
    pub(crate) fn key(&'a self, key: &'a str) -> At<'a> {
        At {
            inner: Some((self, Step::Key(key))),
        }
    }

    pub(crate) fn index(&'a self, index: usize) -> At<'a> {
        At {
            inner: Some((self, Step::Index(index))),
        }
    }

    pub(crate) fn place(&self) -> Place {
        let mut segments = Vec::new();
        let mut at = *self;
        while let Some((parent, step)) = at.inner {
            segments.push(match step {
                Step::Key(key) => Segment::Key(key.to_owned()),
                Step::Index(index) => Segment::Index(index),
            });
            at = *parent;
        }
        segments.reverse();
        Place(segments)
    }

    /// A problem of the value here.
    pub(crate) fn problem(&self, message: impl Into<String>) -> Problem {
        Problem {
            place: self.place(),
            part: Part::Value,
            message: message.into(),
            label: String::new(),
            help: None,
            related: None,
        }
    }

    /// A problem of the key here.
    pub(crate) fn key_problem(&self, message: impl Into<String>) -> Problem {
        Problem {
            part: Part::Key,
            ..self.problem(message)
        }
    }
}

/// Which text of a place is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Key,
    Value,
}

/// Something wrong.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) place: Place,
    pub(crate) part: Part,
    /// What is wrong, in a line.
    pub(crate) message: String,
    /// Shown under the offending text.
    pub(crate) label: String,
    /// What to write instead.
    pub(crate) help: Option<String>,
    /// The other place that takes part, and what to show under it.
    pub(crate) related: Option<(Place, Part, String)>,
}

impl Problem {
    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }

    pub(crate) fn related(mut self, place: Place, part: Part, label: impl Into<String>) -> Self {
        self.related = Some((place, part, label.into()));
        self
    }
}

/// The first problems, and how many more there are.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    pub(crate) list: Vec<Problem>,
    pub(crate) more: usize,
}

impl Problems {
    pub(crate) fn push(&mut self, problem: Problem) {
        if self.list.len() < SHOWN {
            self.list.push(problem);
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// The one of `known` that was probably meant.
pub(crate) fn nearest<'a>(
    word: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Option<&'a str> {
    // A long word is no typing mistake, and its distance would cost much to find.
    if word.len() > 100 {
        return None;
    }
    let limit = word.len().max(3) / 3;
    let by_edits = known
        .clone()
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= limit)
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(edits, _)| *edits <= limit)
        .min_by_key(|(edits, _)| *edits);
    // Words with parts swapped or left out are far apart by edits, and still much alike.
    let by_likeness = || {
        known
            .filter(|candidate| candidate.len().abs_diff(word.len()) <= word.len())
            .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
            .filter(|(likeness, _)| *likeness > 0.85)
            .max_by(|left, right| left.0.total_cmp(&right.0))
    };
    by_edits
        .map(|(_, candidate)| candidate)
        .or_else(|| by_likeness().map(|(_, candidate)| candidate))
}

/// Help for an unknown name: the nearest, or what there is.
pub(crate) fn did_you_mean<'a>(
    word: &str,
    what: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Option<String> {
    if let Some(near) = nearest(word, known.clone()) {
        return Some(format!("did you mean `{near}`?"));
    }
    let names: Vec<String> = known
        .clone()
        .take(12)
        .map(|name| format!("`{name}`"))
        .collect();
    let more = if known.count() > names.len() {
        ", …"
    } else {
        ""
    };
    if names.is_empty() {
        None
    } else {
        Some(format!("{what}: {}{more}", names.join(", ")))
    }
}
