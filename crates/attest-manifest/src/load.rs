//! From a file to a checked manifest.

use std::fs;
use std::path::{Path, PathBuf};

use crate::check::{Problem, Problems};
use crate::error::{Diagnostic, ManifestError};
use crate::file::ManifestFile;
use crate::plan::LabPlan;
use crate::source::Node;

/// The manifest that a directory is taken for.
const FILE_NAME: &str = "attest.toml";

/// A manifest that was read, with its text.
#[derive(Debug, Clone)]
pub struct Manifest {
    path: PathBuf,
    source: String,
    node: Node,
    file: ManifestFile,
}

impl Manifest {
    /// Read a manifest: a file, or `attest.toml` in a directory.
    ///
    /// # Errors
    /// It cannot be read, or is not what a manifest can be.
    pub fn load(path: &Path) -> Result<Self, ManifestError> {
        let file = if path.is_dir() { path.join(FILE_NAME) } else { path.to_owned() };
        let bytes = fs::read(&file).map_err(|error| {
            let help = "`attest run PATH` takes a manifest, or a directory with an attest.toml".to_owned();
            ManifestError::plain(file.clone(), format!("the manifest {} cannot be read: {error}", file.display()), Some(help))
        })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            ManifestError::plain(file.clone(), format!("the manifest {} is not UTF-8, at byte {at}", file.display()), None)
        })?;
        Self::parse(&file, text)
    }

    /// Read a manifest's text. JSON when the path ends with `.json` or the text begins with `{`.
    ///
    /// # Errors
    /// It is not what a manifest can be.
    pub fn parse(path: &Path, text: String) -> Result<Self, ManifestError> {
        let source = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        let is_json = path.extension().is_some_and(|extension| extension == "json") || source.trim_start().starts_with('{');
        let parsed = if is_json { json(&source) } else { toml(&source) };
        match parsed {
            Ok((node, file)) => Ok(Self { path: path.to_owned(), source, node, file }),
            Err(diagnostics) => Err(ManifestError { path: path.to_owned(), source, diagnostics }),
        }
    }

    /// The manifest as it is written.
    pub fn file(&self) -> &ManifestFile {
        &self.file
    }

    /// Check it and work out what it leaves open.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn plan(&self) -> Result<LabPlan, ManifestError> {
        let directory = self.path.parent().map(Path::to_owned).unwrap_or_default();
        let mut problems = Problems::default();
        let plan = crate::plan::plan(&self.file, &directory, &mut problems);
        if problems.list.is_empty() {
            return Ok(plan);
        }
        let diagnostics = problems.list.into_iter().map(|problem| problem.at(&self.node)).collect();
        Err(ManifestError { path: self.path.clone(), source: self.source.clone(), diagnostics })
    }
}

impl ManifestFile {
    /// Check a manifest that was made in code. Paths are relative to the working directory.
    ///
    /// # Errors
    /// Everything that is wrong with it; without places, for there is no text.
    pub fn plan(self) -> Result<LabPlan, ManifestError> {
        let mut problems = Problems::default();
        let plan = crate::plan::plan(&self, Path::new(""), &mut problems);
        if problems.list.is_empty() {
            return Ok(plan);
        }
        let diagnostics = problems.list.into_iter().map(Problem::without_text).collect();
        Err(ManifestError { path: PathBuf::from("a lab declared in code"), source: String::new(), diagnostics })
    }
}

type Parsed = Result<(Node, ManifestFile), Vec<Diagnostic>>;

fn toml(source: &str) -> Parsed {
    let wrong = |error: &toml::de::Error| {
        let span = error.span().unwrap_or(0..0);
        vec![described(error.message(), span)]
    };
    let node = Node::of_toml(source).map_err(|error| wrong(&error))?;
    let file = toml::from_str(source).map_err(|error| wrong(&error))?;
    Ok((node, file))
}

fn json(source: &str) -> Parsed {
    let Some((node, duplicates)) = Node::of_json(source) else {
        let error = serde_json::from_str::<serde_json::Value>(source).expect_err("it was no JSON a moment ago");
        let at = offset(source, error.line(), error.column());
        return Err(vec![described(&without_place(&error), at..at + 1)]);
    };
    if !duplicates.is_empty() {
        let twice = duplicates.into_iter().map(|duplicate| Diagnostic {
            message: format!("duplicate key `{}`", duplicate.key),
            label: "given again".to_owned(),
            help: Some("give it once".to_owned()),
            span: duplicate.second,
            other: Some((duplicate.first, "first given here".to_owned())),
        });
        return Err(twice.collect());
    }
    let mut deserializer = serde_json::Deserializer::from_str(source);
    match serde_path_to_error::deserialize(&mut deserializer) {
        Ok(file) => Ok((node, file)),
        Err(error) => {
            let path: Vec<String> = error.path().to_string().split('.').map(str::to_owned).collect();
            let message = without_place(error.inner());
            let unknown = message.starts_with("unknown field");
            Err(vec![described(&message, node.locate(&path, unknown))])
        }
    }
}

/// serde's words, with what to write instead where they name the choices.
fn described(message: &str, span: std::ops::Range<usize>) -> Diagnostic {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let wrong = quoted.next().unwrap_or("");
    let choices: Vec<&str> = quoted.collect();
    let names_choices = message.starts_with("unknown field") || message.starts_with("unknown variant");
    let help = if !names_choices {
        None
    } else if let Some(near) = crate::check::nearest(wrong, choices.iter().copied()) {
        Some(format!("did you mean `{near}`?"))
    } else {
        Some(format!("there are: {}", choices.join(", ")))
    };
    let message = if names_choices { format!("unknown key or value `{wrong}`") } else { message.to_owned() };
    let label = if names_choices { "not known here" } else { "here" };
    Diagnostic { message, label: label.to_owned(), help, span, other: None }
}

/// serde_json ends its messages with the place, which is shown otherwise.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

fn offset(source: &str, line: usize, column: usize) -> usize {
    let start: usize = source.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    (start + column.saturating_sub(1)).min(source.len())
}
