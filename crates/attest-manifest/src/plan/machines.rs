//! Machines: sizes, images, files and disks.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use super::cards::Owners;
use super::images::BARE;
use super::planner::{Planner, shortened};
use super::{
    DiskContent, DiskPlan, FileContent, FilePlan, ImagePlan, KernelPlan, MachinePlan, NetworkPlan,
    SshPlan, SystemPlan,
};
use crate::model::{Backend, Defaults, Disk, FileEntry, Image, Kernel, Machine, Size, Ssh};
use crate::problem::{At, Part, did_you_mean};

/// Each has its own VMM; more are a mistake, and every network has a card for each.
const MACHINES_MAX: usize = 1024;
const MIB: u64 = 1024 * 1024;
const MEMORY_DEFAULT: Size = Size::from_mib(256);
/// A distribution's services, and what is written to the root.
const MEMORY_SYSTEM: Size = Size::from_mib(512);
/// Kernel, initramfs and agent of the bare guest need this much to boot.
const MEMORY_MIN: Size = Size::from_mib(64);
/// More than any host that runs tests has.
const MEMORY_MAX: Size = Size::from_mib(16 * 1024 * 1024);
/// The limit of an x86 guest without interrupt remapping.
const VCPUS_MAX: u32 = 255;
/// A virtio disk counts in sectors of this many bytes.
const SECTOR: u64 = 512;

impl<'a> Planner<'a> {
    pub(super) fn machines(
        &mut self,
        networks: &[NetworkPlan],
        systems: &[Arc<SystemPlan>],
    ) -> Vec<MachinePlan> {
        let file = self.file;
        let root = At::default();
        let machines = root.key("machines");
        let default_image = self.defaults(&root.key("defaults"), systems);
        if file.machines.is_empty() {
            let problem = machines.key_problem("the lab has no machine");
            self.problems.push(
                problem.help("add one: `[machines.server]`, with nothing below it if you like"),
            );
        }
        if file.machines.len() > MACHINES_MAX {
            let count = file.machines.len();
            let problem = machines.key_problem(format!(
                "{count} machines: a lab has at most {MACHINES_MAX}"
            ));
            self.problems.push(problem);
            return Vec::new();
        }
        let mut owners = Owners::default();
        (1..)
            .zip(&file.machines)
            .map(|(number, (name, machine))| {
                let at = machines.key(name);
                self.host_name(&at, name, "machine");
                if name == "localhost" {
                    self.problems.push(
                        at.key_problem("`localhost` is every machine's name for itself")
                            .label("choose another name"),
                    );
                }
                // A host that runs already has networks of its own.
                let backend = machine.backend.or(file.defaults.backend);
                let is_apart = backend == Some(Backend::Ssh) && machine.networks.is_none();
                let own = if is_apart { &[] } else { networks };
                let cards = self.cards(&at, name, number, own, &mut owners);
                let image = self.image(
                    &at,
                    machine.image.as_ref(),
                    machine.kernel.as_ref(),
                    systems,
                );
                let image = Self::merged_image(machine, image, &default_image);
                self.machine(&at, (name, number), machine, cards, image)
            })
            .collect()
    }

    /// What is wrong in `[defaults]` is reported there, once.
    fn defaults(&mut self, at: &At<'_>, systems: &[Arc<SystemPlan>]) -> ImagePlan {
        let defaults: &'a Defaults = &self.file.defaults;
        self.memory(&at.key("memory"), defaults.memory);
        self.vcpus(&at.key("vcpus"), defaults.vcpus);
        self.environment(&at.key("environment"), &defaults.environment);
        self.kernel_arguments(&at.key("kernel-arguments"), &defaults.kernel_arguments);
        self.image(
            at,
            defaults.image.as_ref(),
            defaults.kernel.as_ref(),
            systems,
        )
    }

    fn machine(
        &mut self,
        at: &At<'_>,
        (name, number): (&str, u32),
        machine: &Machine,
        cards: Vec<super::CardPlan>,
        image: ImagePlan,
    ) -> MachinePlan {
        let defaults: &'a Defaults = &self.file.defaults;
        self.memory(&at.key("memory"), machine.memory);
        self.vcpus(&at.key("vcpus"), machine.vcpus);
        self.environment(&at.key("environment"), &machine.environment);
        self.kernel_arguments(&at.key("kernel-arguments"), &machine.kernel_arguments);
        let backend = machine.backend.or(defaults.backend).unwrap_or_default();
        let memory = match image.system {
            Some(_) => MEMORY_SYSTEM,
            None => MEMORY_DEFAULT,
        };
        MachinePlan {
            name: name.to_owned(),
            number,
            backend,
            image,
            machine_type: machine
                .machine_type
                .or(defaults.machine_type)
                .unwrap_or_default(),
            accelerator: machine
                .accelerator
                .or(defaults.accelerator)
                .unwrap_or_default(),
            memory: machine.memory.or(defaults.memory).unwrap_or(memory).bytes(),
            vcpus: machine.vcpus.or(defaults.vcpus).unwrap_or(1),
            cards,
            files: self.files(&at.key("files"), &machine.files),
            disks: self.disks(&at.key("disks"), &machine.disks),
            environment: defaults
                .environment
                .iter()
                .chain(&machine.environment)
                .map(owned)
                .collect(),
            kernel_arguments: [
                &defaults.kernel_arguments[..],
                &machine.kernel_arguments[..],
            ]
            .concat(),
            copy_on_write: machine
                .copy_on_write
                .or(defaults.copy_on_write)
                .unwrap_or_default(),
            jailer: machine.jailer.or(defaults.jailer).unwrap_or_default(),
            balloon: machine.balloon.or(defaults.balloon).unwrap_or_default(),
            ssh: self.ssh(at, backend, machine.ssh.as_ref()),
            script: None,
            independent: machine.independent,
        }
    }

