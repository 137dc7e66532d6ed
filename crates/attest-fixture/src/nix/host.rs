//! What this host has for builds in the sandbox.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use attest_image::{Cache, Kernel, KernelSource};

/// Directories of programs that the host's distribution installs.
const PROGRAMS: [&str; 2] = ["/usr/bin", "/bin"];

/// The programs and files that the stub's packages are made of.
#[derive(Debug)]
pub(super) struct Host {
    pub busybox: PathBuf,
    pub bash: PathBuf,
    pub kernel: Kernel,
}

impl Host {
    /// Find them.
    ///
    /// # Errors
    /// What is missing, for people.
    pub(super) fn find() -> Result<Self, String> {
        for program in ["qemu-system-x86_64", "python3"] {
            // Of the distribution: the sandbox sees nothing else.
            installed(&[program])?;
        }
        let cache = Cache::default_directory().and_then(|directory| Cache::open(&directory));
        let asked = std::env::var_os("ATTEST_KERNEL").map(PathBuf::from);
        let source = asked.map_or(KernelSource::Auto, KernelSource::Path);
        let kernel = cache.and_then(|cache| Kernel::find(&cache, &source, &mut |_| {}));
        Ok(Self {
            busybox: attest_image::bare::busybox().map_err(|error| error.to_string())?,
            bash: installed(&["bash-static"])?,
            kernel: kernel.map_err(|error| error.to_string())?,
        })
    }
}

fn installed(names: &[&str]) -> Result<PathBuf, String> {
    let places = names
        .iter()
        .flat_map(|name| PROGRAMS.map(|directory| Path::new(directory).join(name)));
    let found = places.into_iter().find(|path| path.exists());
    found.ok_or_else(|| format!("this host has no {}", names.join(" or ")))
}

/// Modules whose names have one of these in them, with what they need, are enough for guests here; a
/// kernel has thousands.
const MODULES: [&str; 8] = [
    "virtio", "erofs", "overlay", "ext4", "vsock", "9p", "failover", "fuse",
];

/// Copy the modules that guests need into `directory`/lib/modules/RELEASE.
pub(super) fn copy_modules(kernel: &Kernel, directory: &Path) -> io::Result<()> {
    let Some(from) = &kernel.modules else {
        return Ok(());
    };
    let to = directory.join("lib/modules").join(&kernel.release);
    fs::create_dir_all(&to)?;
    for name in [
        "modules.builtin",
        "modules.builtin.modinfo",
        "modules.order",
    ] {
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name))?;
        }
    }
    let list = fs::read_to_string(from.join("modules.dep"))?;
    let wanted = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or(path);
        MODULES.iter().any(|part| name.contains(part))
    };
    let lines = || list.lines().filter_map(|line| line.split_once(':'));
    let mut kept: Vec<&str> = lines()
        .filter(|(module, _)| wanted(module))
        .flat_map(|(module, needs)| std::iter::once(module).chain(needs.split_whitespace()))
        .collect();
    kept.sort_unstable();
    kept.dedup();
    for module in &kept {
        let file = to.join(module);
        fs::create_dir_all(file.parent().expect("in a directory"))?;
        fs::copy(from.join(module), file)?;
    }
    let lines = lines().filter(|(module, _)| kept.binary_search(module).is_ok());
    let lines: Vec<String> = lines
        .map(|(module, needs)| format!("{module}:{needs}\n"))
        .collect();
    fs::write(to.join("modules.dep"), lines.concat())
}
