//! A Firecracker without attest's client: the fake, and the real one.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use attest_vmm::{Launched, Launcher, Program, find_program_in, firecracker};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tempfile::TempDir;

use crate::children::Children;
use crate::common::raw::Raw;
use crate::support::{Fakes, Firecracker, alone};

/// A Firecracker without attest's client.
pub(crate) struct Alone {
    /// The real one, where it is that.
    program: Option<PathBuf>,
    pub(crate) place: TempDir,
    pub(crate) launched: Arc<dyn Launched>,
}

/// The real one, if it is of the version whose words are known here, and can start.
fn real() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let program = find_program_in(Path::new(firecracker::PROGRAM), &path)?;
    let memo = tempfile::tempdir().unwrap();
    let found = firecracker::find(&program, memo.path()).ok()?;
    let is_known = (found.version.major, found.version.minor) == (1, 17);
    let kvm = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm");
    (is_known && kvm.is_ok()).then_some(program)
}

/// A kernel that does nothing: `hlt`, and again. (elf(5); it is loaded and entered at 1 MiB.)
fn kernel() -> Vec<u8> {
    const AT: u64 = 1 << 20;
    const HEADERS: u64 = 64 + 56;
    let code = [0xf4, 0xeb, 0xfd];
    let length = HEADERS + code.len() as u64;
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    // An executable for x86-64, of this version; where it begins, where its only segment is described, no sections.
    elf.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    elf.extend([AT + HEADERS, 64, 0].map(u64::to_le_bytes).concat());
    // No flags; bytes of this header, of a segment's, how many of those; nothing of sections.
    elf.extend([0; 4]);
    elf.extend([64_u16, 56, 1, 0, 0, 0].map(u16::to_le_bytes).concat());
    // To be loaded, readable and executable; from where to where, and how it is aligned.
    elf.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    elf.extend(
        [0, AT, AT, length, length, 4096]
            .map(u64::to_le_bytes)
            .concat(),
    );
    elf.extend(code);
    elf
}

impl Alone {
    /// The fake, and the real one.
    pub(crate) async fn each() -> Vec<Self> {
        let mut each = vec![Self::start(None).await];
        match real() {
            Some(program) => each.push(Self::start(Some(program)).await),
            None => eprintln!("SKIPPED: there is no Firecracker 1.17 to compare the fake with"),
        }
        each
    }

    pub(crate) async fn another(&self) -> Self {
        Self::start(self.program.clone()).await
    }

    async fn start(program: Option<PathBuf>) -> Self {
        let launcher: Box<dyn Launcher> = match program {
            Some(_) => Box::new(Children),
            None => Box::new(Fakes::new(Firecracker {
                version: (1, 17, 0),
                ..Firecracker::default()
            })),
        };
        let path = program.clone().unwrap_or_else(|| "firecracker".into());
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("k"), kernel()).unwrap();
        let null = || -> OwnedFd {
            let mut options = std::fs::OpenOptions::new();
            options.write(true).open("/dev/null").unwrap().into()
        };
        let appearing = Inotify::init(InitFlags::empty()).unwrap();
        appearing
            .add_watch(place.path(), AddWatchFlags::IN_CREATE)
            .unwrap();
        let args = ["--id", "vm", "--api-sock", "api"];
        let started = Program {
            path,
            args: args.map(Into::into).into(),
            environment: Vec::new(),
            directory: Some(place.path().to_owned()),
            input: None,
            output: null(),
            errors: None,
            fds: Vec::new(),
            listens: false,
            on_host_network: false,
            own_group: false,
        };
        let start = {
            let _alone = alone();
            launcher.launch(started)
        };
        let process = start.await.unwrap();
        let appeared = tokio::task::spawn_blocking(move || appearing.read_events().map(drop));
        appeared.await.unwrap().unwrap();
        Self {
            program,
            place,
            launched: process,
        }
    }

    pub(crate) async fn connect(&self) -> Raw {
        Raw::connect(self.place.path()).await
    }
}
