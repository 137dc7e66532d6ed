//! What this host can do, with the reason for every no.

use attest_image::{Cache, disks};
use attest_vmm::probe::{KvmProbe, kvm};

use crate::error::chain;

/// One ability of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Abilities of one kind stand together.
    pub area: &'static str,
    /// The ability.
    pub what: String,
    /// Whether the host has it.
    pub works: bool,
    /// How, or why not and what to do.
    pub detail: String,
    /// Whether nothing runs without it.
    pub needed: bool,
}

/// Look at the host. Nothing is changed, but the cache directory is made.
pub fn examine() -> Vec<Finding> {
    let mut findings = vec![accelerator(), tcg()];
    findings.push(qemu());
    for backend in ["firecracker", "cloud-hypervisor", "nspawn", "ssh"] {
        findings.push(finding(
            "backends",
            backend,
            Err("this version of attest has no such backend".to_owned()),
            false,
        ));
    }
    for check in attest_net::probe::probe() {
        let needed = check.what.contains("namespace") || check.what.contains("tun");
        findings.push(finding(
            "networks",
            check.what,
            check
                .result
                .map(|()| String::new())
                .map_err(|error| chain(&error)),
            needed,
        ));
    }
    findings.push(busybox());
    findings.extend(copy_on_write());
    findings
}

fn finding(
    area: &'static str,
    what: &str,
    result: Result<String, String>,
    needed: bool,
) -> Finding {
    let works = result.is_ok();
    let detail = result.unwrap_or_else(|reason| reason);
    Finding {
        area,
        what: what.to_owned(),
        works,
        detail,
        needed,
    }
}

fn accelerator() -> Finding {
    let result = match kvm() {
        KvmProbe::Usable => Ok("chosen by default".to_owned()),
        KvmProbe::Doubtful(reason) | KvmProbe::Unusable(reason) => Err(reason),
    };
    finding("accelerators", "kvm", result, false)
}

fn tcg() -> Finding {
    finding(
        "accelerators",
        "tcg",
        Ok("QEMU's translator; works everywhere, several times slower".to_owned()),
        false,
    )
}

fn memo() -> std::path::PathBuf {
    Cache::default_directory().unwrap_or_else(|_| std::env::temp_dir())
}

fn qemu() -> Finding {
    let found = attest_vmm::qemu::find(None, &memo());
    let result =
        found
            .map_err(|missing| missing.to_string())
            .map(|program| match program.version {
                Some(version) => format!(
                    "{} {}.{}.{}",
                    program.path.display(),
                    version.major,
                    version.minor,
                    version.micro
                ),
                None => program.path.display().to_string(),
            });
    finding("backends", "qemu", result, true)
}

fn busybox() -> Finding {
    let result = attest_image::bare::busybox()
        .map(|path| path.display().to_string())
        .map_err(|error| error.to_string());
    finding("images", "bare guest (busybox)", result, true)
}

fn copy_on_write() -> Vec<Finding> {
    let scratch = Cache::default_directory()
        .and_then(|directory| Cache::open(&directory))
        .and_then(|cache| disks::scratch(&cache, 1 << 20))
        .map(|_| "sparse files without a name, in the cache's file system".to_owned())
        .map_err(|error| chain(&error));
    let later = |what| {
        finding(
            "copy-on-write",
            what,
            Err("this version of attest has no such strategy".to_owned()),
            false,
        )
    };
    vec![
        finding("copy-on-write", "empty scratch disks", scratch, false),
        later("reflink"),
        later("qcow2 overlay"),
    ]
}
