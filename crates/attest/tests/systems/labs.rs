//! Labs of whole systems.

use std::time::Duration;

use attest::manifest::{Image, Machine, RootFormat};
use attest::{Backend, Lab, LabBuilder, LabContext, Recorder, Result, Run, SnapshotUse};

use crate::debian::debian;

/// Far more than anything here takes, so that a hang fails with a message of ours.
pub(crate) const LONG: Duration = Duration::from_mins(1);

/// A lab with the image in both of its file systems.
pub(crate) fn systems() -> LabBuilder {
    Lab::builder()
        .image("debian", debian(RootFormat::Erofs))
        .image("debian-ext4", debian(RootFormat::Ext4))
        .boot_timeout(LONG)
}

/// Set a machine's image and backend.
pub(crate) fn debian_on(backend: Backend) -> impl FnOnce(&mut Machine) {
    move |machine| {
        machine.image = Some(Image::Name("debian".to_owned()));
        machine.backend = Some(backend);
    }
}

/// Boot it, run the test, and end it in order.
pub(crate) fn run(lab: LabBuilder, body: impl AsyncFnOnce(&Lab) -> Result<()>) {
    let output = tempfile::tempdir().expect("a directory");
    let context = LabContext {
        recorder: Recorder::silent(),
        output: output.path().to_owned(),
        cache: None,
        // What is tried is how it boots, and no other lab is like it.
        snapshots: SnapshotUse::Never,
    };
    let work = async {
        let lab = lab.context(context).boot().await?;
        let ended = body(&lab).await;
        if ended.is_err() {
            for machine in lab.machines() {
                eprintln!("{}:\n{}", machine.name(), machine.console_text());
            }
        }
        lab.shutdown().await;
        ended
    };
    if let Err(error) = work.run() {
        panic!("{}", error.chain());
    }
}
