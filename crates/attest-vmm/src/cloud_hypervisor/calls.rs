//! The calls of Cloud Hypervisor's API that attest makes, with what they take (`vmm/src/api/openapi/cloud-hypervisor.yaml`
//! of its sources). What it does not know it ignores without a word, so that every field here is one of its own.

use serde::{Deserialize, Serialize};

use crate::microvm::rate::RateLimiter;

/// `PUT /vm.create`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct VmConfig {
    pub(super) cpus: Cpus,
    pub(super) memory: Memory,
    pub(super) payload: Payload,
    pub(super) disks: Vec<DiskConfig>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) net: Vec<Net>,
    pub(super) rng: Rng,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) balloon: Option<BalloonConfig>,
    pub(super) serial: Terminal,
    pub(super) console: Terminal,
    pub(super) vsock: Vsock,
    #[serde(flatten)]
    pub(super) confinement: Confinement,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Cpus {
    pub(super) boot_vcpus: u32,
    pub(super) max_vcpus: u32,
}

/// Its size is that of its zones; then the size here has to be 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Memory {
    pub(super) size: u64,
    pub(super) zones: [Zone; 1],
}

/// Memory in a file, by default one of the VMM's own. Shared: what the guest writes goes there; else it is the VMM's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Zone {
    pub(super) id: &'static str,
    pub(super) size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<&'static str>,
    pub(super) shared: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Payload {
    pub(super) kernel: &'static str,
    pub(super) initramfs: &'static str,
    pub(super) cmdline: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct DiskConfig {
    pub(super) id: String,
    pub(super) path: String,
    pub(super) readonly: bool,
    /// What a guest writes must not be taken for a header.
    pub(super) image_type: ImageType,
    pub(super) serial: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rate_limiter_config: Option<RateLimiter>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum ImageType {
    Raw,
}

/// A card; its MTU is the TAP's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Net {
    pub(super) id: String,
    pub(super) tap: String,
    pub(super) mac: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rate_limiter_config: Option<RateLimiter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Rng {
    pub(super) src: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct BalloonConfig {
    pub(super) size: u64,
    pub(super) deflate_on_oom: bool,
    pub(super) free_page_reporting: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Terminal {
    pub(super) mode: Mode,
}

/// Where a console is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Mode {
    Off,
    /// On stdin, where that is a terminal, and stdout.
    Tty,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Vsock {
    pub(super) cid: u32,
    pub(super) socket: &'static str,
}

/// Which files it may open from then on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Confinement {
    pub(super) landlock_enable: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) landlock_rules: Vec<Rule>,
}

/// More than what is named in the rest of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Rule {
    pub(super) path: &'static str,
    /// Letters: `r`, `w`.
    pub(super) access: &'static str,
}

/// `PUT /vm.snapshot`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Snapshot {
    pub(super) destination_url: String,
}

/// `PUT /vm.restore`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Restore {
    pub(super) source_url: String,
}

/// `PUT /vm.resize`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Resize {
    pub(super) desired_balloon: u64,
}

/// `GET /vm.info`, as far as it tells of memory. Bytes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Info {
    pub(super) config: InfoConfig,
    /// Without what is in the balloon.
    pub(super) memory_actual_size: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct InfoConfig {
    pub(super) balloon: InfoBalloon,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct InfoBalloon {
    pub(super) size: u64,
}

/// Why it refuses: a chain of causes, the last one with the calls that led there.
pub(super) fn words(answer: &[u8]) -> Option<String> {
    let causes: Vec<String> = serde_json::from_slice(answer).ok()?;
    let causes = causes.iter().map(|cause| {
        let (cause, _) = cause
            .split_once("\n\nStack backtrace:")
            .unwrap_or((cause, ""));
        cause.trim()
    });
    // The first is the same for all.
    let causes: Vec<_> = causes.filter(|cause| *cause != "Error from API").collect();
    (!causes.is_empty()).then(|| causes.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_words_are_a_chain() {
        let answer = br#"["Error from API","The VM could not be snapshotted","No state GetNestedState(Invalid argument)\n\nStack backtrace:\n   0: <unknown>"]"#;
        assert_eq!(
            words(answer).as_deref(),
            Some("The VM could not be snapshotted: No state GetNestedState(Invalid argument)")
        );
        assert_eq!(words(b"no JSON"), None);
        assert_eq!(words(b"[]"), None);
        assert_eq!(words(br#"{"error":"other"}"#), None);
    }
}
