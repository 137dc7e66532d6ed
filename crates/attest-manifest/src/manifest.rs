//! Reading a manifest.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{self, ManifestError, Source};
use crate::model::ManifestFile;
use crate::plan::{self, LabPlan};
use crate::problem::{Place, Problems, Segment};
use crate::source::{self, Language, Node};

/// The manifest's file name in a directory.
pub const DEFAULT_NAME: &str = "attest.toml";

/// Bytes of the largest manifest: what is larger was not meant as one.
const SIZE_MAX: u64 = 64 * 1024 * 1024;

/// A manifest that was read, and the text that it was read from.
#[derive(Debug, Clone)]
pub struct Manifest {
    file: ManifestFile,
    source: Arc<Source>,
    node: Node,
    directory: Option<PathBuf>,
}

impl Manifest {
    /// Read a manifest: a file, or the `attest.toml` of a directory. Its paths are relative to
    /// the directory that it is in.
    ///
    /// # Errors
    /// Files that cannot be read; text that is neither TOML nor JSON of the schema.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ManifestError> {
        let given = path.as_ref();
        let path = if given.is_dir() {
            given.join(DEFAULT_NAME)
        } else {
            given.to_owned()
        };
        let unreadable = |source| ManifestError::Unreadable {
            path: path.clone(),
            source,
        };
        let bytes = read(&path).map_err(unreadable)?;
        if bytes.len() as u64 > SIZE_MAX {
            let reason = format!("it has more than {} MiB", SIZE_MAX >> 20);
            return Err(ManifestError::NoText { path, reason });
        }
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let offset = error.utf8_error().valid_up_to();
                let line = memchr::memchr_iter(b'\n', &error.as_bytes()[..offset]).count() + 1;
                let byte = error.as_bytes()[offset];
                let reason = format!("byte 0x{byte:02x} in line {line} is no UTF-8");
                return Err(ManifestError::NoText { path, reason });
            }
        };
        let absolute = std::path::absolute(&path).map_err(unreadable)?;
        let directory = absolute.parent().map(Path::to_owned);
        let is_json = path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        Self::read(
            text,
            path.display().to_string(),
            directory,
            is_json.then_some(Language::Json),
        )
    }

    fn read(
        text: String,
        name: String,
        directory: Option<PathBuf>,
        language: Option<Language>,
    ) -> Result<Self, ManifestError> {
        let text = text
            .strip_prefix('\u{feff}')
            .map(str::to_owned)
            .unwrap_or(text);
        let language = language.unwrap_or_else(|| Language::of(&text));
        let source = Arc::new(Source { name, text });
        let mut node = language
            .parse(&source.text)
            .map_err(|errors| error::syntax(Arc::clone(&source), errors))?;
        let (file, problems, pruned) = source::deserialize::<ManifestFile>(&mut node);
        if problems.is_empty() {
            return Ok(Self {
                file,
                source,
                node,
                directory,
            });
        }
        let mut all = problems;
        if !pruned.iter().any(names_are_missing) {
            let (_, others) = plan::plan(&file, directory.as_deref());
            for mut problem in others.list {
                problem.place = node.with_pruned(&problem.place);
                if let Some((place, ..)) = &mut problem.related {
                    *place = node.with_pruned(place);
                }
                // What lacks the place that was left out is no second problem.
                if !pruned.iter().any(|place| problem.place.holds(place)) {
                    all.push(problem);
                }
            }
            all.more += others.more;
        }
        Err(error::invalid(Some((source, &node)), all))
    }

    /// What it says.
    pub fn file(&self) -> &ManifestFile {
        &self.file
    }

    /// Check everything and fill in every default.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn plan(&self) -> Result<LabPlan, ManifestError> {
        let (plan, problems) = plan::plan(&self.file, self.directory.as_deref());
        if problems.is_empty() {
            Ok(plan)
        } else {
            Err(error::invalid(
                Some((Arc::clone(&self.source), &self.node)),
                problems,
            ))
        }
    }
}

impl FromStr for Manifest {
    type Err = ManifestError;

    /// Read a manifest from its text; its paths are relative to the working directory.
    fn from_str(text: &str) -> Result<Self, ManifestError> {
        Self::read(text.to_owned(), "manifest".to_owned(), None, None)
    }
}

impl ManifestFile {
    /// Check everything and fill in every default; paths are relative to the working directory.
    ///
    /// # Errors
    /// Everything that is wrong, at once; without places, as there is no text.
    pub fn plan(&self) -> Result<LabPlan, ManifestError> {
        let (plan, problems): (LabPlan, Problems) = plan::plan(self, None);
        if problems.is_empty() {
            Ok(plan)
        } else {
            Err(error::invalid(None, problems))
        }
    }
}

/// Whether a place that was left out is a whole machine, network or set-up, or may have held some: what
/// names it would look wrong too.
fn names_are_missing(pruned: &Place) -> bool {
    match &pruned.0[..] {
        [] | [_] => true,
        [Segment::Key(section), _] => {
            matches!(section.as_str(), "machines" | "networks" | "setups")
        }
        _ => false,
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One more than allowed tells too long from just long enough; a device may have no end.
    File::open(path)?
        .take(SIZE_MAX + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The JSON Schema (2020-12) of manifests.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(ManifestFile).to_value()
}