    fn memory(&mut self, at: &At<'_>, given: Option<Size>) {
        let Some(memory) = given else { return };
        let (label, help) = if memory < MEMORY_MIN {
            (
                "less than the bare guest needs",
                format!("write \"{MEMORY_MIN}\" or more"),
            )
        } else if memory > MEMORY_MAX {
            (
                "more than any host has",
                format!("write \"{MEMORY_MAX}\" or less"),
            )
        } else if !memory.bytes().is_multiple_of(MIB) {
            let near = Size::from_mib(memory.bytes().div_ceil(MIB));
            ("no multiple of 1 MiB", format!("write \"{near}\""))
        } else {
            return;
        };
        let problem = at.problem(format!("{memory} of memory is impossible"));
        self.problems.push(problem.label(label).help(help));
    }

    fn vcpus(&mut self, at: &At<'_>, given: Option<u32>) {
        if let Some(vcpus) = given.filter(|vcpus| !(1..=VCPUS_MAX).contains(vcpus)) {
            let problem = at.problem(format!("{vcpus} virtual CPUs are impossible"));
            self.problems.push(
                problem
                    .label(format!("1 to {VCPUS_MAX}"))
                    .help("write `vcpus = 2`"),
            );
        }
    }

    fn kernel_arguments(&mut self, at: &At<'_>, arguments: &[String]) {
        for (index, argument) in arguments.iter().enumerate() {
            if argument.is_empty() || argument.chars().any(char::is_control) {
                let problem = at
                    .index(index)
                    .problem("a kernel argument is empty or has control characters");
                self.problems.push(problem);
            }
        }
    }

    /// What is written beside an `image` and a `kernel`, of a machine or of the defaults.
    fn image(
        &mut self,
        beside: &At<'_>,
        image: Option<&Image>,
        kernel: Option<&Kernel>,
        systems: &[Arc<SystemPlan>],
    ) -> ImagePlan {
        let mut plan = ImagePlan {
            kernel: self.kernel(&beside.key("kernel"), kernel, false),
            ..ImagePlan::default()
        };
        let at_image = beside.key("image");
        match image {
            Some(Image::Name(name)) if name != BARE => {
                plan.system = systems.iter().find(|system| system.name == *name).cloned();
                // One that is there, but has no plan, was reported.
                if !self.file.images.contains_key(name) {
                    self.unknown_image(&at_image, name);
                }
            }
            Some(Image::Files(files)) => {
                if let Some(path) = &files.kernel {
                    let at = at_image.key("kernel");
                    if kernel.is_some() {
                        let problem = at_image
                            .key("kernel")
                            .key_problem("the kernel is given twice")
                            .label("here");
                        let other = beside.key("kernel").place();
                        self.problems.push(
                            problem
                                .related(other, Part::Key, "and here")
                                .help("leave one out"),
                        );
                    }
                    plan.kernel = KernelPlan::Path(self.existing_file(&at, path));
                }
                plan.initrd = files
                    .initrd
                    .as_ref()
                    .map(|path| self.existing_file(&at_image.key("initrd"), path));
            }
            Some(Image::Name(_)) | None => {}
        }
        plan
    }

    fn unknown_image(&mut self, at: &At<'_>, name: &str) {
        let known = self.file.images.keys().map(String::as_str);
        let help = did_you_mean(name, "there is", known.chain([BARE]));
        let problem = at.problem(format!("there is no image `{}`", shortened(name)));
        self.problems
            .push(problem.label("not in `[images]`").maybe_help(help));
    }

    /// A machine's own image and kernel each replace the default one; an image's kernel comes
    /// after both.
    fn merged_image(machine: &Machine, own: ImagePlan, default: &ImagePlan) -> ImagePlan {
        let mut plan = if machine.image.is_some() {
            own
        } else {
            ImagePlan {
                kernel: own.kernel,
                ..default.clone()
            }
        };
        // `kernel = "auto"` of the machine undoes the default.
        if plan.kernel == KernelPlan::Auto && machine.kernel.is_none() {
            let of_image = plan.system.as_ref().map(|system| system.kernel.clone());
            plan.kernel = match &default.kernel {
                KernelPlan::Auto => of_image.unwrap_or_default(),
                kernel => kernel.clone(),
            };
        }
        // It has modules of the image's own kernel, and is of no use with another.
        if let Some(system) = &plan.system
            && plan.kernel == system.kernel
        {
            plan.initrd.clone_from(&system.initrd);
        }
        plan
    }

