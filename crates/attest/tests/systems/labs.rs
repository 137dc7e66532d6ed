//! Labs of whole systems.

use std::time::Duration;

use attest::manifest::{Debian, FileEntry, Image, ImageDefinition, Machine, RootFormat};
use attest::{Backend, Lab, LabBuilder, Result, Run};

/// Far more than anything here takes, so that a hang fails with a message of ours.
pub(crate) const LONG: Duration = Duration::from_mins(1);

/// A small Debian, the same for all tests: it is built once.
fn debian(format: RootFormat) -> ImageDefinition {
    let mut image = ImageDefinition {
        debian: Some(Debian {
            suite: Some("bookworm".to_owned()),
            packages: vec!["procps".to_owned()],
            ..Debian::default()
        }),
        format: Some(format),
        ..ImageDefinition::default()
    };
    let text = FileEntry::Text("from the image\n".to_owned());
    image.files.insert("/etc/attest-test".to_owned(), text);
    image
}

/// A lab with that image in both of its file systems.
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

/// Whether images of Debian can be built and containers run; else it is said that the test is
/// skipped, and why.
pub(crate) fn can_contain(test: &str) -> bool {
    can(test, attest_vmm::nspawn::probe()) && can_build(test)
}

/// Whether images of Debian can be built.
pub(crate) fn can_build(test: &str) -> bool {
    let found = attest_vmm::installed_program("mmdebstrap", "install the package mmdebstrap");
    can(test, found)
}

/// Whether it works; else it is said that the test is skipped, and why.
pub(crate) fn can<T>(test: &str, works: std::result::Result<T, String>) -> bool {
    if let Err(reason) = &works {
        eprintln!("skipped: {test}: {reason}");
    }
    works.is_ok()
}

/// Boot it, run the test, and end it in order.
pub(crate) fn run(lab: LabBuilder, body: impl AsyncFnOnce(&Lab) -> Result<()>) {
    let work = async {
        let lab = lab.boot().await?;
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
