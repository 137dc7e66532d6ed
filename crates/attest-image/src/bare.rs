//! The built-in guest: an initramfs of the agent as PID 1, a static busybox, a static bash where
//! the host has one, and the kernel modules it needs. No image server, no distribution.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Choice;
use crate::cache::Cache;
use crate::cpio::Archive;
use crate::error::ImageError;
use crate::kernel::Kernel;
use crate::modules::{ModuleError, ModulePlan, plan_modules};
use crate::vmlinux::{self, Whole};

/// Raised when the layout of the guest changes: part of the cache's key.
const LAYOUT: u32 = 1;
/// Where the agent reads which modules to load.
const MODULE_LIST: &str = "lib/attest/modules";
/// Where Debian, Fedora and Arch put a static busybox.
const BUSYBOX: [&str; 3] = ["/bin/busybox", "/usr/sbin/busybox", "/usr/bin/busybox"];
/// Where Debian puts a static bash.
const BASH: [&str; 2] = ["/bin/bash-static", "/usr/bin/bash-static"];

/// What goes into the guest.
#[derive(Debug, Clone)]
pub struct BareOptions<'a> {
    /// The static agent.
    pub agent: &'a [u8],
    /// Names of modules; what they need comes by itself.
    pub modules: &'a [&'a str],
    /// A static busybox; looked for in the usual places when absent.
    pub busybox: Option<PathBuf>,
}

/// A guest that is ready to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BareGuest {
    /// A vmlinux with a PVH entry, or the bzImage.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initrd: PathBuf,
    /// As `uname -r` says in it.
    pub release: String,
    /// What was chosen, and why.
    pub choices: Vec<Choice>,
}

impl<'a> BareOptions<'a> {
    /// With busybox from the usual places.
    pub fn new(agent: &'a [u8], modules: &'a [&'a str]) -> Self {
        Self { agent, modules, busybox: None }
    }
}

/// Build the guest, or take it from the cache.
///
/// # Errors
/// A missing or dynamic busybox, a kernel without what is needed, files that cannot be read.
pub fn build(cache: &Cache, kernel: &Kernel, options: &BareOptions<'_>) -> Result<BareGuest, ImageError> {
    let busybox = match &options.busybox {
        Some(path) => path.clone(),
        None => busybox()?,
    };
    let bash = first(&BASH);
    let key = Key { kernel, options, busybox: &busybox, bash: bash.as_deref() }.hash()?;
    let entry = cache.entry("bare", key, |directory| {
        let image = read(&kernel.image)?;
        let (name, bytes) = match vmlinux::extract(&image) {
            Ok(elf) => ("vmlinux", elf),
            Err(whole @ (Whole::NotAKernel | Whole::Truncated | Whole::Architecture)) => {
                return Err(ImageError::Kernel { path: kernel.image.clone(), reason: whole.to_string() });
            }
            Err(whole) => {
                write(&directory.join("reason"), whole.to_string().as_bytes())?;
                ("bzImage", image)
            }
        };
        write(&directory.join(name), &bytes)?;
        let archive = archive(kernel, options, &busybox, bash.as_deref())?;
        write(&directory.join("initrd"), &archive.pack())
    })?;
    Ok(guest(&entry, kernel))
}

/// The host's static busybox.
///
/// # Errors
/// There is none in the usual places; whether it is static is seen when it is used.
pub fn busybox() -> Result<PathBuf, ImageError> {
    first(&BUSYBOX).ok_or_else(no_busybox)
}

fn guest(entry: &Path, kernel: &Kernel) -> BareGuest {
    let direct = entry.join("vmlinux");
    let (file, reason) = if direct.exists() {
        (direct, "started directly (PVH)".to_owned())
    } else {
        let why = fs::read_to_string(entry.join("reason")).unwrap_or_default();
        (entry.join("bzImage"), format!("started as a bzImage, which boots slower: {why}"))
    };
    let choice = Choice {
        what: "kernel",
        choice: kernel.release.clone(),
        reason: format!("{}; {reason}", kernel.origin),
    };
    BareGuest { kernel: file, initrd: entry.join("initrd"), release: kernel.release.clone(), choices: vec![choice] }
}

/// Everything that goes into the guest. Files of the host count by identity and time, which
/// costs no reading.
struct Key<'a> {
    kernel: &'a Kernel,
    options: &'a BareOptions<'a>,
    busybox: &'a Path,
    bash: Option<&'a Path>,
}

