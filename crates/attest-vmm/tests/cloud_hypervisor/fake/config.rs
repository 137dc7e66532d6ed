//! A machine's configuration. Fact: `vm.create` ignores unknown fields. So the fake takes none: what is ignored without a
//! word is a mistake of who sends it.

use serde_json::Value;

/// The fields of each object (`vmm/src/api/openapi/cloud-hypervisor.yaml` of its sources), as far as a machine of attest's
/// may have them.
const KNOWN: [(&str, &[&str]); 14] = [
    (
        "",
        &[
            "cpus",
            "memory",
            "payload",
            "disks",
            "net",
            "rng",
            "balloon",
            "serial",
            "console",
            "vsock",
            "landlock_enable",
            "landlock_rules",
        ],
    ),
    ("cpus", &["boot_vcpus", "max_vcpus"]),
    ("memory", &["size", "shared", "thp", "zones"]),
    (
        "memory.zones",
        &["id", "size", "file", "shared", "prefault"],
    ),
    ("payload", &["kernel", "cmdline", "initramfs", "firmware"]),
    (
        "disks",
        &[
            "id",
            "path",
            "readonly",
            "image_type",
            "serial",
            "rate_limiter_config",
            "direct",
        ],
    ),
    ("disks.rate_limiter_config", &["bandwidth", "ops"]),
    ("net", &["id", "tap", "mac", "mtu", "rate_limiter_config"]),
    ("net.rate_limiter_config", &["bandwidth", "ops"]),
    ("rng", &["src", "iommu"]),
    (
        "balloon",
        &["size", "deflate_on_oom", "free_page_reporting"],
    ),
    ("serial", &["mode", "file", "socket"]),
    ("console", &["mode", "file", "socket"]),
    ("vsock", &["cid", "socket", "id"]),
];

/// Fail where there is a field that would be ignored.
pub(super) fn all_known(config: &Value) {
    known_in("", config);
}

fn known_in(at: &str, value: &Value) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| known_in(at, value)),
        Value::Object(fields) => {
            let Some((_, known)) = KNOWN.iter().find(|(path, _)| *path == at) else {
                return;
            };
            for (name, value) in fields {
                assert!(known.contains(&&**name), "`{at}.{name}` would be ignored");
                let inner = format!("{at}.{name}");
                known_in(inner.trim_start_matches('.'), value);
            }
        }
        _ => {}
    }
}

/// What the fake looks at.
#[derive(Debug, Clone)]
pub(super) struct Config(pub(super) Value);

impl Config {
    fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
        value.get(name)?.as_str()
    }

    /// The one zone of memory: its size, its file, and whether what is written goes there.
    pub(super) fn zone(&self) -> (usize, Option<&str>, bool) {
        let zone = &self.0["memory"]["zones"][0];
        let size = zone["size"].as_u64().and_then(|size| size.try_into().ok());
        let shared = zone["shared"].as_bool().unwrap_or(false);
        (size.unwrap_or(0), Self::text(zone, "file"), shared)
    }

    pub(super) fn payload(&self, name: &str) -> Option<&str> {
        Self::text(&self.0["payload"], name)
    }

    fn each<'a>(&'a self, list: &str) -> impl Iterator<Item = &'a Value> {
        self.0[list].as_array().into_iter().flatten()
    }

    /// Paths, and whether they are only read.
    pub(super) fn disks(&self) -> impl Iterator<Item = (&str, bool)> {
        self.each("disks").map(|disk| {
            let path = Self::text(disk, "path").unwrap_or_default();
            (path, disk["readonly"].as_bool().unwrap_or(false))
        })
    }

    pub(super) fn taps(&self) -> impl Iterator<Item = &str> {
        self.each("net").filter_map(|card| Self::text(card, "tap"))
    }

    pub(super) fn vsock(&self) -> Option<&str> {
        Self::text(&self.0["vsock"], "socket")
    }

    pub(super) fn balloon(&self) -> u64 {
        self.0["balloon"]["size"].as_u64().unwrap_or(0)
    }
}
