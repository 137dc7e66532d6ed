//! The calls of Firecracker's API that attest makes, with what they take (`swagger/firecracker.yaml` of its sources).

use serde::Serialize;
use serde_json::Value;

use crate::microvm::rate::RateLimiter;

/// `PUT /machine-config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct MachineConfiguration {
    pub(super) vcpu_count: u32,
    pub(super) mem_size_mib: u64,
}

/// `PUT /boot-source`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct BootSource {
    pub(super) kernel_image_path: &'static str,
    pub(super) initrd_path: &'static str,
    pub(super) boot_args: String,
}

/// `PUT /drives/{drive_id}`. Flushes by the guest end in the host's memory, which is what `Unsafe` says: no run outlives
/// the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Drive {
    #[serde(rename = "drive_id")]
    pub(super) id: String,
    pub(super) path_on_host: String,
    pub(super) is_root_device: bool,
    pub(super) is_read_only: bool,
    pub(super) cache_type: CacheType,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rate_limiter: Option<RateLimiter>,
}

/// When a flush of the guest's is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum CacheType {
    Unsafe,
}

/// `PUT /network-interfaces/{iface_id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct NetworkInterface {
    pub(super) iface_id: String,
    pub(super) host_dev_name: String,
    pub(super) guest_mac: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rx_rate_limiter: Option<RateLimiter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tx_rate_limiter: Option<RateLimiter>,
}

/// `PUT /vsock`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Vsock {
    pub(super) guest_cid: u32,
    pub(super) uds_path: &'static str,
}

/// `PUT /entropy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Entropy {}

/// `PUT /balloon`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct BalloonDevice {
    pub(super) amount_mib: u64,
    pub(super) deflate_on_oom: bool,
    pub(super) stats_polling_interval_s: u16,
}

/// `PATCH /balloon`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct BalloonUpdate {
    pub(super) amount_mib: u64,
}

/// `PUT /actions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Action {
    pub(super) action_type: ActionType,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum ActionType {
    InstanceStart,
}

/// `PATCH /vm`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct VmState {
    pub(super) state: State,
}

/// What a machine is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum State {
    Paused,
    Resumed,
}

/// `PUT /snapshot/create`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct SnapshotCreate<'a> {
    pub(super) snapshot_type: SnapshotType,
    pub(super) snapshot_path: &'static str,
    pub(super) mem_file_path: &'a str,
}

/// Which memory is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum SnapshotType {
    /// All.
    Full,
    /// What was touched since the machine began to run. What else is in the file stays.
    Diff,
}

/// `PUT /snapshot/load`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct SnapshotLoad {
    pub(super) snapshot_path: &'static str,
    pub(super) mem_backend: MemoryBackend,
    pub(super) resume_vm: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) network_overrides: Vec<NetworkOverride>,
}

/// Where memory comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct MemoryBackend {
    pub(super) backend_type: MemoryBackendType,
    pub(super) backend_path: &'static str,
}

/// How memory comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum MemoryBackendType {
    /// Mapped privately.
    File,
}

/// Another TAP for a card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct NetworkOverride {
    pub(super) iface_id: String,
    pub(super) host_dev_name: String,
}

/// Why it refuses: `fault_message` of its answers, and `error` of those of its HTTP server.
pub(super) fn words(answer: &[u8]) -> Option<String> {
    // Its HTTP server writes ends of lines into text, which no JSON has.
    let answer: Vec<u8> = answer.iter().map(|byte| (*byte).max(b' ')).collect();
    let answer: Value = serde_json::from_slice(&answer).ok()?;
    let words = answer
        .get("fault_message")
        .or_else(|| answer.get("error"))?;
    words.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_words_are_found_in_both_kinds_of_refusals() {
        let fault = br#"{"fault_message":"Start microvm error"}"#;
        assert_eq!(words(fault).as_deref(), Some("Start microvm error"));
        let error = b"{ \"error\": \"Unsupported HTTP method.\nAll previous\" }";
        assert_eq!(
            words(error).as_deref(),
            Some("Unsupported HTTP method. All previous")
        );
        assert_eq!(words(b"no JSON"), None);
        assert_eq!(words(b"[]"), None);
    }
}
