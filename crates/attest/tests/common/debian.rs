//! The system that tests boot: a small Debian, declared in one place, so that it is built once.

use attest::manifest::{Debian, FileEntry, ImageDefinition, RootFormat, User};

/// With a user whose manager starts at boot.
pub(crate) fn debian(format: RootFormat) -> ImageDefinition {
    let packages = ["procps", "libpam-systemd"];
    let mut image = ImageDefinition {
        debian: Some(Debian {
            suite: Some("bookworm".to_owned()),
            packages: packages.map(str::to_owned).to_vec(),
            ..Debian::default()
        }),
        format: Some(format),
        ..ImageDefinition::default()
    };
    let alice = User {
        uid: Some(1000),
        ..User::default()
    };
    image.users.insert("alice".to_owned(), alice);
    for (path, text) in [
        ("/etc/attest-test", "from the image\n"),
        ("/var/lib/systemd/linger/alice", ""),
    ] {
        image
            .files
            .insert(path.to_owned(), FileEntry::Text(text.to_owned()));
    }
    image
}

/// Whether such an image can be built here; else it is said that the test is skipped, and why.
pub(crate) fn can_build(test: &str) -> bool {
    let found = attest_vmm::installed_program("mmdebstrap", "install the package mmdebstrap");
    can(test, &found)
}

/// Whether containers of it run here.
pub(crate) fn can_contain(test: &str) -> bool {
    can(test, &attest_vmm::nspawn::probe()) && can_build(test)
}

/// Whether it works; else it is said that the test is skipped, and why.
pub(crate) fn can<T>(test: &str, works: &Result<T, String>) -> bool {
    if let Err(reason) = works {
        eprintln!("skipped: {test}: {reason}");
    }
    works.is_ok()
}
