//! Images: one source each, and what is added to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::FilePlan;
use super::planner::{Planner, shortened};
use crate::model::{Debian, ImageDefinition, Kernel, Profile, RootFormat, Units, User};
use crate::problem::At;

/// What nobody gives.
const SUITE: &str = "stable";
const COMPONENT: &str = "main";
/// The name of the built-in guest.
pub(super) const BARE: &str = "bare";
/// Linux takes no greater number for a user, and -1 means none.
const ID_MAX: u32 = u32::MAX - 1;

/// A system, ready to be built, or ready-made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SystemPlan {
    /// As in the manifest.
    pub name: String,
    /// Where it comes from.
    pub source: SourcePlan,
    /// How much of it starts.
    pub profile: Profile,
    /// By their names; to be added first.
    pub users: Vec<(String, User)>,
    /// To be added next.
    pub files: Vec<FilePlan>,
    /// What becomes of units then.
    pub units: Units,
    /// Shell commands to run in it at last.
    pub run: Vec<String>,
    /// Its file system, when it is built.
    pub format: RootFormat,
    /// For virtual machines that name none themselves.
    pub kernel: KernelPlan,
    /// Absolute path of an initramfs for that kernel; `None`: made.
    pub initrd: Option<PathBuf>,
    /// Absolute path in it; `None`: looked for.
    pub init: Option<String>,
    /// Absolute path of what it makes when commands can run; `None`: they can before its init does.
    pub ready: Option<String>,
    /// Of a ready-made disk; `None`: the whole disk.
    pub partition: Option<u32>,
}

/// Where a system comes from. Paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourcePlan {
    /// `mmdebstrap`.
    Debian(DebianPlan),
    /// A directory of the host.
    Directory(PathBuf),
    /// An archive.
    Tar(PathBuf),
    /// An OCI image layout, or what `docker save` wrote.
    Oci(PathBuf),
    /// A closure in a Nix store.
    Nix(PathBuf),
    /// A ready disk.
    Disk(PathBuf),
}

/// A Debian.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebianPlan {
    /// The release's name.
    pub suite: String,
    /// Beside those of a minimal system.
    pub packages: Vec<String>,
    /// `None`: the host's own sources for this suite, else Debian's mirror.
    pub mirror: Option<String>,
    /// Of the archive.
    pub components: Vec<String>,
}

/// Which kernel a system runs on in a virtual machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum KernelPlan {
    /// The host's, or one that is fetched.
    #[default]
    Auto,
    /// The newest of the system's own.
    Image,
    /// This one; absolute.
    Path(PathBuf),
}

