use super::*;
use crate::packing::tests::gzip;
use crate::vmlinux::tests::{bzimage_of, elf};

const NOT_HERE: &str = "SKIPPED: the host has no static busybox";

fn kernel(directory: &Path, payload: &[u8]) -> Kernel {
    let image = directory.join("vmlinuz");
    fs::write(&image, bzimage_of("6.1.0-test", payload)).unwrap();
    Kernel {
        image,
        modules: None,
        release: "6.1.0-test".to_owned(),
        origin: "made".to_owned(),
    }
}

fn build_in(directory: &Path, kernel: &Kernel, agent: &[u8]) -> Result<BareGuest, ImageError> {
    let cache = Cache::open(&directory.join("cache")).unwrap();
    build(&cache, kernel, &BareOptions::new(agent, &[]))
}

#[test]
fn a_guest_is_built_once_and_anew_for_another_agent() {
    let directory = tempfile::tempdir().unwrap();
    let kernel = kernel(directory.path(), &gzip(&elf()));
    let build = |agent: &[u8]| build_in(directory.path(), &kernel, agent);
    let Ok(first) = build(b"agent") else {
        return eprintln!("{NOT_HERE}");
    };
    let again = build(b"agent").unwrap();
    assert_eq!(first, again);
    assert_eq!(fs::read(&first.kernel).unwrap(), elf());
    let other = build(b"other agent").unwrap();
    assert_eq!(
        other.kernel, first.kernel,
        "the kernel is not unpacked again"
    );
    assert_ne!(other.initrd, first.initrd);
    assert_ne!(other.digest, first.digest);
    let packed = build(&gzip(b"agent")).unwrap();
    assert_eq!(packed.digest, first.digest, "what boots is the same");
    assert!(build(&gzip(b"agent")[..12]).is_err());
}

#[test]
fn equal_guests_have_equal_bytes_and_digests_wherever_they_are_built() {
    let build = || {
        let directory = tempfile::tempdir().unwrap();
        let kernel = kernel(directory.path(), &gzip(&elf()));
        let guest = build_in(directory.path(), &kernel, b"agent").ok()?;
        Some((guest.digest, fs::read(guest.initrd).unwrap()))
    };
    let Some(one) = build() else {
        return eprintln!("{NOT_HERE}");
    };
    assert!(Some(one) == build());
}

#[test]
fn a_kernel_that_cannot_be_unpacked_is_booted_whole_and_that_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let kernel = kernel(directory.path(), b"BZh9....");
    let Ok(guest) = build_in(directory.path(), &kernel, b"agent") else {
        return eprintln!("{NOT_HERE}");
    };
    assert_eq!(
        fs::read(&guest.kernel).unwrap(),
        fs::read(&kernel.image).unwrap()
    );
    assert!(
        guest.choices[0].reason.contains("bzip2"),
        "{:?}",
        guest.choices
    );
    let error = guest.vmlinux("Firecracker").unwrap_err().to_string();
    for part in [
        "Firecracker, which needs",
        "vmlinux",
        "bzip2",
        "extract-vmlinux",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn an_elf_is_there_with_a_pvh_entry_and_without() {
    let directory = tempfile::tempdir().unwrap();
    let mut without = elf();
    without[128] = 17;
    for (elf, is_direct) in [(elf(), true), (without, false)] {
        let kernel = kernel(directory.path(), &gzip(&elf));
        let Ok(guest) = build_in(directory.path(), &kernel, b"agent") else {
            return eprintln!("{NOT_HERE}");
        };
        let vmlinux = guest.vmlinux("Firecracker").unwrap();
        assert_eq!(fs::read(vmlinux).unwrap(), elf);
        assert_eq!(vmlinux == guest.kernel, is_direct);
    }
}

#[test]
fn a_damaged_kernel_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let kernel = kernel(directory.path(), &gzip(&elf())[..20]);
    let Err(error) = build_in(directory.path(), &kernel, b"agent") else {
        panic!("it was taken")
    };
    if !matches!(error, ImageError::Program { .. }) {
        assert!(
            error
                .to_string()
                .contains("vmlinuz cannot be used: its payload is damaged"),
            "{error}"
        );
    }
}