impl Key<'_> {
    fn hash(&self) -> Result<blake3::Hash, ImageError> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&LAYOUT.to_le_bytes());
        hasher.update(blake3::hash(self.options.agent).as_bytes());
        for module in self.options.modules {
            hasher.update(module.as_bytes());
            hasher.update(b"\0");
        }
        let mut files = vec![self.kernel.image.as_path(), self.busybox];
        files.extend(self.bash);
        for file in files {
            let metadata = fs::metadata(file).map_err(ImageError::file(file, "it cannot be read"))?;
            hasher.update(file.as_os_str().as_encoded_bytes());
            for number in [metadata.dev(), metadata.ino(), metadata.size()] {
                hasher.update(&number.to_le_bytes());
            }
            hasher.update(&metadata.mtime().to_le_bytes());
            hasher.update(&metadata.mtime_nsec().to_le_bytes());
        }
        Ok(hasher.finalize())
    }
}

fn archive(kernel: &Kernel, options: &BareOptions<'_>, busybox: &Path, bash: Option<&Path>) -> Result<Archive, ImageError> {
    let mut archive = Archive::new();
    for (directory, mode) in [("dev", 0o755), ("proc", 0o555), ("sys", 0o555), ("run", 0o755), ("root", 0o700), ("tmp", 0o1777), ("var", 0o755), ("home/user", 0o755)] {
        archive.directory(directory, mode);
    }
    archive.device("dev/console", 0o600, 5, 1);
    archive.device("dev/null", 0o666, 1, 3);
    archive.file("init", 0o755, options.agent);
    archive.file("bin/busybox", 0o755, static_program(busybox, no_busybox)?);
    for applet in applets(busybox)? {
        if !archive.contains(&applet) {
            archive.symlink(&applet, "/bin/busybox");
        }
    }
    if let Some(bash) = bash {
        archive.file("bin/bash", 0o755, read(bash)?);
    }
    archive.file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n");
    archive.file("etc/group", 0o644, "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n");
    archive.file("etc/hosts", 0o644, "127.0.0.1 localhost\n::1 localhost\n");
    archive.file("etc/os-release", 0o644, "ID=attest\nNAME=attest\nPRETTY_NAME=\"attest bare guest\"\n");
    add_modules(&mut archive, kernel, options.modules)?;
    Ok(archive)
}

fn add_modules(archive: &mut Archive, kernel: &Kernel, wanted: &[&str]) -> Result<(), ImageError> {
    let failed = |source| ImageError::Modules { release: kernel.release.clone(), source };
    let plan = match &kernel.modules {
        Some(directory) => {
            let dep = read_text(&directory.join("modules.dep"))?;
            let builtin = fs::read_to_string(directory.join("modules.builtin")).unwrap_or_default();
            plan_modules(&dep, &builtin, wanted).map_err(failed)?
        }
        // Then all that is wanted must be built in; the guest's agent says what is missing.
        None => ModulePlan::default(),
    };
    let mut list = String::new();
    for file in &plan.files {
        let directory = kernel.modules.as_deref().unwrap_or(Path::new("/"));
        let (name, bytes) = module(&directory.join(file), file).map_err(failed)?;
        let place = format!("lib/modules/{}/{name}", kernel.release);
        list.push_str(&format!("/{place}\n"));
        archive.file(&place, 0o644, bytes);
    }
    archive.file(MODULE_LIST, 0o644, list);
    Ok(())
}

