//! Why a tree cannot be changed as declared.

use crate::tree::TreeError;

/// Why a tree cannot be changed as declared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CustomizeError {
    /// A path that leads nowhere, or astray.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A file of the system that cannot be understood.
    #[error("`/{path}` of the system cannot be changed: {reason}")]
    System {
        /// Without the first slash.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A number that another has.
    #[error(
        "the user `{user}` cannot have the {what} {id}: it is {owner}'s; give another, or none"
    )]
    IdTaken {
        /// As declared.
        user: String,
        /// `uid` or `gid`.
        what: &'static str,
        /// The number.
        id: u32,
        /// Who has it.
        owner: String,
    },
    /// No number is left.
    #[error("no number is free for the user `{user}`: all from 1000 to 59999 are taken")]
    NoId {
        /// As declared.
        user: String,
    },
    /// A group that is not there.
    #[error(
        "the user `{user}` cannot be in the group `{group}`: there is none; is the package missing that makes it?{near}"
    )]
    NoGroup {
        /// As declared.
        user: String,
        /// As declared.
        group: String,
        /// Names that are like it, as a sentence.
        near: Near,
    },
    /// A file in place of a directory.
    #[error(
        "the file `{path}` cannot be added: the system has a directory there; name a file in it"
    )]
    IsDirectory {
        /// As declared.
        path: String,
    },
    /// A path that is not absolute.
    #[error(
        "the file `{path}` cannot be added: its path must begin with `/` and be more than that"
    )]
    NotAbsolute {
        /// As declared.
        path: String,
    },
    /// A unit that is not there.
    #[error("the system has no unit `{unit}`{near}")]
    NoUnit {
        /// With its suffix.
        unit: String,
        /// Names that are like it, as a sentence.
        near: Near,
    },
    /// A unit that says not when it starts.
    #[error(
        "the unit `{unit}` cannot be enabled: it has no [Install] section, so others start it or \
         nobody does; name the unit that does, or add a drop-in with `[Install]` to `files`"
    )]
    Static {
        /// With its suffix.
        unit: String,
    },
    /// A template without an instance.
    #[error(
        "the unit `{unit}` is a template: name an instance of it, as `{}NAME{}`",
        unit.split_inclusive('@').next().unwrap_or_default(),
        unit.split_once('@').map_or("", |(_, suffix)| suffix)
    )]
    Template {
        /// With its suffix.
        unit: String,
    },
    /// A unit that is to be two things.
    #[error("the unit `{unit}` cannot be both enabled and {other}; leave one out")]
    Contradiction {
        /// With its suffix.
        unit: String,
        /// What it is to be besides.
        other: &'static str,
    },
}

/// Names that may have been meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Near(pub Vec<String>);

/// Names that are told.
const TOLD: usize = 3;
/// Jaro-Winkler similarity from which on a name may be meant.
const LIKE: f64 = 0.84;

impl Near {
    pub(super) fn of<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let rated = known.into_iter().map(|other| {
            // A part of a name is often what people remember.
            let stem = |text: &'a str| text.split(['.', '@']).next().unwrap_or_default();
            let own = name.split(['.', '@']).next().unwrap_or_default();
            let part = own.len() > 2 && stem(other).contains(own);
            let likeness = strsim::jaro_winkler(name, other);
            (if part { likeness.max(LIKE) } else { likeness }, other)
        });
        let mut rated: Vec<_> = rated.filter(|(likeness, _)| *likeness >= LIKE).collect();
        rated.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
        let mut names: Vec<String> = rated.into_iter().map(|(_, name)| name.to_owned()).collect();
        names.dedup();
        names.truncate(TOLD);
        Self(names)
    }
}

impl std::fmt::Display for Near {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<String> = self.0.iter().map(|name| format!("`{name}`")).collect();
        match names.as_slice() {
            [] => Ok(()),
            names => write!(f, "; it has {}", names.join(", ")),
        }
    }
}
