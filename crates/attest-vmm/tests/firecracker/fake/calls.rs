//! What Firecracker's calls take, as its API says it (`swagger/firecracker.yaml` of its sources), independent of what
//! attest sends. Fact: unknown fields are rejected.

#![expect(dead_code, reason = "fields are there to be accepted, not to be used")]
#![expect(clippy::struct_field_names, reason = "they are the API's")]

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MachineConfig {
    pub(super) vcpu_count: u8,
    pub(super) mem_size_mib: usize,
    #[serde(default)]
    smt: bool,
    cpu_template: Option<Value>,
    #[serde(default)]
    track_dirty_pages: bool,
    huge_pages: Option<Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BootSource {
    pub(super) kernel_image_path: String,
    pub(super) initrd_path: Option<String>,
    pub(super) boot_args: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Drive {
    pub(super) drive_id: String,
    partuuid: Option<String>,
    pub(super) is_root_device: bool,
    #[serde(default)]
    cache_type: CacheType,
    pub(super) is_read_only: Option<bool>,
    pub(super) path_on_host: Option<String>,
    rate_limiter: Option<RateLimiter>,
    io_engine: Option<IoEngine>,
    socket: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
enum CacheType {
    #[default]
    Unsafe,
    Writeback,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum IoEngine {
    Sync,
    Async,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RateLimiter {
    bandwidth: Option<TokenBucket>,
    ops: Option<TokenBucket>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct TokenBucket {
    size: u64,
    one_time_burst: Option<u64>,
    refill_time: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NetworkInterface {
    pub(super) iface_id: String,
    pub(super) host_dev_name: String,
    #[serde(default, deserialize_with = "mac")]
    guest_mac: Option<String>,
    mtu: Option<u16>,
    rx_rate_limiter: Option<RateLimiter>,
    tx_rate_limiter: Option<RateLimiter>,
}

fn mac<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let is_byte = |byte: &str| byte.len() == 2 && u8::from_str_radix(byte, 16).is_ok();
    if text.split(':').count() == 6 && text.split(':').all(is_byte) {
        Ok(Some(text))
    } else {
        Err(serde::de::Error::custom(
            "The provided MAC address is invalid.",
        ))
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Vsock {
    vsock_id: Option<String>,
    pub(super) guest_cid: u32,
    pub(super) uds_path: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entropy {
    rate_limiter: Option<RateLimiter>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Balloon {
    pub(super) amount_mib: usize,
    deflate_on_oom: bool,
    #[serde(default)]
    stats_polling_interval_s: u16,
    #[serde(default)]
    free_page_hinting: bool,
    #[serde(default)]
    free_page_reporting: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BalloonUpdate {
    pub(super) amount_mib: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Action {
    pub(super) action_type: ActionType,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum ActionType {
    FlushMetrics,
    InstanceStart,
    SendCtrlAltDel,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Vm {
    pub(super) state: VmState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum VmState {
    Paused,
    Resumed,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SnapshotCreate {
    #[serde(default)]
    pub(super) snapshot_type: SnapshotType,
    pub(super) snapshot_path: String,
    pub(super) mem_file_path: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(super) enum SnapshotType {
    #[default]
    Full,
    Diff,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SnapshotLoad {
    pub(super) snapshot_path: String,
    pub(super) mem_file_path: Option<String>,
    pub(super) mem_backend: Option<MemoryBackend>,
    #[serde(default)]
    enable_diff_snapshots: bool,
    #[serde(default)]
    track_dirty_pages: bool,
    #[serde(default)]
    pub(super) resume_vm: bool,
    /// Fact: from 1.12.
    #[serde(default)]
    pub(super) network_overrides: Vec<NetworkOverride>,
    /// Fact: `vsock_override`, `clock_realtime` from 1.16; `huge_pages` on load is newer still.
    pub(super) vsock_override: Option<Value>,
    pub(super) clock_realtime: Option<bool>,
    pub(super) huge_pages: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MemoryBackend {
    pub(super) backend_type: BackendType,
    pub(super) backend_path: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum BackendType {
    File,
    Uffd,
}

#[derive(Debug, Deserialize)]
pub(super) struct NetworkOverride {
    pub(super) iface_id: String,
    pub(super) host_dev_name: String,
}