/// A module's name without compression, and its bytes.
fn module(path: &Path, file: &str) -> Result<(String, Vec<u8>), ModuleError> {
    use std::io::Read;
    let unreadable = |_| ModuleError::Missing(file.to_owned());
    let bytes = fs::read(path).map_err(unreadable)?;
    let mut plain = Vec::new();
    let name = if let Some(name) = file.strip_suffix(".gz") {
        flate2::read::GzDecoder::new(&*bytes).read_to_end(&mut plain).map_err(unreadable)?;
        name
    } else if let Some(name) = file.strip_suffix(".zst") {
        let mut source = &*bytes;
        let decoder = ruzstd::decoding::StreamingDecoder::new(&mut source);
        let mut decoder = decoder.map_err(|_| ModuleError::Compression(file.to_owned()))?;
        decoder.read_to_end(&mut plain).map_err(unreadable)?;
        name
    } else {
        // The guest's kernel decompresses .xz itself (MODULE_INIT_COMPRESSED_FILE).
        plain = bytes;
        file
    };
    Ok((name.to_owned(), plain))
}

/// Where busybox would put its applets, without leading slashes.
fn applets(busybox: &Path) -> Result<Vec<String>, ImageError> {
    let failed = |reason: String| ImageError::Program { program: busybox.display().to_string(), reason };
    let output = Command::new(busybox)
        .arg("--list-full")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(format!("it cannot be run: {error}")))?;
    if !output.status.success() {
        return Err(failed("`--list-full` fails; it is an unusual busybox".to_owned()));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().map(|line| line.trim_start_matches('/').to_owned()).filter(|line| !line.is_empty()).collect())
}

/// A program's bytes, if it runs without libraries.
fn static_program(path: &Path, otherwise: impl FnOnce() -> ImageError) -> Result<Vec<u8>, ImageError> {
    let bytes = read(path)?;
    if is_dynamic(&bytes) { Err(otherwise()) } else { Ok(bytes) }
}

/// Whether an ELF names an interpreter (`PT_INTERP`, 3) in its program headers.
fn is_dynamic(elf: &[u8]) -> bool {
    const INTERPRETER: u32 = 3;
    let start = elf.get(32..40).map(|bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes")) as usize);
    let short = |at: usize| elf.get(at..at + 2).map(|bytes| usize::from(u16::from_le_bytes(bytes.try_into().expect("two bytes"))));
    let (Some(start), Some(size), Some(count)) = (start, short(54), short(56)) else { return true };
    (0..count).any(|index| {
        let at = start.saturating_add(index * size);
        elf.get(at..at.saturating_add(4)).is_some_and(|kind| kind == INTERPRETER.to_le_bytes())
    })
}

fn no_busybox() -> ImageError {
    ImageError::Program {
        program: "busybox".to_owned(),
        reason: "the bare guest needs a static one; install it: `apt install busybox-static` (Debian), \
                 `dnf install busybox` (Fedora), `pacman -S busybox` (Arch), `nix shell nixpkgs#pkgsStatic.busybox` (Nix)"
            .to_owned(),
    }
}

fn first(places: &[&str]) -> Option<PathBuf> {
    places.iter().map(PathBuf::from).find(|path| path.exists())
}

fn read(path: &Path) -> Result<Vec<u8>, ImageError> {
    fs::read(path).map_err(ImageError::file(path, "it cannot be read"))
}

fn read_text(path: &Path) -> Result<String, ImageError> {
    fs::read_to_string(path).map_err(ImageError::file(path, "it cannot be read"))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
    fs::write(path, bytes).map_err(ImageError::file(path, "it cannot be written"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_busybox_is_refused_by_name() {
        // The test's own program is dynamic.
        let own = std::env::current_exe().unwrap();
        let error = static_program(&own, no_busybox).unwrap_err();
        assert!(error.to_string().contains("busybox-static"), "{error}");
    }

    #[test]
    fn a_kernel_without_a_driver_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("modules.dep"), "kernel/virtio.ko:\n").unwrap();
        let kernel = Kernel {
            image: directory.path().join("vmlinuz"),
            modules: Some(directory.path().to_owned()),
            release: "6.1".to_owned(),
            origin: String::new(),
        };
        let error = add_modules(&mut Archive::new(), &kernel, &["virtio_net"]).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("`virtio_net`"), "{cause}");
    }
}
