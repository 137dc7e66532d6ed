//! The lab as it will be made: everything known, everything checked.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::addresses::{Subnet, mac};
use crate::check::{Problems, instead, place};
use crate::file::{Card, Disk, FileEntry, Image, Machine, ManifestFile};
use crate::steps;
use crate::values::{Accelerator, Backend, Mac, MachineType, Size};

pub use crate::steps::{
    ActionPlan, CommandPlan, ExpectedStatus, ProgramPlan, RustTestPlan, RustTestSource, StepPlan, TestKind, TestPlan,
    WaitPlan, WaitTarget,
};

/// Memory of a machine that does not say: the bare guest needs half of it.
const MEMORY: u64 = 128 << 20;
/// Below this a Linux kernel with an initramfs does not come up.
const LEAST_MEMORY: u64 = 64 << 20;
/// Beyond this no host has: a unit was mistaken.
const MOST_MEMORY: u64 = 16 << 40;
/// Of QEMU's boards.
const MOST_VCPUS: u32 = 255;
/// Disks and cards share 24 virtio-mmio slots of `microvm` with the serial port and entropy.
const MOST_DEVICES: usize = 20;
/// Least MTU of IPv6 (RFC 8200) and most of a TAP.
const MTU: std::ops::RangeInclusive<u32> = 1280..=65_521;

