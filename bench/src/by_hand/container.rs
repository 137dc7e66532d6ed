//! Containers: the image mounted, an overlay in memory over it, and systemd-nspawn in control groups of its own.

use std::fs;
use std::io::PipeReader;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use attest_fixture::GuestFile;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Result;

const OPTIONS: [&str; 9] = [
    "--boot",
    "--register=no",
    "--keep-unit",
    "--settings=no",
    "--resolv-conf=off",
    "--timezone=off",
    "--link-journal=no",
    "--suppress-sync=yes",
    "--no-pager",
];
/// As attest has it: what is set of a network that is the container's own.
const WRITABLE: (&str, &str) = ("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "network");
/// Becomes systemd-nspawn, in control groups of its own: with `--keep-unit` it takes its caller's.
const IN_GROUPS: &str = r#"while [ "$1" != -- ]; do echo 0 > "$1/cgroup.procs"; shift; done
shift; exec systemd-nspawn "$@""#;

/// Mount an image in this directory; where it is.
pub(crate) fn mount_image(place: &Path, image: &Path) -> Result<PathBuf> {
    let lower = place.join("image");
    fs::create_dir(&lower)?;
    // By the program, which makes a loop device where the kernel needs one.
    let mounted = Command::new("mount")
        .args(["-t", "erofs", "-o", "ro"])
        .args([image, &lower])
        .status()?;
    if !mounted.success() {
        return Err("the image cannot be mounted by hand".into());
    }
    Ok(lower)
}

/// Memory over what is mounted there, under this name in the directory; the root of both.
pub(crate) fn overlay(place: &Path, lower: &Path, name: &str) -> Result<PathBuf> {
    let own = place.join(name);
    fs::create_dir(&own)?;
    let mode = Some("mode=0755");
    mount(Some("by-hand"), &own, Some("tmpfs"), MsFlags::empty(), mode)?;
    let [upper, work, root] = ["upper", "work", "root"].map(|part| own.join(part));
    for directory in [&upper, &work, &root] {
        fs::create_dir(directory)?;
    }
    let layers = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        upper.display(),
        work.display()
    );
    mount(
        Some("by-hand"),
        &root,
        Some("overlay"),
        MsFlags::empty(),
        Some(layers.as_str()),
    )?;
    Ok(root)
}

/// A container that runs; it ends with this.
pub(crate) struct Container {
    nspawn: Child,
    groups: Vec<PathBuf>,
}

impl Container {
    /// Start one of this root, with options beside its own, and nowhere to write to.
    pub(crate) fn start(root: &Path, name: &str, more: &[String]) -> Result<Self> {
        Self::spawn(root, name, more, "pipe", [Stdio::null(), Stdio::null()])
    }

    /// The same with what its console says, and systemd-nspawn.
    pub(crate) fn with_console(
        root: &Path,
        name: &str,
        more: &[String],
    ) -> Result<(Self, PipeReader)> {
        let (console, end) = std::io::pipe()?;
        let ends = [end.try_clone()?.into(), end.into()];
        let container = Self::spawn(root, name, more, "read-only", ends)?;
        Ok((container, console))
    }

    /// Its stdout and stderr are these.
    fn spawn(
        root: &Path,
        name: &str,
        more: &[String],
        console: &str,
        [stdout, stderr]: [Stdio; 2],
    ) -> Result<Self> {
        let name = format!("attest-bench-{}-{name}", std::process::id());
        let groups: Vec<PathBuf> = hierarchies()?
            .into_iter()
            .map(|hierarchy| hierarchy.join(&name))
            .collect();
        for group in &groups {
            fs::create_dir(group)?;
        }
        let nspawn = Command::new("sh")
            .args(["-c", IN_GROUPS, "sh"])
            .args(&groups)
            .arg("--")
            .args(OPTIONS)
            .arg(format!("--console={console}"))
            .arg(format!("--machine={name}"))
            .arg(format!("--directory={}", root.display()))
            .args(more)
            .env(WRITABLE.0, WRITABLE.1)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()?;
        Ok(Self { nspawn, groups })
    }

    /// Kill what is in it, and let it end; whether there was something. systemd-nspawn ends with its container, and then
    /// all that was in the container has ended; killed before, it would leave that running.
    pub(crate) fn kill(&self) -> bool {
        let inits: Vec<i32> = self.inits().collect();
        for init in &inits {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(*init), Signal::SIGKILL);
        }
        !inits.is_empty()
    }

    /// Of the container: the one child that systemd-nspawn has, once it has it.
    pub(super) fn inits(&self) -> impl Iterator<Item = i32> {
        let nspawn = self.nspawn.id();
        let children = fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children"));
        let children = children.unwrap_or_default();
        let numbers: Vec<i32> = children
            .split_whitespace()
            .filter_map(|number| number.parse().ok())
            .collect();
        numbers.into_iter()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if !self.kill() {
            let _ = self.nspawn.kill();
        }
        let _ = self.nspawn.wait();
        for group in &self.groups {
            remove(group);
        }
    }
}

/// A control group and all below it.
fn remove(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

/// Where our own control groups are, in the hierarchies that systemd uses.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let top = Path::new("/sys/fs/cgroup");
    let unified = Some(top.join("unified"))
        .filter(|path| path.is_dir())
        .unwrap_or_else(|| top.to_owned());
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let places = groups.lines().filter_map(|line| {
        let (_, line) = line.split_once(':')?;
        let (controllers, group) = line.split_once(':')?;
        let hierarchy = match controllers {
            "" => unified.clone(),
            "name=systemd" => top.join("systemd"),
            _ => return None,
        };
        Some(hierarchy.join(group.trim_start_matches('/')))
    });
    Ok(places.collect())
}

/// Put files into a root, in the place of what is there.
pub(crate) fn put(root: &Path, files: &[GuestFile]) -> Result<()> {
    for file in files {
        let path = root.join(file.path.trim_start_matches('/'));
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        // Through a link that is there, it would be written elsewhere: perhaps to this host.
        if path.is_symlink() {
            fs::remove_file(&path)?;
        }
        fs::write(&path, &file.contents)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))?;
    }
    Ok(())
}
