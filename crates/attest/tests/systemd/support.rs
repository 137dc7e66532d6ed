//! What these tests share: labs of one machine, `a`, with systemd.

use std::time::{Duration, Instant};

use attest::manifest::{FileEntry, Image, Machine, ManifestFile, RootFormat};
use attest::{Backend, EventStream, Lab, LabContext, Recorder, Result, Run, SnapshotUse};

use crate::debian::{can_build, can_contain, debian};

/// Far more than anything here takes, so that a hang fails with a message of ours.
pub(crate) const LONG: Duration = Duration::from_mins(1);

/// Files of a machine: units and what belongs to them.
pub(crate) type Files = &'static [(&'static str, &'static str)];

/// Boot a container and run the test in it; skipped by name where there are none.
pub(crate) fn in_container(
    test: &str,
    files: Files,
    body: impl AsyncFnOnce(attest::Machine) -> Result<()>,
) {
    in_container_with_events(test, files, async |machine, _| body(machine).await);
}

/// As [`in_container`], with the events of the lab.
pub(crate) fn in_container_with_events(
    test: &str,
    files: Files,
    body: impl AsyncFnOnce(attest::Machine, EventStream) -> Result<()>,
) {
    if can_contain(test) {
        on_machine(test, Backend::Nspawn, files, body);
    }
}

/// Boot a virtual machine and run the test in it.
pub(crate) fn in_virtual_machine(
    test: &str,
    files: Files,
    body: impl AsyncFnOnce(attest::Machine) -> Result<()>,
) {
    on_machine(test, Backend::Qemu, files, async |machine, _| {
        body(machine).await
    });
}

fn on_machine(
    test: &str,
    backend: Backend,
    files: Files,
    body: impl AsyncFnOnce(attest::Machine, EventStream) -> Result<()>,
) {
    let Some(file) = manifest(test, backend, files) else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let (recorder, events) = Recorder::new(Instant::now());
    let context = LabContext {
        recorder,
        output: directory.path().to_owned(),
        cache: None,
        snapshots: SnapshotUse::Never,
    };
    let work = async {
        let lab = Lab::create(file.plan()?, context).await?;
        lab.start_all().await?;
        let ended = body(lab.machine("a")?, events).await;
        if ended.is_err() {
            eprintln!("{}", lab.machine("a")?.console_text());
        }
        lab.shutdown().await;
        ended
    };
    if let Err(error) = work.run() {
        panic!("{}", error.chain());
    }
}

/// The manifest of such a lab; nothing where the system cannot be made.
pub(crate) fn manifest(test: &str, backend: Backend, files: Files) -> Option<ManifestFile> {
    if !can_build(test) {
        return None;
    }
    let files = files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), FileEntry::Text((*text).to_owned())));
    let machine = Machine {
        image: Some(Image::Name("system".to_owned())),
        backend: Some(backend),
        files: files.collect(),
        ..Machine::default()
    };
    let mut file = ManifestFile::default();
    file.images
        .insert("system".to_owned(), debian(RootFormat::Erofs));
    file.machines.insert("a".to_owned(), machine);
    file.timeouts.boot = Some(LONG.into());
    Some(file)
}
