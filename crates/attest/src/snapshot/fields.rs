//! What a snapshot is of: all that decides whether a lab may go on from it.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use attest_image::CacheEntry;
use attest_image::source::in_store;
use attest_image::store::about_lab;
use attest_manifest::{ActionPlan, DiskContent, FileContent, LabPlan, MachinePlan, StepPlan};
use attest_vmm::Wanted;
use serde_json::{Map, Value};

use crate::boot::Prepared;
use crate::error::Result;
use crate::setup;

/// Of what is written; raised when that changes.
const FORMAT: u32 = 1;
/// Longer values are shown by their beginnings.
const SHOWN: usize = 60;

/// How the names of fields of set-ups begin.
const SETUP: &str = "code of set-up";

/// Names and values, in the order in which they are compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fields(Vec<(String, String)>);

/// A set-up: its name, and what tells its code from other code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SetupKey {
    pub(crate) name: String,
    pub(crate) code: String,
}

impl SetupKey {
    /// Of steps of a manifest, and of the files that they copy.
    pub(crate) fn of_steps(name: &str, steps: &[StepPlan]) -> Self {
        let mut code = format!("{steps:?}");
        for step in steps {
            uploads(step, &mut code);
        }
        Self {
            name: name.to_owned(),
            code: digest(code.as_bytes()),
        }
    }

    /// Of a whole file.
    pub(crate) fn of_file(name: &str, file: &Path) -> Self {
        // One that cannot be read fails when it is run.
        let code = fs::read(file).unwrap_or_default();
        Self {
            name: name.to_owned(),
            code: digest(&code),
        }
    }
}

/// How many set-ups were done before the lab of this snapshot was saved.
pub fn setups_of(snapshot: &CacheEntry) -> usize {
    let about = about_lab(&snapshot.path).unwrap_or_default();
    let fields = about["fields"].as_object().into_iter().flatten();
    fields.filter(|(name, _)| is_of_setup(name)).count()
}

fn is_of_setup(field: &str) -> bool {
    field.starts_with(SETUP)
}

fn uploads(step: &StepPlan, code: &mut String) {
    match &step.action {
        ActionPlan::Upload { from, .. } => code.push_str(&identity(from)),
        ActionPlan::Parallel(steps) => {
            for step in steps {
                uploads(step, code);
            }
        }
        _ => {}
    }
}

impl Fields {
    /// Of a lab whose machines have just booted.
    pub(crate) async fn of(plan: &LabPlan, prepared: &Prepared) -> Result<Self> {
        let mut fields = Vec::new();
        let mut add = |name: &str, value: String| fields.push((name.to_owned(), value));
        add(
            "attest",
            format!("format {FORMAT}, {}", env!("CARGO_PKG_VERSION")),
        );
        add(
            "generation of the agent",
            attest_protocol::GENERATION.to_string(),
        );
        add(
            "networks",
            digest(format!("{:?}", plan.networks).as_bytes()),
        );
        for machine in &plan.machines {
            let backend = prepared.backends.of(machine.backend);
            let wanted = Wanted {
                machine: machine.name.clone(),
                accelerator: crate::boot::accelerator(machine),
                ..Wanted::default()
            };
            let mut add = |name: &str, value: String| {
                fields.push((format!("{} of {}", name, machine.name), value));
            };
            add("backend", machine.backend.name().to_owned());
            for (name, value) in backend.identity(&wanted).await? {
                add(name, value);
            }
            // Cards over TAPs have features that others have not, and guests use them.
            if let Some(way) = prepared.backends.way_of(machine)? {
                add("way of the network cards", way.name().to_owned());
            }
            of_machine(plan, machine, prepared, &mut add);
        }
        Ok(Self(fields))
    }

    /// Of the same after one more set-up.
    pub(crate) fn after(&self, setup: &SetupKey) -> Self {
        let mut fields = self.0.clone();
        let name = format!("{SETUP} `{}`", setup.name);
        fields.push((name, setup.code.clone()));
        Self(fields)
    }