    fn ssh(&mut self, at: &At<'_>, backend: Backend, ssh: Option<&Ssh>) -> Option<SshPlan> {
        match (backend, ssh) {
            (Backend::Ssh, None) => {
                let problem = at.key_problem("`backend = \"ssh\"` needs to know the host");
                self.problems
                    .push(problem.help("add `ssh = { host = \"…\" }`"));
                None
            }
            // Of another backend it is kept, for `--backend ssh`.
            (_, Some(ssh)) => {
                // OpenSSH would take it for an option.
                if ssh.host.is_empty() || ssh.host.starts_with('-') {
                    self.problems.push(
                        at.key("ssh")
                            .key("host")
                            .problem("this is no name of a host"),
                    );
                }
                Some(SshPlan {
                    host: ssh.host.clone(),
                    port: ssh.port,
                    user: ssh.user.clone(),
                    identity: ssh
                        .identity
                        .as_ref()
                        .map(|path| self.existing_file(&at.key("ssh").key("identity"), path)),
                    options: ssh.options.clone(),
                })
            }
            (_, None) => None,
        }
    }

    pub(super) fn files(
        &mut self,
        at: &At<'_>,
        files: &IndexMap<String, FileEntry>,
    ) -> Vec<FilePlan> {
        let mut seen: HashMap<PathBuf, &str> = HashMap::with_capacity(files.len());
        let mut plans = Vec::with_capacity(files.len());
        for (path, entry) in files {
            let here = at.key(path);
            let guest = self.guest_path(&here, Path::new(path), true);
            // Components leave out `//` and `/.`, and so name what the path means.
            let meant: PathBuf = guest.components().collect();
            if let Some(first) = seen.insert(meant, path) {
                let problem = here.key_problem(format!("`{}` is given twice", shortened(path)));
                let problem = problem.label("the same path again");
                self.problems
                    .push(problem.related(at.key(first).place(), Part::Key, "the first"));
            }
            let Some((content, mode)) = self.file(&here, entry) else {
                continue;
            };
            plans.push(FilePlan {
                path: guest,
                content,
                mode,
            });
        }
        plans
    }

    fn file(&mut self, at: &At<'_>, entry: &FileEntry) -> Option<(FileContent, Option<u32>)> {
        let table = match entry {
            FileEntry::Text(text) => return Some((FileContent::Text(text.clone()), None)),
            FileEntry::Table(table) => table,
        };
        let mode = table
            .mode
            .as_ref()
            .and_then(|text| self.mode(&at.key("mode"), text));
        let content = match (&table.source, &table.text) {
            (Some(source), None) => FileContent::Source(self.existing(&at.key("source"), source)),
            (None, Some(text)) => FileContent::Text(text.clone()),
            _ => {
                let problem = at.problem("a file has exactly one of `source` and `text`");
                self.problems
                    .push(problem.help("write `{ source = \"./app\" }` or `{ text = \"…\" }`"));
                return None;
            }
        };
        Some((content, mode))
    }

    fn mode(&mut self, at: &At<'_>, text: &str) -> Option<u32> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let mode = u32::from_str_radix(digits, 8)
            .ok()
            .filter(|mode| plain && *mode <= 0o7777);
        if mode.is_none() {
            let problem = at.problem(format!("`{}` is no mode", shortened(text)));
            self.problems.push(
                problem
                    .label("octal, at most 7777")
                    .help("write it as \"0644\" or \"0755\""),
            );
        }
        mode
    }

    fn disks(&mut self, at: &At<'_>, disks: &[Disk]) -> Vec<DiskPlan> {
        let mut plans = Vec::with_capacity(disks.len());
        for (index, disk) in disks.iter().enumerate() {
            let at = at.index(index);
            let content = match (disk.size, &disk.source) {
                (Some(size), None) => {
                    if size.bytes() == 0 || !size.bytes().is_multiple_of(SECTOR) {
                        let problem = at
                            .key("size")
                            .problem(format!("a disk of {size} is impossible"));
                        self.problems.push(problem.help("write a size, as \"1G\""));
                    }
                    if disk.read_only {
                        let problem = at
                            .key("read-only")
                            .problem("an empty disk that cannot be written has no use");
                        self.problems
                            .push(problem.help("leave `read-only` out, or give a `source`"));
                    }
                    DiskContent::Empty(size.bytes())
                }
                (None, Some(source)) => {
                    DiskContent::Source(self.existing_file(&at.key("source"), source))
                }
                _ => {
                    let problem = at.problem("a disk has exactly one of `size` and `source`");
                    self.problems.push(
                        problem.help("write `{ size = \"1G\" }` or `{ source = \"disk.raw\" }`"),
                    );
                    continue;
                }
            };
            plans.push(DiskPlan {
                content,
                read_only: disk.read_only,
                rate: self.rate(&at.key("rate"), disk.rate),
            });
        }
        plans
    }
}

fn owned((name, value): (&String, &String)) -> (String, String) {
    (name.clone(), value.clone())
}
