//! Containers as one starts them without attest: the image mounted, an overlay in memory over it,
//! and systemd-nspawn with the options that attest gives it, but for the agent.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Result;

const OPTIONS: [&str; 11] = [
    "--boot",
    "--register=no",
    "--keep-unit",
    "--settings=no",
    "--resolv-conf=off",
    "--timezone=off",
    "--link-journal=no",
    "--suppress-sync=yes",
    "--console=pipe",
    "--private-network",
    "--no-pager",
];
/// Becomes systemd-nspawn, in control groups of its own: with `--keep-unit` it takes its caller's.
const IN_GROUPS: &str = r#"while [ "$1" != -- ]; do echo 0 > "$1/cgroup.procs"; shift; done
shift; exec systemd-nspawn "$@""#;
/// Between two looks at a port. A look costs a tenth of it.
const PAUSE: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_mins(1);

/// What it takes until this port is open in so many containers that are started at once. The
/// mounts are those of a thread, and go with it.
pub(crate) fn until_serving(image: &Path, containers: usize, port: u16) -> Result<Duration> {
    // Removed by who does not see the mounts in it.
    let place = tempfile::tempdir()?;
    std::thread::scope(|scope| {
        let work = scope.spawn(|| in_own_mounts(place.path(), image, containers, port));
        work.join().map_err(|_| "the thread panicked")?
    })
}

fn in_own_mounts(place: &Path, image: &Path, containers: usize, port: u16) -> Result<Duration> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)?;
    let began = Instant::now();
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
    let started: Result<Vec<_>> = (0..containers)
        .map(|number| Container::start(place, &lower, number))
        .collect();
    let started = started?;
    while !started.iter().all(|container| container.serves(port)) {
        if began.elapsed() > PATIENCE {
            return Err("the containers that were started by hand do not serve".into());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(began.elapsed())
}

/// A container that runs; it ends with this.
struct Container {
    nspawn: Child,
    groups: Vec<PathBuf>,
}

impl Container {
    fn start(place: &Path, lower: &Path, number: usize) -> Result<Self> {
        let own = place.join(number.to_string());
        fs::create_dir(&own)?;
        mount(
            Some("by-hand"),
            &own,
            Some("tmpfs"),
            MsFlags::empty(),
            Some("mode=0755"),
        )?;
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
        let name = format!("attest-bench-{}-{number}", std::process::id());
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
            .arg(format!("--machine={name}"))
            .arg(format!("--directory={}", root.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { nspawn, groups })
    }

    /// Whether somebody listens at this port. The kernel tells it of every network namespace, so
    /// no program has to be started in the container.
    fn serves(&self, port: u16) -> bool {
        let own = fs::read_link("/proc/self/ns/net").ok();
        self.inits().any(|init| {
            let is_own = fs::read_link(format!("/proc/{init}/ns/net")).ok() == own;
            let sockets = fs::read_to_string(format!("/proc/{init}/net/tcp"));
            !is_own && sockets.is_ok_and(|sockets| listens(&sockets, port))
        })
    }

    /// Of the container: the one child that systemd-nspawn has, once it has it.
    fn inits(&self) -> impl Iterator<Item = i32> {
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
        // systemd-nspawn ends with its container, and then all that was in the container has ended;
        // killed before, it would leave that running.
        let inits: Vec<i32> = self.inits().collect();
        for init in &inits {
            let _ = kill(Pid::from_raw(*init), Signal::SIGKILL);
        }
        if inits.is_empty() {
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

/// In the form of proc_pid_net(5).
fn listens(sockets: &str, port: u16) -> bool {
    const LISTEN: &str = "0A";
    let port = format!(":{port:04X}");
    sockets.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().unwrap_or_default();
        local.ends_with(&port) && fields.nth(1) == Some(LISTEN)
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_sockets_that_listen_at_the_port_count() {
        let line = |local: &str, state: &str| {
            format!("   0: 00000000:{local} 00000000:0000 {state} 00000000:00000000 00:00000000")
        };
        assert!(super::listens(&line("0050", "0A"), 80));
        assert!(!super::listens(&line("0050", "01"), 80));
        assert!(!super::listens(&line("1F90", "0A"), 80));
        assert!(!super::listens("  sl  local_address rem_address   st", 80));
    }
}
