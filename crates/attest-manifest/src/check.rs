//! Problems by the path of what is wrong, before they have a place in a text.

use crate::error::Diagnostic;
use crate::source::Node;

/// A path into the manifest, as `machines.a.memory`.
pub(crate) type Path = Vec<String>;

/// Build a [`Path`].
macro_rules! place {
    ($($part:expr),* $(,)?) => { vec![$($part.to_string()),*] };
}
pub(crate) use place;

/// One problem.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    message: String,
    path: Path,
    on_key: bool,
    label: String,
    help: Option<String>,
    other: Option<(Path, String)>,
}

/// What was found so far.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    pub(crate) list: Vec<Problem>,
}

impl Problems {
    /// Add one, under the value at `path`.
    pub(crate) fn add(&mut self, path: Path, message: impl Into<String>, label: impl Into<String>) -> &mut Problem {
        self.list.push(Problem {
            message: message.into(),
            path,
            on_key: false,
            label: label.into(),
            help: None,
            other: None,
        });
        self.list.last_mut().expect("just added")
    }
}

impl Problem {
    /// What to write instead.
    pub(crate) fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// The key is wrong, not its value.
    pub(crate) fn on_key(&mut self) -> &mut Self {
        self.on_key = true;
        self
    }

    /// Another place that has to do with it.
    pub(crate) fn other(&mut self, path: Path, label: impl Into<String>) -> &mut Self {
        self.other = Some((path, label.into()));
        self
    }

    pub(crate) fn at(self, node: &Node) -> Diagnostic {
        Diagnostic {
            span: node.locate(&self.path, self.on_key),
            other: self.other.map(|(path, label)| (node.locate(&path, false), label)),
            message: self.message,
            label: self.label,
            help: self.help,
        }
    }

    pub(crate) fn without_text(self) -> Diagnostic {
        let message = format!("{}: {}", self.path.join("."), self.message);
        Diagnostic { message, label: self.label, help: self.help, span: 0..0, other: None }
    }
}

/// The name that was probably meant.
pub(crate) fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.map(|name| (strsim::damerau_levenshtein(wrong, name), name)).min()?;
    // A third of the letters may be wrong: more is another word.
    (near.0 <= wrong.chars().count().max(3) / 3).then_some(near.1)
}

/// `did you mean` or the list of what there is.
pub(crate) fn instead<'a>(wrong: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(wrong, known.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            let all: Vec<&str> = known.take(10).collect();
            if all.is_empty() { "there are none".to_owned() } else { format!("there are: {}", all.join(", ")) }
        }
    }
}
