//! The guest, and labs of it.

use std::path::{Path, PathBuf};

use attest::manifest::{
    Accelerator, Backend, Image, ImageFiles, Jailer, Machine as Definition, Size,
};
use attest::{Lab, LabBuilder, Machine, Result};

/// What can run it here.
pub(crate) const BACKENDS: [(Backend, &str); 2] = [
    (Backend::Firecracker, "firecracker"),
    (Backend::CloudHypervisor, "cloud-hypervisor"),
];

/// The backends whose programs are on `PATH`; of each other it is said that it is not tried.
pub(crate) fn backends() -> Vec<Backend> {
    let there = BACKENDS.into_iter().filter(|(backend, program)| {
        let found = is_there(program);
        if !found {
            eprintln!("SKIPPED for {}: `{program}` is not on PATH", backend.name());
        }
        found
    });
    there.map(|(backend, _)| backend).collect()
}

/// Whether Firecracker is here; else it is said that the test is not tried.
pub(crate) fn has_firecracker() -> bool {
    backends().contains(&Backend::Firecracker)
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    attest_vmm::find_program_in(Path::new(program), &path).is_some() && has_kvm(program)
}

/// A guest of a few instructions runs on every KVM.
fn has_kvm(program: &str) -> bool {
    match attest_vmm::probe::kvm() {
        attest_vmm::probe::KvmProbe::Unusable(reason) => {
            eprintln!("SKIPPED for {program}: {reason}");
            false
        }
        _ => true,
    }
}

/// What a machine boots: the guest, and an initramfs at which it does not look.
pub(crate) fn image() -> Image {
    let kernel = attest_fixture::metal::kernel().to_owned();
    Image::Files(ImageFiles {
        initrd: Some(kernel.clone()),
        kernel: Some(kernel),
    })
}

/// Of 32 MiB, in no jail.
pub(crate) fn define(machine: &mut Definition, backend: Backend) {
    machine.backend = Some(backend);
    // Asked for, for the probe doubts a KVM on which stock kernels do not run.
    machine.accelerator = Some(Accelerator::Kvm);
    machine.memory = Some(Size::from_mib(64));
    machine.image = Some(image());
    machine.jailer = Some(Jailer::Never);
}

/// A lab of one, `a`.
pub(crate) fn one(backend: Backend) -> LabBuilder {
    with(backend, |_| {})
}

/// The same, with changes.
pub(crate) fn with(backend: Backend, change: impl FnOnce(&mut Definition)) -> LabBuilder {
    Lab::builder().machine_with("a", |machine| {
        define(machine, backend);
        change(machine);
    })
}

/// A lab that has booted, and where its files are.
pub(crate) struct Booted {
    pub(crate) lab: Lab,
    pub(crate) output: tempfile::TempDir,
}

impl Booted {
    pub(crate) async fn of(builder: LabBuilder) -> Result<Self> {
        let output = tempfile::tempdir().unwrap();
        let context = crate::support::silent(output.path());
        let lab = builder.context(context).boot().await?;
        Ok(Self { lab, output })
    }

    pub(crate) fn a(&self) -> Machine {
        self.lab.machine("a").unwrap()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.output.path().join(name)
    }
}

/// What a word to the guest makes it print.
pub(crate) async fn says<const N: usize>(machine: &Machine, words: [&str; N]) -> Result<String> {
    let output = machine.exec(words).await?;
    Ok(output.text().trim_end().to_owned())
}
