//! What this host can do, with the reason for every no.

use attest_image::{Cache, ImageError, disks};
use attest_manifest::Backend;
use attest_protocol::chain;
use attest_vmm::{Ability, CloudHypervisor, Firecracker, nspawn, qemu, ssh};

use crate::boot::{Backends, Cards, Way};

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

/// One ability, and which backends have it: the same on every host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The ability, as messages have it.
    pub ability: &'static str,
    /// What a machine with it does.
    pub describes: &'static str,
    /// Every backend, in the order of [`Backend::ALL`], with the reason of one that has it not.
    pub backends: Vec<(Backend, Option<&'static str>)>,
}

/// What every backend has, and why not the rest.
pub fn matrix() -> Vec<Row> {
    let backends = Backends::new(&memo());
    let row = |ability: Ability| Row {
        ability: ability.name(),
        describes: ability.describes(),
        backends: Backend::ALL
            .map(|backend| (backend, backends.of(backend).lacks(ability)))
            .into(),
    };
    Ability::ALL.map(row).into()
}

/// Look at the host. Nothing is changed, but the cache directory is made.
pub fn examine() -> Vec<Finding> {
    let mut findings = qemu();
    findings.extend(backends());
    findings.extend(networks());
    findings.extend(scripts());
    findings.extend(images());
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

/// The program, and what it can.
fn qemu() -> Vec<Finding> {
    let found = qemu::find(None, &memo());
    let features = match &found {
        Ok(program) => qemu::survey(program),
        Err(_) => Vec::new(),
    };
    let kvm_works = features
        .iter()
        .any(|feature| feature.name == "kvm" && feature.refusal.is_none());
    let mut findings: Vec<_> = features
        .into_iter()
        .map(|feature| {
            let (area, how) = match feature.name {
                "kvm" => ("accelerators", "chosen by default"),
                "tcg" if kvm_works => ("accelerators", "QEMU's translator"),
                "tcg" => (
                    "accelerators",
                    "QEMU's translator; chosen by default, several times slower",
                ),
                "microvm" => ("boards", "chosen by default"),
                _ => ("boards", "with PCI; `machine-type = \"q35\"`"),
            };
            let result = feature.refusal.map_or(Ok(how.to_owned()), Err);
            finding(area, feature.name, result, false)
        })
        .collect();
    let result = found.map_err(|missing| missing.to_string()).map(|program| {
        let path = program.path.display();
        match program.version {
            Some(version) => format!(
                "{path} {}.{}.{}",
                version.major, version.minor, version.micro
            ),
            None => path.to_string(),
        }
    });
    findings.push(finding("backends", "qemu", result, true));
    findings
}

fn memo() -> std::path::PathBuf {
    Cache::default_directory().unwrap_or_else(|_| std::env::temp_dir())
}

fn backends() -> Vec<Finding> {
    let shown =
        |result: Result<std::path::PathBuf, String>| result.map(|path| path.display().to_string());
    let cloud_hypervisor = CloudHypervisor::new(&memo());
    let firecracker = Firecracker::new(&memo());
    vec![
        finding("backends", "firecracker", firecracker.probe(), false),
        finding(
            "backends",
            "jails of firecracker",
            firecracker.probe_jail(),
            false,
        ),
        finding(
            "backends",
            "cloud-hypervisor",
            cloud_hypervisor.probe(),
            false,
        ),
        finding("backends", "nspawn", shown(nspawn::probe()), false),
        finding("backends", "containers at once", containers(), false),
        finding("backends", "ssh", shown(ssh::probe()), false),
    ]
}

/// Where the kernel says how many inotify instances a user may have (inotify(7)); 128 unless it is told otherwise.
const INSTANCES: &str = "/proc/sys/fs/inotify/max_user_instances";
/// What a container of Debian has of them: its systemd five, its bus, the agent and the journal's reader one each. All
/// containers count as the same user's.
const OF_A_CONTAINER: u32 = 8;

/// How many systems in containers run side by side, by what runs out first.
fn containers() -> Result<String, String> {
    let text = std::fs::read_to_string(INSTANCES).map_err(|e| format!("{INSTANCES}: {e}"))?;
    let instances: u32 = text
        .trim()
        .parse()
        .map_err(|e| format!("{INSTANCES}: {e}"))?;
    containers_of(instances)
}

fn containers_of(instances: u32) -> Result<String, String> {
    let containers = instances / OF_A_CONTAINER;
    let said = format!(
        "{containers} with systemd ({instances} inotify instances, {OF_A_CONTAINER} each); \
         `sysctl fs.inotify.max_user_instances=1024` allows more"
    );
    if containers == 0 { Err(said) } else { Ok(said) }
}

/// What networks of labs need, and how QEMU's machines come to them.
fn networks() -> Vec<Finding> {
    let cards = Cards::choose();
    let is_relayed = cards.as_ref().is_ok_and(|cards| cards.way() == Way::Frames);
    let check = |check: attest_net::probe::Check| {
        let (needed, without) = match check.what {
            "TAP devices" => (
                false,
                "; firecracker and cloud-hypervisor have no networks then, and qemu has them without",
            ),
            "packet sockets" => (is_relayed, ""),
            _ => (true, ""),
        };
        let result = check
            .result
            .map(|()| String::new())
            .map_err(|error| chain(&error) + without);
        finding("networks", check.what, result, needed)
    };
    let mut findings: Vec<_> = attest_net::probe::probe().into_iter().map(check).collect();
    let cards = cards.map(|cards| cards.choice());
    let how = cards.map(|choice| format!("{} ({})", choice.choice, choice.reason));
    findings.push(finding("networks", "cards of qemu", how, true));
    findings
}

/// What machines by start scripts need of the host beside what the scripts bring.
fn scripts() -> Vec<Finding> {
    let shown =
        |result: Result<std::path::PathBuf, String>| result.map(|path| path.display().to_string());
    vec![
        finding(
            "start scripts",
            "VLANs (vde_switch)",
            shown(crate::scripts::probe_vlans()),
            false,
        ),
        finding(
            "start scripts",
            "containers on VLANs",
            shown(crate::scripts::probe_cards_of_containers()),
            false,
        ),
        finding(
            "start scripts",
            "screens' text (tesseract)",
            shown(attest_vmm::installed_program(
                "tesseract",
                attest_screen::PACKAGES,
            )),
            false,
        ),
    ]
}

fn images() -> Vec<Finding> {
    let busybox = attest_image::bare::busybox()
        .map(|path| path.display().to_string())
        .map_err(|error| error.to_string());
    let mut findings = vec![finding("images", "bare guest (busybox)", busybox, true)];
    let programs = [
        ("debian (mmdebstrap)", "mmdebstrap", "mmdebstrap"),
        ("kernel modules (depmod)", "depmod", "kmod"),
        ("ext4 (mke2fs)", "mke2fs", "e2fsprogs"),
    ];
    findings.extend(programs.map(|(what, program, package)| {
        let found = attest_vmm::installed_program(
            program,
            &format!("it is in the package {package} of distributions that have it"),
        );
        finding(
            "images",
            what,
            found.map(|path| path.display().to_string()),
            false,
        )
    }));
    findings
}

/// In the order in which they are chosen.
fn copy_on_write() -> Vec<Finding> {
    let cache = Cache::default_directory().and_then(|directory| Cache::open(&directory));
    let with_cache = |probe: &dyn Fn(&Cache) -> Result<(), ImageError>| match &cache {
        Ok(cache) => probe(cache).map_err(|error| match error {
            ImageError::NoReflink { reason, .. } => reason,
            error => chain(&error),
        }),
        Err(error) => Err(chain(error)),
    };
    let strategy = |what, result: Result<(), String>, how: &str| {
        finding(
            "copy-on-write",
            what,
            result.map(|()| how.to_owned()),
            false,
        )
    };
    let scratch = |cache: &Cache| disks::scratch(cache, 1 << 20).map(drop);
    vec![
        strategy(
            "memory",
            Ok(()),
            "an overlay in the guest; chosen for images that attest builds",
        ),
        strategy(
            "qcow2",
            with_cache(&scratch),
            "chosen for ready disks, and for ext4",
        ),
        strategy(
            "disk",
            with_cache(&|cache| disks::writable(cache).map(drop)),
            "an overlay in the guest, over a sparse file without a name",
        ),
        strategy(
            "reflink",
            with_cache(&disks::probe_reflink),
            "in the cache's file system",
        ),
        strategy(
            "device-mapper",
            attest_lab::probe::device_mapper(),
            "dm-snapshot",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::containers_of;

    #[test]
    fn what_runs_out_first_is_said_with_what_to_do() {
        let usual = containers_of(128).unwrap();
        assert!(
            usual.starts_with("16 with systemd (128 inotify instances, 8 each); `sysctl "),
            "{usual}"
        );
        assert!(containers_of(7).is_err());
    }
}
