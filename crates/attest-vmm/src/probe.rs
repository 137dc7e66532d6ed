//! Whether KVM can run real guests here: a device file that opens proves nothing.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::OnceLock;

use crate::{Accelerator, VmmError};

/// What the probe of KVM found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KvmProbe {
    /// It runs guests.
    Usable,
    /// It makes virtual machines, but stock kernels do not run in them, for this reason. It can
    /// be forced.
    Doubtful(String),
    /// It makes no virtual machine, for this reason.
    Unusable(String),
}

/// The only version of the interface that was ever released (`KVM_GET_API_VERSION` in
/// Linux's `api.rst`).
const API_VERSION: i32 = 12;

/// Look at the device, the processor's flags, and ask for a virtual machine. Once for each
/// process: the kernel takes milliseconds to remove that machine.
pub fn kvm() -> KvmProbe {
    static FOUND: OnceLock<KvmProbe> = OnceLock::new();
    FOUND
        .get_or_init(|| judge(&processor_flags(), open_and_ask()))
        .clone()
}

/// For a VMM that can do nothing without KVM.
pub(crate) fn kvm_for(
    machine: &str,
    vmm: &'static str,
    accelerator: Option<Accelerator>,
) -> Result<(), VmmError> {
    let unable = |reason| Err(VmmError::unable(machine)(reason));
    match (accelerator, kvm()) {
        (Some(Accelerator::Tcg), _) => unable(format!(
            "{vmm} runs guests under KVM only; leave the accelerator out, or take the backend `qemu`"
        )),
        (None | Some(Accelerator::Kvm), KvmProbe::Usable)
        | (Some(Accelerator::Kvm), KvmProbe::Doubtful(_)) => Ok(()),
        (None, KvmProbe::Doubtful(reason)) => unable(format!(
            "{vmm} needs KVM, and {reason}; take the backend `qemu`, or write `accelerator = \"kvm\"` to try it"
        )),
        (_, KvmProbe::Unusable(reason)) => unable(format!("{vmm} needs KVM, and {reason}")),
    }
}

/// Whether a VMM that is there runs stock kernels here, for people; else why not.
pub(crate) fn kvm_runs(vmm: &Path) -> Result<(), String> {
    match kvm() {
        KvmProbe::Usable => Ok(()),
        KvmProbe::Doubtful(reason) | KvmProbe::Unusable(reason) => {
            Err(format!("{} is there, but {reason}", vmm.display()))
        }
    }
}

fn processor_flags() -> String {
    processor_line("flags")
}

/// Model and abilities of the host's processors.
pub(crate) fn processor() -> String {
    let model = processor_line("model name");
    let model = model
        .split_once(':')
        .map_or("unknown", |(_, model)| model.trim());
    format!("{model}, {}", processor_flags())
}

/// The release of the host's kernel.
pub(crate) fn kernel() -> String {
    let name = nix::sys::utsname::uname();
    name.map(|name| name.release().to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// What is said of the first processor. The whole file takes a long time on hosts with many.
fn processor_line(of: &str) -> String {
    let lines = File::open("/proc/cpuinfo").map(|file| BufReader::new(file).lines());
    let found = lines
        .ok()
        .and_then(|mut lines| lines.find_map(|line| line.ok().filter(|line| line.starts_with(of))));
    found.unwrap_or_default()
}

fn judge(flags: &str, asked: io::Result<i32>) -> KvmProbe {
    let has = |flag: &str| flags.split_whitespace().any(|word| word == flag);
    let unusable = |reason: &str| KvmProbe::Unusable(reason.to_owned());
    match asked {
        Err(error) if error.kind() == io::ErrorKind::NotFound => unusable("there is no /dev/kvm"),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            unusable("/dev/kvm may not be opened; become a member of its group (usually `kvm`)")
        }
        Err(error) => KvmProbe::Unusable(format!("/dev/kvm gives no virtual machine: {error}")),
        Ok(version) if version != API_VERSION => KvmProbe::Unusable(format!(
            "/dev/kvm speaks version {version} of its interface, not {API_VERSION}"
        )),
        Ok(_) if !has("svm") && !has("vmx") => KvmProbe::Doubtful(
            "/dev/kvm opens, but the processor shows neither svm nor vmx (a nested host without \
             virtualisation), so stock kernels do not run on it"
                .to_owned(),
        ),
        Ok(_) => KvmProbe::Usable,
    }
}

/// The version of the interface, if a virtual machine can be made.
fn open_and_ask() -> io::Result<i32> {
    let device = File::options().read(true).write(true).open("/dev/kvm")?;
    let version = ioctl::api_version(device.as_raw_fd())?;
    ioctl::create_vm(device.as_raw_fd())?;
    Ok(version)
}

mod ioctl {
    #![expect(unsafe_code, reason = "two ioctls that take no pointer")]

    use std::io;
    use std::os::fd::{FromRawFd, OwnedFd, RawFd};

    // From linux/kvm.h: `_IO(KVMIO, 0x00)` and `_IO(KVMIO, 0x01)`.
    nix::ioctl_none_bad!(kvm_get_api_version, nix::request_code_none!(0xAE, 0x00));
    nix::ioctl_write_int_bad!(kvm_create_vm, nix::request_code_none!(0xAE, 0x01));

    pub(super) fn api_version(kvm: RawFd) -> io::Result<i32> {
        // SAFETY: the descriptor is open for the call, and the request takes no argument.
        Ok(unsafe { kvm_get_api_version(kvm) }?)
    }

    pub(super) fn create_vm(kvm: RawFd) -> io::Result<()> {
        // SAFETY: the descriptor is open for the call, and the argument is a number (the machine
        // type, 0 for the default).
        let vm = unsafe { kvm_create_vm(kvm, 0) }?;
        // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
        drop(unsafe { OwnedFd::from_raw_fd(vm) });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_opens_is_not_enough() {
        let reason = |probe| match probe {
            KvmProbe::Unusable(reason) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(judge("flags : fpu svm sse", Ok(12)), KvmProbe::Usable);
        assert_eq!(judge("flags : fpu vmx sse", Ok(12)), KvmProbe::Usable);
        assert!(matches!(
            judge("flags : fpu sse svm_lock", Ok(12)),
            KvmProbe::Doubtful(_)
        ));
        assert!(reason(judge("flags : svm", Ok(11))).contains("version 11"));
        assert!(
            reason(judge("flags : svm", Err(io::ErrorKind::NotFound.into())))
                .contains("no /dev/kvm")
        );
        assert!(
            reason(judge(
                "flags : svm",
                Err(io::ErrorKind::PermissionDenied.into())
            ))
            .contains("group")
        );
    }
}