    /// Whether set-ups were done.
    pub(super) fn has_setups(&self) -> bool {
        let last = self.0.last();
        last.is_some_and(|(name, _)| is_of_setup(name))
    }

    /// Under which it is kept.
    pub(crate) fn key(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        for part in self.0.iter().flat_map(|(name, value)| [name, value]) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.finalize()
    }

    /// For who keeps it.
    pub(super) fn to_json(&self) -> Value {
        let fields = self.0.iter();
        let fields: Map<String, Value> = fields
            .map(|(name, value)| (name.clone(), value.clone().into()))
            .collect();
        fields.into()
    }

    /// The first that is another one there: as one reads it.
    pub(super) fn difference(&self, there: &Value) -> Option<String> {
        let there = there.as_object()?;
        let other = self.0.iter().find_map(|(name, value)| {
            let was = there.get(name).and_then(Value::as_str);
            match was {
                Some(was) if was == value => None,
                Some(was) => Some(format!("{name}: {}, was {}", shown(value), shown(was))),
                None => Some(format!("{name}: {}, was none", shown(value))),
            }
        });
        other.or_else(|| {
            let gone = there
                .keys()
                .find(|name| !self.0.iter().any(|(known, _)| known == *name))?;
            Some(format!("{gone}: none any more"))
        })
    }
}

fn of_machine(
    plan: &LabPlan,
    machine: &MachinePlan,
    prepared: &Prepared,
    add: &mut impl FnMut(&str, String),
) {
    let images = &prepared.images;
    let guest = images.first_of(machine);
    add(
        "kernel and initramfs",
        guest.digest.to_hex()[..32].to_owned(),
    );
    if let Some(modules) = images.modules_of(machine) {
        add("modules", identity(modules));
    }
    if let Some(root) = images.root_of(machine) {
        add("image", identity(&root.disk));
        add("copy-on-write", machine.copy_on_write.name().to_owned());
    }
    add("command line", machine.kernel_arguments.join(" "));
    add("memory", format!("{} MiB", machine.memory >> 20));
    add("virtual CPUs", machine.vcpus.to_string());
    add("balloon", machine.balloon.to_string());
    add("rates", rates(machine));
    add(
        "board",
        format!("{:?}", machine.machine_type).to_lowercase(),
    );
    add(
        "network cards",
        digest(format!("{:?}", machine.cards).as_bytes()),
    );
    let mut disks = format!("{:?}", machine.disks);
    for disk in &machine.disks {
        if let DiskContent::Source(path) = &disk.content {
            disks.push_str(&identity(path));
        }
    }
    add("disks", digest(disks.as_bytes()));
    let mut files = format!("{:?}", machine.files);
    for file in &machine.files {
        if let FileContent::Source(path) = &file.content {
            files.push_str(&identity(path));
        }
    }
    add("files", digest(files.as_bytes()));
    let told = format!("{:?}", setup::plan(plan, machine));
    add("names and environment", digest(told.as_bytes()));
}

/// Of cards and disks, in order.
fn rates(machine: &MachinePlan) -> String {
    let cards: Vec<_> = machine.cards.iter().map(|card| card.rate).collect();
    let disks: Vec<_> = machine.disks.iter().map(|disk| disk.rate).collect();
    digest(format!("{cards:?} {disks:?}").as_bytes())
}

/// A file of the host's, or all that is in a directory, without reading it: what is changed has another time. What is in
/// a Nix store is never changed: there its name is enough.
fn identity(path: &Path) -> String {
    let mut text = String::new();
    describe(path, &mut text);
    digest(text.as_bytes())
}

