//! Copy-on-write: whatever a machine writes, its image stays as it was.

use std::fs::File;
use std::path::Path;

use attest::manifest::{CopyOnWrite, Disk, Image};
use attest::{Backend, Error, LabBuilder, Run};

use crate::debian::{can, can_build, can_contain};
use crate::labs::{debian_on, run, systems};

fn with(backend: Backend, image: &'static str, how: CopyOnWrite) -> LabBuilder {
    systems().machine_with("a", |machine| {
        debian_on(backend)(machine);
        machine.image = Some(Image::Name(image.to_owned()));
        machine.copy_on_write = Some(how);
    })
}

/// A machine writes, and one of the same image does not see it.
fn keeps_its_image(backend: Backend, image: &'static str, how: CopyOnWrite) {
    let write = "cat /etc/attest-test; echo changed > /etc/attest-test; rm /etc/debian_version; \
                 dd if=/dev/zero of=/large bs=1M count=20 2>/dev/null; sync; cat /etc/attest-test";
    for _ in 0..2 {
        run(with(backend, image, how), async |lab| {
            let said = lab.machine("a")?.shell(write).await?.text();
            assert_eq!(said, "from the image\nchanged\n", "{how:?}");
            Ok(())
        });
    }
}

#[test]
fn overlays_in_containers() {
    if can_contain("overlays_in_containers") {
        for how in [CopyOnWrite::Memory, CopyOnWrite::Disk] {
            keeps_its_image(Backend::Nspawn, "debian", how);
        }
        keeps_its_image(Backend::Nspawn, "debian-ext4", CopyOnWrite::Auto);
    }
}

#[test]
fn overlays_in_virtual_machines() {
    if can_build("overlays_in_virtual_machines") {
        for how in [CopyOnWrite::Memory, CopyOnWrite::Disk] {
            keeps_its_image(Backend::Qemu, "debian", how);
        }
    }
}

#[test]
fn overlays_below_virtual_machines() {
    if can_build("overlays_below_virtual_machines") {
        keeps_its_image(Backend::Qemu, "debian-ext4", CopyOnWrite::Qcow2);
    }
}

#[test]
fn reflinks() {
    let findings = attest::doctor::examine();
    if can_build("reflinks") && can("reflinks", &works(&findings, "reflink")) {
        keeps_its_image(Backend::Qemu, "debian-ext4", CopyOnWrite::Reflink);
    }
}

#[test]
fn snapshots_by_the_device_mapper() {
    let findings = attest::doctor::examine();
    let test = "snapshots_by_the_device_mapper";
    if can_build(test) && can(test, &works(&findings, "device-mapper")) {
        keeps_its_image(Backend::Qemu, "debian-ext4", CopyOnWrite::DeviceMapper);
    }
}

fn works(findings: &[attest::doctor::Finding], what: &str) -> Result<(), String> {
    let finding = findings.iter().find(|finding| finding.what == what);
    let finding = finding.expect("the doctor looks at every kind");
    if finding.works {
        Ok(())
    } else {
        Err(finding.detail.clone())
    }
}

#[test]
fn what_cannot_be_is_refused_before_anything_starts() {
    if !can_contain("what_cannot_be_is_refused_before_anything_starts") {
        return;
    }
    for (backend, how, advice) in [
        (Backend::Nspawn, CopyOnWrite::Qcow2, "`memory` or `disk`"),
        (Backend::Qemu, CopyOnWrite::Qcow2, "format = \"ext4\""),
    ] {
        let error = with(backend, "debian", how).boot().run();
        let error = error.map(drop).unwrap_err();
        let said = error.chain();
        assert!(matches!(error, Error::CopyOnWrite { .. }), "{said}");
        assert!(said.starts_with("a: ") && said.contains(advice), "{said}");
    }
}

#[test]
fn disks_of_the_users_are_never_written() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("data.raw");
    let mark = |file: &Path| std::fs::read(file).expect("the disk")[..8].to_vec();
    let mut bytes = vec![0; 1 << 20];
    bytes[..8].copy_from_slice(b"original");
    std::fs::write(&path, &bytes).expect("a disk");
    // Nothing may be written by mistake either.
    let mut permissions = File::open(&path)
        .and_then(|file| file.metadata())
        .expect("the disk")
        .permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&path, permissions).expect("the disk");
    let source = path.clone();
    let lab = attest::Lab::builder().machine_with("a", |machine| {
        machine.disks = vec![Disk {
            source: Some(source),
            ..Disk::default()
        }];
    });
    run(lab, async |lab| {
        let a = lab.machine("a")?;
        let write = "head -c 8 /dev/vda; printf modified | dd of=/dev/vda conv=fsync 2>/dev/null; \
                     echo 3 > /proc/sys/vm/drop_caches; head -c 8 /dev/vda";
        assert_eq!(a.shell(write).await?.text(), "originalmodified");
        Ok(())
    });
    assert_eq!(mark(&path), b"original");
}
