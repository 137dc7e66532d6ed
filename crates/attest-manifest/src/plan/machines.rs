//! Machines: sizes, images, files and disks.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::cards::Owners;
use super::planner::{Planner, shortened};
use super::{DiskContent, DiskPlan, FileContent, FilePlan, ImagePlan, MachinePlan, NetworkPlan};
use crate::model::{Defaults, Disk, FileEntry, Image, Kernel, Machine, Size};
use crate::problem::{At, Part, did_you_mean};

/// Each has its own VMM; more are a mistake, and every network has a card for each.
const MACHINES_MAX: usize = 1024;
const MIB: u64 = 1024 * 1024;
const MEMORY_DEFAULT: Size = Size::from_mib(256);
/// Kernel, initramfs and agent of the bare guest need this much to boot.
const MEMORY_MIN: Size = Size::from_mib(64);
/// More than any host that runs tests has.
const MEMORY_MAX: Size = Size::from_mib(16 * 1024 * 1024);
/// The limit of an x86 guest without interrupt remapping.
const VCPUS_MAX: u32 = 255;
/// A virtio disk counts in sectors of this many bytes.
const SECTOR: u64 = 512;
/// The built-in guests.
const IMAGES: &[&str] = &["bare"];

impl<'a> Planner<'a> {
    pub(super) fn machines(&mut self, networks: &[NetworkPlan]) -> Vec<MachinePlan> {
        let file = self.file;
        let root = At::default();
        let machines = root.key("machines");
        self.defaults(&root.key("defaults"));
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
                let cards = self.cards(&at, name, number, networks, &mut owners);
                self.machine(&at, name, number, machine, cards)
            })
            .collect()
    }

    /// What is wrong in `[defaults]` is reported there, once.
    fn defaults(&mut self, at: &At<'_>) {
        let defaults: &'a Defaults = &self.file.defaults;
        self.memory(&at.key("memory"), defaults.memory);
        self.vcpus(&at.key("vcpus"), defaults.vcpus);
        self.image(at, defaults.image.as_ref(), defaults.kernel.as_ref());
        self.environment(&at.key("environment"), &defaults.environment);
        self.kernel_arguments(&at.key("kernel-arguments"), &defaults.kernel_arguments);
    }

    fn machine(
        &mut self,
        at: &At<'_>,
        name: &str,
        number: u32,
        machine: &Machine,
        cards: Vec<super::CardPlan>,
    ) -> MachinePlan {
        let defaults: &'a Defaults = &self.file.defaults;
        self.memory(&at.key("memory"), machine.memory);
        self.vcpus(&at.key("vcpus"), machine.vcpus);
        self.environment(&at.key("environment"), &machine.environment);
        self.kernel_arguments(&at.key("kernel-arguments"), &machine.kernel_arguments);
        let image = self.image(at, machine.image.as_ref(), machine.kernel.as_ref());
        MachinePlan {
            name: name.to_owned(),
            number,
            backend: machine.backend.or(defaults.backend).unwrap_or_default(),
            image: self.merged_image(machine, image),
            machine_type: machine
                .machine_type
                .or(defaults.machine_type)
                .unwrap_or_default(),
            accelerator: machine
                .accelerator
                .or(defaults.accelerator)
                .unwrap_or_default(),
            memory: machine
                .memory
                .or(defaults.memory)
                .unwrap_or(MEMORY_DEFAULT)
                .bytes(),
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

    fn image(
        &mut self,
        beside: &At<'_>,
        image: Option<&Image>,
        kernel: Option<&Kernel>,
    ) -> ImagePlan {
        let mut plan = ImagePlan::default();
        if let Some(Kernel(path)) = kernel.filter(|kernel| kernel.0 != "auto") {
            plan.kernel = Some(self.existing_file(&beside.key("kernel"), Path::new(path)));
        }
        let at_image = beside.key("image");
        match image {
            Some(Image::Name(name)) if !IMAGES.contains(&name.as_str()) => {
                let help = did_you_mean(name, "there is", IMAGES.iter().copied());
                let problem = at_image.problem(format!("there is no image `{}`", shortened(name)));
                self.problems
                    .push(problem.label("unknown").maybe_help(help));
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
                    plan.kernel = Some(self.existing_file(&at, path));
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

    /// A machine's own image and kernel each replace the default one.
    fn merged_image(&self, machine: &Machine, own: ImagePlan) -> ImagePlan {
        let defaults = &self.file.defaults;
        let default_files = match (&machine.image, &defaults.image) {
            (None, Some(Image::Files(files))) => Some(files),
            _ => None,
        };
        let path = |path: &PathBuf| self.resolve(path);
        let default_kernel = || match (&machine.kernel, &defaults.kernel) {
            // `kernel = "auto"` of the machine undoes the default.
            (Some(_), _) => None,
            (None, Some(Kernel(path))) if path != "auto" => Some(self.resolve(Path::new(path))),
            _ => default_files
                .and_then(|files| files.kernel.as_ref())
                .map(path),
        };
        let default_initrd = || {
            default_files
                .and_then(|files| files.initrd.as_ref())
                .map(path)
        };
        ImagePlan {
            kernel: own.kernel.or_else(default_kernel),
            initrd: own.initrd.or_else(default_initrd),
        }
    }

    fn files(&mut self, at: &At<'_>, files: &IndexMap<String, FileEntry>) -> Vec<FilePlan> {
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
            });
        }
        plans
    }
}

fn owned((name, value): (&String, &String)) -> (String, String) {
    (name.clone(), value.clone())
}