fn describe(path: &Path, text: &mut String) {
    let place = path.as_os_str().as_encoded_bytes().escape_ascii();
    if let Some(digest) = in_store(path) {
        let _ = writeln!(text, "{digest}");
        return;
    }
    let Ok(file) = fs::symlink_metadata(path) else {
        let _ = writeln!(text, "{place} is missing");
        return;
    };
    let (seconds, nanoseconds) = (file.mtime(), file.mtime_nsec());
    let mode = file.mode();
    if file.is_dir() {
        let _ = writeln!(text, "{place} {mode}");
        let mut entries: Vec<_> = fs::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        entries.sort();
        for entry in entries {
            describe(&entry, text);
        }
        return;
    }
    let (inode, size) = (file.ino(), file.len());
    let _ = writeln!(
        text,
        "{place} {mode} {inode} {size} {seconds}.{nanoseconds}"
    );
    if file.is_symlink()
        && let Ok(target) = fs::canonicalize(path)
        && !target.starts_with(path)
        && target.is_file()
    {
        describe(&target, text);
    }
}

fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..32].to_owned()
}

fn shown(value: &str) -> String {
    let mut short: String = value.chars().take(SHOWN).collect();
    if short.len() < value.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let pairs = pairs.iter();
        let pairs = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Fields(pairs.collect())
    }

    #[test]
    fn the_first_field_that_differs_is_named() {
        let now = fields(&[("memory of a", "512 MiB"), ("virtual CPUs of a", "1")]);
        let difference = |pairs: &[(&str, &str)]| now.difference(&fields(pairs).to_json());
        assert_eq!(
            difference(&[("memory of a", "512 MiB"), ("virtual CPUs of a", "1")]),
            None
        );
        let other = [("virtual CPUs of a", "2"), ("memory of a", "256 MiB")];
        assert_eq!(
            difference(&other).as_deref(),
            Some("memory of a: 512 MiB, was 256 MiB")
        );
        assert_eq!(
            difference(&[("memory of a", "512 MiB")]).as_deref(),
            Some("virtual CPUs of a: 1, was none")
        );
        let more = [
            ("memory of a", "512 MiB"),
            ("virtual CPUs of a", "1"),
            ("disks of a", "x"),
        ];
        assert_eq!(
            difference(&more).as_deref(),
            Some("disks of a: none any more")
        );
        assert_eq!(now.difference(&Value::Null), None);
    }

    #[test]
    fn keys_are_of_names_and_values() {
        let key = |pairs: &[(&str, &str)]| fields(pairs).key();
        assert_eq!(key(&[("a", "b")]), key(&[("a", "b")]));
        assert_ne!(key(&[("a", "bc")]), key(&[("ab", "c")]));
        assert_ne!(key(&[("a", "b")]), key(&[("a", "c")]));
        let setup = SetupKey {
            name: "s".to_owned(),
            code: "1".to_owned(),
        };
        let before = fields(&[("a", "b")]);
        assert_ne!(before.after(&setup).key(), before.key());
    }

    #[test]
    fn a_path_of_a_nix_store_is_its_name() {
        use attest_image::source::STORE;

        let one = identity(&Path::new(STORE).join("0-image/store.erofs"));
        assert_eq!(one, identity(&Path::new(STORE).join("0-image/store.erofs")));
        assert_ne!(one, identity(&Path::new(STORE).join("1-image/store.erofs")));
        assert_ne!(one, identity(Path::new("/nix/store-image/store.erofs")));
    }

    #[test]
    fn what_is_below_a_directory_counts() {
        let directory = tempfile::tempdir().unwrap();
        let empty = identity(directory.path());
        fs::create_dir(directory.path().join("sub")).unwrap();
        let file = directory.path().join("sub/file");
        fs::write(&file, "one").unwrap();
        let one = identity(directory.path());
        assert_ne!(one, empty);
        assert_eq!(one, identity(directory.path()));
        fs::write(&file, "other").unwrap();
        assert_ne!(identity(directory.path()), one);
        // A circle of links is no more than a link.
        std::os::unix::fs::symlink(directory.path(), directory.path().join("sub/link")).unwrap();
        assert_eq!(identity(directory.path()), identity(directory.path()));
    }
}
