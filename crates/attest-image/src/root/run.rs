//! Commands in a system that does not run: in a chroot, with mounts and processes of its own.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use crate::error::ImageError;
use crate::progress::Step;
use crate::sandbox::{Furnish, Sandboxed, is_root};
use crate::source;
use crate::tree::{Node, Owners, Tree, shown};

/// Lines of a command's output that an error shows.
const LINES: usize = 20;
/// Bytes of a line that are read.
const LONGEST_LINE: u64 = 4096;
/// Says where names are looked up: the host's, while commands run.
const RESOLVER: &str = "etc/resolv.conf";
/// Where the system is below the working directory.
const ROOT: &str = "root";
/// What a command sees as its environment, beside nothing.
const ENVIRONMENT: [(&str, &str); 4] = [
    (
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ),
    ("HOME", "/root"),
    ("LC_ALL", "C.UTF-8"),
    ("DEBIAN_FRONTEND", "noninteractive"),
];
/// The devices that any program may expect, and their numbers (Documentation/admin-guide/devices.txt).
const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// Run commands in a tree, each by `/bin/sh -e -c`, and give what the tree is afterwards. It is
/// unpacked into `directory`. They have the host's network, and none of its files.
///
/// # Errors
/// A command fails; attest is not root.
pub(super) fn commands(
    tree: &Tree,
    image: &str,
    commands: &[String],
    directory: &Path,
    progress: &mut dyn FnMut(Step),
) -> Result<Tree, ImageError> {
    if !is_root() {
        return Err(ImageError::NeedsRoot {
            image: image.to_owned(),
            what: "`run`",
        });
    }
    let work = tempfile::tempdir_in(directory);
    let work = work.map_err(ImageError::file(
        directory,
        "no directory can be made there",
    ))?;
    let root = work.path().join(ROOT);
    fs::create_dir(&root).map_err(ImageError::file(&root, "it cannot be made"))?;
    let resolver = Resolver::put(tree)?;
    resolver
        .tree
        .materialise("", &root, Owners::Kept, progress)?;
    for command in commands {
        progress(Step::new(format!(
            "running `{}`",
            shown(command.as_bytes())
        )));
        run(image, command, &root)?;
    }
    let after = source::temporary(work, Path::new(ROOT))?;
    resolver.take_away(after)
}

/// The host's resolver in the place of the tree's.
struct Resolver {
    /// With it.
    tree: Tree,
    own: Option<Node>,
    hosts: Vec<u8>,
}

impl Resolver {
    fn put(tree: &Tree) -> Result<Self, ImageError> {
        let own = tree.find(RESOLVER)?.map(|id| tree.node(id).clone());
        let hosts = fs::read("/etc/resolv.conf").unwrap_or_default();
        let mut tree = tree.clone();
        tree.insert(RESOLVER, Node::file(0o644, hosts.as_slice()))?;
        Ok(Self { tree, own, hosts })
    }

    /// Back to what it was, unless a command changed it.
    fn take_away(self, mut after: Tree) -> Result<Tree, ImageError> {
        let there = after.find(RESOLVER)?.map(|id| after.node(id));
        let contents = there.and_then(Node::contents);
        let most = self.hosts.len() as u64;
        let is_ours = contents
            .is_some_and(|contents| contents.read(most).is_ok_and(|bytes| bytes == self.hosts));
        match self.own {
            Some(own) if is_ours => drop(after.insert(RESOLVER, own)?),
            None if is_ours => drop(after.remove(RESOLVER)?),
            _ => {}
        }
        Ok(after)
    }
}

fn run(image: &str, command: &str, root: &Path) -> Result<(), ImageError> {
    let failed = || {
        ImageError::file(
            root,
            "the command's shell `/bin/sh` cannot be started there",
        )
    };
    let (output, writer) = io::pipe().map_err(failed())?;
    let errors = writer.try_clone().map_err(failed())?;
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-e", "-c", command])
        .env_clear()
        .envs(ENVIRONMENT)
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(errors);
    let running = Sandboxed::start(shell, Some(furnish(root).map_err(failed())?));
    let running = running.map_err(failed())?;
    // With the shell, PID 1 there, end all that hold the pipe: nothing can keep this waiting.
    let lines = last_lines(output).map_err(failed())?;
    let status = running.wait().map_err(failed())?;
    if status.success() {
        return Ok(());
    }
    Err(ImageError::Run {
        image: image.to_owned(),
        command: command.to_owned(),
        status,
        output: lines.into(),
    })
}

fn last_lines(output: impl Read) -> io::Result<VecDeque<String>> {
    let mut output = BufReader::new(output);
    let mut lines = VecDeque::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if output
            .by_ref()
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)?
            == 0
        {
            return Ok(lines);
        }
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(shown(line.trim_ascii_end()));
    }
}

/// Mounts in the system, which then becomes the root.
fn furnish(root: &Path) -> io::Result<Furnish> {
    for place in ["proc", "sys", "dev", "run"] {
        fs::create_dir_all(root.join(place))?;
    }
    let root = root.to_owned();
    let place = |name: &str| root.join(name);
    let (proc, sys, dev, runtime) = (place("proc"), place("sys"), place("dev"), place("run"));
    let devices = DEVICES.map(|(name, major, minor)| (dev.join(name), makedev(major, minor)));
    let links = [
        ("/proc/self/fd", dev.join("fd")),
        ("/proc/self/fd/0", dev.join("stdin")),
        ("/proc/self/fd/1", dev.join("stdout")),
        ("/proc/self/fd/2", dev.join("stderr")),
    ];
    Ok(Box::new(move || {
        let none = None::<&str>;
        let closed = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        let programs = closed | MsFlags::MS_NOEXEC;
        mount(Some("proc"), &proc, Some("proc"), programs, none)?;
        let read_only = programs | MsFlags::MS_RDONLY;
        mount(Some("sysfs"), &sys, Some("sysfs"), read_only, none)?;
        mount(
            Some("tmpfs"),
            &dev,
            Some("tmpfs"),
            MsFlags::MS_NOSUID,
            Some("mode=755"),
        )?;
        mount(
            Some("tmpfs"),
            &runtime,
            Some("tmpfs"),
            closed,
            Some("mode=755"),
        )?;
        let mode = Mode::from_raw_mode(0o666);
        for (path, number) in &devices {
            mknodat(CWD, path, FileType::CharacterDevice, mode, *number)?;
            // The mode of a new file loses what the umask has.
            rustix::fs::chmodat(CWD, path, mode, rustix::fs::AtFlags::empty())?;
        }
        for (target, path) in &links {
            rustix::fs::symlinkat(*target, CWD, path)?;
        }
        rustix::process::chroot(&root)?;
        rustix::process::chdir("/")?;
        Ok(())
    }))
}