/// A lab as it will be made.
#[derive(Debug, Clone, PartialEq)]
pub struct LabPlan {
    /// Its name.
    pub name: String,
    /// Its networks, in order.
    pub networks: Vec<NetworkPlan>,
    /// Its machines, in order.
    pub machines: Vec<MachinePlan>,
    /// Its tests, in order.
    pub tests: Vec<TestPlan>,
    /// How long things may take.
    pub timeouts: TimeoutPlan,
    /// What relative paths are relative to.
    pub directory: PathBuf,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkPlan {
    /// Its name.
    pub name: String,
    /// IPv4 subnet: its own address, and prefix length.
    pub subnet4: (IpAddr, u8),
    /// IPv6 subnet: its own address, and prefix length.
    pub subnet6: (IpAddr, u8),
    /// Bytes.
    pub mtu: u32,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachinePlan {
    /// Its name and host name.
    pub name: String,
    /// From 1.
    pub number: usize,
    /// What it boots.
    pub image: ImagePlan,
    /// How it runs.
    pub backend: Backend,
    /// QEMU's board.
    pub machine_type: MachineType,
    /// What executes its instructions.
    pub accelerator: Accelerator,
    /// Bytes, a multiple of 1 MiB.
    pub memory: u64,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Network cards, in order.
    pub cards: Vec<CardPlan>,
    /// Files put into it after each boot.
    pub files: Vec<FilePlan>,
    /// Disks, in order.
    pub disks: Vec<DiskPlan>,
    /// Variables that every command sees.
    pub environment: Vec<(String, String)>,
    /// Added to the kernel's command line.
    pub kernel_arguments: Vec<String>,
}

/// What a machine boots: the bare guest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImagePlan {
    /// With this kernel instead of the one that is found.
    pub kernel: Option<PathBuf>,
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardPlan {
    /// The network it is on.
    pub network: String,
    /// Locally administered.
    pub mac: [u8; 6],
    /// IPv4 then IPv6, with prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// A file of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePlan {
    /// Absolute, in the machine.
    pub path: PathBuf,
    /// What it is.
    pub content: FileContent,
    /// Of a single file.
    pub mode: Option<u32>,
}

/// Where a file's contents come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileContent {
    /// The manifest.
    Text(String),
    /// A file or directory of the host.
    Source(PathBuf),
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskPlan {
    /// Empty, this many bytes, ending with the machine.
    Scratch(u64),
    /// A raw image of the host.
    Image {
        /// Where.
        path: PathBuf,
        /// Whether the guest may not write to it.
        read_only: bool,
    },
}

/// How long things may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeoutPlan {
    /// From a machine's start until it is ready.
    pub boot: Duration,
    /// A command, or a wait.
    pub command: Duration,
    /// A test, without the boot of its lab.
    pub test: Duration,
    /// A whole run.
    pub run: Duration,
    /// A guest's own shutdown.
    pub shutdown: Duration,
}

pub(crate) fn plan(file: &ManifestFile, directory: &Path, problems: &mut Problems) -> LabPlan {
    let absolute = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let named = || absolute.file_name().map(|name| name.to_string_lossy().into_owned());
    let networks = networks(file, problems);
    let mut planner = Planner { file, directory: &absolute, networks: &networks, problems, macs: HashMap::new(), addresses: HashMap::new() };
    let machines: Vec<MachinePlan> = file.machines.iter().zip(1..).map(|((name, machine), number)| planner.machine(name, machine, number)).collect();
    if machines.is_empty() {
        problems.add(place!["machines"], "no machines", "a lab needs one").help("add a table [machines.NAME]");
    }
    let timeouts = timeouts(file, problems);
    LabPlan {
        name: file.name.clone().or_else(named).unwrap_or_else(|| "lab".to_owned()),
        networks: networks.into_iter().map(|(plan, ..)| plan).collect(),
        tests: steps::tests(file, &absolute, problems),
        machines,
        timeouts,
        directory: absolute,
    }
}

fn timeouts(file: &ManifestFile, problems: &mut Problems) -> TimeoutPlan {
    let given = &file.timeouts;
    let mut time = |name: &str, given: Option<crate::Time>, default: u64| {
        if given.is_some_and(|time| time.0.is_zero()) {
            problems.add(place!["timeouts", name], "a time-out of zero", "everything would be too late");
        }
        given.map_or(Duration::from_secs(default), |time| time.0)
    };
    TimeoutPlan {
        boot: time("boot", given.boot, 60),
        command: time("command", given.command, 15 * 60),
        test: time("test", given.test, 5 * 60),
        run: time("run", given.run, 30 * 60),
        shutdown: time("shutdown", given.shutdown, 10),
    }
}

type PlannedNetwork = (NetworkPlan, Subnet, Subnet);

fn networks(file: &ManifestFile, problems: &mut Problems) -> Vec<PlannedNetwork> {
    let mut planned: Vec<PlannedNetwork> = Vec::new();
    for ((name, network), number) in file.networks.iter().zip(1..) {
        check_name(&place!["networks", name], name, "network", problems);
        let mut subnet = |key: &str, text: &Option<String>, default: Subnet| {
            let Some(text) = text else { return default };
            let wanted = if key == "subnet" { "IPv4" } else { "IPv6" };
            match Subnet::parse(text) {
                Ok(subnet) if subnet.base.is_ipv4() == default.base.is_ipv4() => subnet,
                Ok(_) => {
                    problems.add(place!["networks", name, key], format!("`{text}` is no {wanted} subnet"), "of the other family");
                    default
                }
                Err(help) => {
                    problems.add(place!["networks", name, key], format!("`{text}` is no subnet"), "not a subnet").help(help);
                    default
                }
            }
        };
        let four = subnet("subnet", &network.subnet, Subnet::default4(number));
        let six = subnet("subnet6", &network.subnet6, Subnet::default6(number));
        for (other, other4, other6) in &planned {
            for (key, clash) in [("subnet", other4.overlaps(four)), ("subnet6", other6.overlaps(six))] {
                if clash {
                    problems
                        .add(place!["networks", name, key], format!("network `{name}` overlaps with `{}`", other.name), "overlaps")
                        .other(place!["networks", other.name, key], "with this")
                        .help("give each network a subnet of its own");
                }
            }
        }
        let mtu = network.mtu.unwrap_or(1500);
        if !MTU.contains(&mtu) {
            problems
                .add(place!["networks", name, "mtu"], format!("an MTU of {mtu}"), "impossible")
                .help(format!("{} to {} bytes are possible", MTU.start(), MTU.end()));
        }
        let plan = NetworkPlan { name: name.clone(), subnet4: (four.base, four.prefix), subnet6: (six.base, six.prefix), mtu };
        planned.push((plan, four, six));
    }
    planned
}

/// Host names: letters, digits and hyphens, as RFC 1123 has them, in lower case.
fn check_name(path: &[String], name: &str, what: &str, problems: &mut Problems) {
    let letters = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let good = letters && !name.is_empty() && name.len() <= 63 && !name.starts_with('-') && !name.ends_with('-');
    if !good {
        problems
            .add(path.to_vec(), format!("`{name}` is no name for a {what}"), "not a host name")
            .on_key()
            .help("use lower-case letters, digits and inner hyphens, at most 63");
    } else if name == "localhost" && what == "machine" {
        problems.add(path.to_vec(), "a machine cannot be called `localhost`", "every machine is its own").on_key();
    }
}

struct Planner<'a> {
    file: &'a ManifestFile,
    directory: &'a Path,
    networks: &'a [PlannedNetwork],
    problems: &'a mut Problems,
    macs: HashMap<[u8; 6], Vec<String>>,
    addresses: HashMap<IpAddr, Vec<String>>,
}