impl Planner<'_> {
    pub(super) fn images(&mut self) -> Vec<Arc<SystemPlan>> {
        let file = self.file;
        let root = At::default();
        let images = root.key("images");
        let mut plans = Vec::with_capacity(file.images.len());
        for (name, image) in &file.images {
            let at = images.key(name);
            self.host_name(&at, name, "image");
            if name == BARE {
                let problem = at.key_problem("`bare` is the built-in guest's name");
                self.problems.push(problem.label("choose another name"));
            }
            if let Some(plan) = self.system(&at, name, image) {
                plans.push(Arc::new(plan));
            }
        }
        plans
    }

    fn system(&mut self, at: &At<'_>, name: &str, image: &ImageDefinition) -> Option<SystemPlan> {
        let source = self.source(at, image);
        let users = at.key("users");
        for (name, user) in &image.users {
            self.user(&users.key(name), name, user);
        }
        let files = self.files(&at.key("files"), &image.files);
        let units = at.key("units");
        let Units {
            enable,
            disable,
            mask,
        } = &image.units;
        for (key, list) in [("enable", enable), ("disable", disable), ("mask", mask)] {
            self.units(&units.key(key), list);
        }
        self.commands(&at.key("run"), &image.run);
        let in_guest = [("init", &image.init), ("ready", &image.ready)];
        for (key, path) in in_guest {
            if let Some(path) = path {
                self.guest_path(&at.key(key), Path::new(path), false);
            }
        }
        let kernel = self.kernel(&at.key("kernel"), image.kernel.as_ref(), true);
        let initrd = self.initrd(at, image.initrd.as_deref(), &kernel);
        let source = source?;
        self.only_for_disks(at, image, &source);
        Some(SystemPlan {
            name: name.to_owned(),
            profile: image.profile.unwrap_or(match source {
                SourcePlan::Debian(_) => Profile::Lean,
                _ => Profile::Full,
            }),
            source,
            users: image
                .users
                .iter()
                .map(|(name, user)| (name.clone(), user.clone()))
                .collect(),
            files,
            units: image.units.clone(),
            run: image.run.clone(),
            format: image.format.unwrap_or_default(),
            kernel,
            initrd,
            init: image.init.clone(),
            ready: image.ready.clone(),
            partition: image.partition,
        })
    }

    fn source(&mut self, at: &At<'_>, image: &ImageDefinition) -> Option<SourcePlan> {
        let sources = [
            ("debian", image.debian.is_some()),
            ("directory", image.directory.is_some()),
            ("tar", image.tar.is_some()),
            ("oci", image.oci.is_some()),
            ("nix", image.nix.is_some()),
            ("disk", image.disk.is_some()),
        ];
        let source = self.exactly_one(at, "an image", "source", &sources)?;
        let here = at.key(source);
        let path = |given: &Option<PathBuf>| given.clone().unwrap_or_default();
        Some(match source {
            "debian" => SourcePlan::Debian(self.debian(&here, image.debian.as_ref()?)),
            "directory" => {
                let given = path(&image.directory);
                let directory = self.existing(&here, &given);
                if directory.is_file() {
                    let problem = here.problem(format!("`{}` is no directory", given.display()));
                    self.problems
                        .push(problem.label("a file").help("is it a `tar`?"));
                }
                SourcePlan::Directory(directory)
            }
            "tar" => SourcePlan::Tar(self.existing_file(&here, &path(&image.tar))),
            "oci" => SourcePlan::Oci(self.existing(&here, &path(&image.oci))),
            "nix" => SourcePlan::Nix(self.existing(&here, &path(&image.nix))),
            _ => SourcePlan::Disk(self.existing_file(&here, &path(&image.disk))),
        })
    }

    /// An initramfs has modules of one kernel, so that one must be named.
    fn initrd(
        &mut self,
        at: &At<'_>,
        initrd: Option<&Path>,
        kernel: &KernelPlan,
    ) -> Option<PathBuf> {
        let at = at.key("initrd");
        let initrd = self.existing_file(&at, initrd?);
        if !matches!(kernel, KernelPlan::Path(_)) {
            let problem = at.key_problem("an `initrd` belongs to one kernel, and none is given");
            self.problems
                .push(problem.help("add `kernel = \"…\"` with the kernel that it was made for"));
        }
        Some(initrd)
    }

    fn debian(&mut self, at: &At<'_>, debian: &Debian) -> DebianPlan {
        let legal = |each: char| each.is_ascii_alphanumeric() || "-._/".contains(each);
        let word =
            |text: &str| !text.is_empty() && !text.starts_with('-') && text.chars().all(legal);
        if let Some(suite) = debian.suite.as_ref().filter(|suite| !word(suite)) {
            let problem = at
                .key("suite")
                .problem(format!("`{}` is no name of a release", shortened(suite)));
            self.problems
                .push(problem.help("write `suite = \"bookworm\"`"));
        }
        let packages = at.key("packages");
        for (index, package) in debian.packages.iter().enumerate() {
            // As Debian's policy has it, 5.6.1; a version may follow.
            let name = package.split(['=', ':']).next().unwrap_or_default();
            let first =
                name.starts_with(|each: char| each.is_ascii_lowercase() || each.is_ascii_digit());
            let rest = name.chars().all(|each| {
                each.is_ascii_lowercase() || each.is_ascii_digit() || "+-.".contains(each)
            });
            let whole = package
                .chars()
                .all(|each| each.is_ascii_graphic() && each != ',');
            if !(first && rest && whole) {
                let problem = packages
                    .index(index)
                    .problem(format!("`{}` is no name of a package", shortened(package)));
                self.problems.push(problem);
            }
        }
        let components = at.key("components");
        for (index, component) in debian.components.iter().enumerate() {
            if !word(component) {
                let problem = components.index(index).problem("this is no component");
                self.problems
                    .push(problem.help("write `components = [\"main\", \"contrib\"]`"));
            }
        }
        if let Some(mirror) = debian.mirror.as_ref().filter(|mirror| {
            !mirror.contains("://")
                || mirror
                    .chars()
                    .any(|each| each.is_whitespace() || each.is_control())
        }) {
            let problem = at
                .key("mirror")
                .problem(format!("`{}` is no address of a mirror", shortened(mirror)));
            self.problems
                .push(problem.help("it begins as `http://` or `file://`"));
        }
        let components = if debian.components.is_empty() {
            vec![COMPONENT.to_owned()]
        } else {
            debian.components.clone()
        };
        DebianPlan {
            suite: debian.suite.clone().unwrap_or_else(|| SUITE.to_owned()),
            packages: debian.packages.clone(),
            mirror: debian.mirror.clone(),
            components,
        }
    }

    fn user(&mut self, at: &At<'_>, name: &str, user: &User) {
        let legal = |each: char| {
            each.is_ascii_lowercase() || each.is_ascii_digit() || each == '-' || each == '_'
        };
        let begins = name.starts_with(|each: char| each.is_ascii_lowercase() || each == '_');
        // useradd(8), CAVEATS.
        if !begins || name.len() > 32 || !name.chars().all(legal) {
            let problem = at.key_problem(format!("`{}` is no name of a user", shortened(name)));
            self.problems
                .push(problem.label(
                    "lowercase letters, digits, `-` and `_`, at most 32, not first a digit",
                ));
        }
        for (key, id) in [("uid", user.uid), ("gid", user.gid)] {
            if id.is_some_and(|id| id > ID_MAX) {
                self.problems
                    .push(at.key(key).problem("no user or group has this number"));
            }
        }
        for (key, path) in [("home", &user.home), ("shell", &user.shell)] {
            if let Some(path) = path {
                self.guest_path(&at.key(key), Path::new(path), false);
                self.no_record(&at.key(key), path);
            }
        }
        if let Some(hash) = &user.password_hash {
            self.no_record(&at.key("password-hash"), hash);
        }
        let groups = at.key("groups");
        for (index, group) in user.groups.iter().enumerate() {
            if group.is_empty() {
                self.problems
                    .push(groups.index(index).problem("an empty name of a group"));
            }
            self.no_record(&groups.index(index), group);
        }
    }

    /// What would be more than one field, or line, of `/etc/passwd`.
    fn no_record(&mut self, at: &At<'_>, text: &str) {
        if text.contains(':') || text.chars().any(char::is_control) {
            self.problems
                .push(at.problem("`:` and control characters cannot stand here"));
        }
    }

    fn units(&mut self, at: &At<'_>, units: &[String]) {
        for (index, unit) in units.iter().enumerate() {
            self.unit_name(&at.index(index), unit);
        }
    }

    /// The name of a unit of systemd: no path, and nothing that a shell or a line would end at.
    pub(super) fn unit_name(&mut self, at: &At<'_>, unit: &str) {
        // systemd.unit(5): letters, digits, and these.
        let legal = |each: char| each.is_ascii_alphanumeric() || ":-_.\\@".contains(each);
        if unit.is_empty() || unit.len() > 255 || !unit.chars().all(legal) {
            let problem = at.problem(format!("`{}` is no name of a unit", shortened(unit)));
            self.problems
                .push(problem.help("write it as `nginx.service`"));
        }
    }

    fn commands(&mut self, at: &At<'_>, commands: &[String]) {
        for (index, command) in commands.iter().enumerate() {
            if command.trim().is_empty() || command.contains('\0') {
                let problem = at
                    .index(index)
                    .problem("a command is empty or has a NUL in it");
                self.problems.push(problem);
            }
        }
    }

    /// What a disk that is ready cannot be given, and what only it has.
    fn only_for_disks(&mut self, at: &At<'_>, image: &ImageDefinition, source: &SourcePlan) {
        let is_disk = matches!(source, SourcePlan::Disk(_));
        let built = [
            ("profile", image.profile.is_some()),
            ("users", !image.users.is_empty()),
            ("files", !image.files.is_empty()),
            ("units", image.units != Units::default()),
            ("run", !image.run.is_empty()),
            ("format", image.format.is_some()),
        ];
        for (key, _) in built.iter().filter(|(_, given)| *given && is_disk) {
            let problem = at.key(key).key_problem(format!(
                "a `disk` is ready as it is: `{key}` cannot change it"
            ));
            self.problems.push(
                problem.help("give machines `files`, or make the image of a `directory` or `tar`"),
            );
        }
        if image.partition.is_some() && !is_disk {
            let problem = at
                .key("partition")
                .key_problem("only a `disk` has partitions");
            self.problems.push(problem.help("leave it out"));
        }
        if image.partition == Some(0) {
            self.problems.push(
                at.key("partition")
                    .problem("partitions are numbered from 1"),
            );
        }
    }

    /// A kernel as written; `"image"` only for images, which may bring one.
    pub(super) fn kernel(
        &mut self,
        at: &At<'_>,
        kernel: Option<&Kernel>,
        of_image: bool,
    ) -> KernelPlan {
        match kernel.map(|Kernel(text)| text.as_str()) {
            None | Some("auto") => KernelPlan::Auto,
            Some("image") if of_image => KernelPlan::Image,
            Some(path) => KernelPlan::Path(self.existing_file(at, Path::new(path))),
        }
    }
}