impl Planner<'_> {
    fn machine(&mut self, name: &str, machine: &Machine, number: usize) -> MachinePlan {
        let defaults = &self.file.defaults;
        check_name(&place!["machines", name], name, "machine", self.problems);
        let cards = self.cards(name, machine, number);
        if cards.len() + machine.disks.len() > MOST_DEVICES {
            self.problems
                .add(place!["machines", name], format!("machine `{name}` has too many networks and disks"), "too many")
                .on_key()
                .help(format!("a machine has at most {MOST_DEVICES} of them together"));
        }
        let mut environment = defaults.environment.clone();
        environment.extend(machine.environment.clone());
        let mut kernel_arguments = defaults.kernel_arguments.clone();
        kernel_arguments.extend(machine.kernel_arguments.clone());
        MachinePlan {
            name: name.to_owned(),
            number,
            image: self.image(name, machine),
            backend: machine.backend.or(defaults.backend).unwrap_or_default(),
            machine_type: machine.machine_type.or(defaults.machine_type).unwrap_or_default(),
            accelerator: machine.accelerator.or(defaults.accelerator).unwrap_or_default(),
            memory: self.memory(name, machine),
            vcpus: self.vcpus(name, machine),
            cards,
            files: machine.files.iter().map(|(path, entry)| self.file(name, path, entry)).collect(),
            disks: machine.disks.iter().enumerate().filter_map(|(at, disk)| self.disk(name, at, disk)).collect(),
            environment: environment.into_iter().collect(),
            kernel_arguments,
        }
    }

    /// The table that gives a machine's value: its own, or the defaults.
    fn given<T>(name: &str, key: &str, own: Option<T>, default: Option<T>) -> Option<(T, Vec<String>)> {
        own.map(|value| (value, place!["machines", name, key])).or(default.map(|value| (value, place!["defaults", key])))
    }

    fn memory(&mut self, name: &str, machine: &Machine) -> u64 {
        let Some((Size(bytes), path)) = Self::given(name, "memory", machine.memory, self.file.defaults.memory) else { return MEMORY };
        let shown = Size(bytes);
        let wrong = if bytes < LEAST_MEMORY {
            Some(("too small", format!("a machine needs at least {}", Size(LEAST_MEMORY))))
        } else if bytes > MOST_MEMORY {
            Some(("too large", format!("at most {}; K, M, G and T are the units", Size(MOST_MEMORY))))
        } else if bytes % (1 << 20) != 0 {
            Some(("not whole megabytes", format!("write {}M", bytes.div_ceil(1 << 20))))
        } else {
            None
        };
        if let Some((label, help)) = wrong {
            self.problems.add(path, format!("machine `{name}` cannot have {shown} of memory"), label).help(help);
        }
        bytes
    }

    fn vcpus(&mut self, name: &str, machine: &Machine) -> u32 {
        let Some((vcpus, path)) = Self::given(name, "vcpus", machine.vcpus, self.file.defaults.vcpus) else { return 1 };
        if !(1..=MOST_VCPUS).contains(&vcpus) {
            self.problems
                .add(path, format!("machine `{name}` cannot have {vcpus} virtual CPUs"), "impossible")
                .help(format!("1 to {MOST_VCPUS} are possible"));
        }
        vcpus
    }

    fn image(&mut self, name: &str, machine: &Machine) -> ImagePlan {
        match Self::given(name, "image", machine.image.clone(), self.file.defaults.image.clone()) {
            Some((Image::Kernel { kernel }, mut path)) => {
                path.push("kernel".to_owned());
                ImagePlan { kernel: Some(self.existing(&kernel, path)) }
            }
            Some((Image::Name(image), path)) if image != "bare" => {
                self.problems.add(path, format!("no image `{image}`"), "not known").help("there is: bare");
                ImagePlan::default()
            }
            _ => ImagePlan::default(),
        }
    }

    /// A path of the host, which must exist.
    fn existing(&mut self, file: &Path, path: Vec<String>) -> PathBuf {
        let absolute = self.directory.join(file);
        if !absolute.exists() {
            self.problems
                .add(path, format!("{} does not exist", absolute.display()), "not found")
                .help("paths are relative to the manifest's directory");
        }
        absolute
    }

    fn file(&mut self, name: &str, path: &str, entry: &FileEntry) -> FilePlan {
        let place = place!["machines", name, "files", path];
        if !path.starts_with('/') || path.ends_with('/') {
            self.problems.add(place.clone(), format!("`{path}` is no absolute path of a file"), "where in the machine?").on_key();
        }
        let (content, mode) = match entry {
            FileEntry::Text(text) => (FileContent::Text(text.clone()), None),
            FileEntry::Source { source, mode } => {
                let source = self.existing(source, [place.as_slice(), &place!["source"]].concat());
                if mode.is_some() && source.is_dir() {
                    self.problems
                        .add([place.as_slice(), &place!["mode"]].concat(), "a mode for a directory", "files in it keep their own")
                        .help("leave it out");
                }
                (FileContent::Source(source), mode.map(|mode| mode.0))
            }
        };
        FilePlan { path: PathBuf::from(path), content, mode }
    }

    fn disk(&mut self, name: &str, at: usize, disk: &Disk) -> Option<DiskPlan> {
        let place = |key: &str| place!["machines", name, "disks", at, key];
        match (&disk.size, &disk.source) {
            (Some(Size(0)), None) => {
                self.problems.add(place("size"), "a disk of no size", "nothing to use").help("write a size, as 1G");
                None
            }
            (Some(size), None) => Some(DiskPlan::Scratch(size.0)),
            (None, Some(source)) => {
                let path = self.existing(source, place("source"));
                Some(DiskPlan::Image { path, read_only: disk.read_only.unwrap_or(true) })
            }
            _ => {
                self.problems
                    .add(place!["machines", name, "disks", at], "a disk is either empty or an image", "which?")
                    .help("give `size` or `source`, one of them");
                None
            }
        }
    }

    fn cards(&mut self, name: &str, machine: &Machine, number: usize) -> Vec<CardPlan> {
        let all: Vec<Card> = self.networks.iter().map(|(plan, ..)| Card::Network(plan.name.clone())).collect();
        let given = machine.networks.as_ref().unwrap_or(&all);
        given.iter().enumerate().filter_map(|(at, card)| self.card(name, number, at, card)).collect()
    }

    fn card(&mut self, name: &str, number: usize, at: usize, card: &Card) -> Option<CardPlan> {
        let place = place!["machines", name, "networks", at];
        let (network, address, own_mac) = match card {
            Card::Network(network) => (network, None, None),
            Card::Full { network, address, mac } => (network, *address, *mac),
        };
        let networks = self.networks;
        let found = networks.iter().enumerate().find(|(_, (plan, ..))| plan.name == *network);
        let Some((index, (plan, four, six))) = found else {
            let known = networks.iter().map(|(plan, ..)| plan.name.as_str());
            self.problems.add(place, format!("no network `{network}`"), "not declared").help(instead(network, known));
            return None;
        };
        let mut addresses = Vec::new();
        for subnet in [*four, *six] {
            let own = address.filter(|address| address.is_ipv4() == subnet.base.is_ipv4());
            let Some(address) = own.or_else(|| subnet.host(number)) else {
                self.problems
                    .add(place!["networks", plan.name], format!("network `{}` is too small for machine `{name}`", plan.name), "too small")
                    .help(format!("it needs room for {} machines", self.file.machines.len()));
                continue;
            };
            if !subnet.is_usable(address) {
                self.problems
                    .add([place.as_slice(), &place!["address"]].concat(), format!("`{address}` is no address for a machine on network `{network}`"), "outside, or reserved")
                    .help(format!("its subnet is {}/{}", subnet.base, subnet.prefix));
            }
            self.claim_address(address, &place, name);
            addresses.push((address, subnet.prefix));
        }
        let mac = own_mac.map_or_else(|| mac(network, index + 1, number), |Mac(mac)| mac);
        self.claim_mac(mac, &place, name);
        Some(CardPlan { network: network.clone(), mac, addresses })
    }

    fn claim_address(&mut self, address: IpAddr, place: &[String], name: &str) {
        if let Some(other) = self.addresses.insert(address, place.to_vec()) {
            self.problems
                .add(place.to_vec(), format!("machine `{name}` has the address {address} of another"), "the same address")
                .other(other, "as here")
                .help("machine number n has host number n; give one of them another `address`");
        }
    }

    fn claim_mac(&mut self, mac: [u8; 6], place: &[String], name: &str) {
        let shown = Mac(mac);
        if mac[0] & 1 == 1 {
            self.problems.add(place.to_vec(), format!("{shown} is a group's address"), "its first byte must be even");
        }
        if let Some(other) = self.macs.insert(mac, place.to_vec()) {
            self.problems
                .add(place.to_vec(), format!("machine `{name}` has the MAC {shown} of another"), "the same MAC")
                .other(other, "as here")
                .help("give one of them another `mac`, or leave it out");
        }
    }
}
