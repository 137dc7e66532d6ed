//! A host with a fake VMM, and machines on it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use attest_lab::{Directory, LastingTap};
use attest_vmm::{
    Backend, Body, Card, Disk, DiskFile, DiskFormat, MachineConfig, Names, QemuOptions, Ram, Reach,
    Started, Told, VirtualConfig, VmmError,
};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::program::{Fake, Fakes, Seen};

/// Bytes of memory of each machine.
pub(crate) const MEMORY: u64 = 2 << 20;

/// A host with a fake VMM.
pub(crate) struct Host<F, B> {
    pub(crate) fakes: Fakes<F>,
    pub(crate) backend: B,
    pub(crate) files: TempDir,
    /// A place for each machine, in order.
    places: Mutex<Vec<TempDir>>,
}

/// A file that is written while another test starts a program would be open in that, and could not be started.
static PROGRAMS: Mutex<()> = Mutex::new(());

pub(crate) fn alone() -> MutexGuard<'static, ()> {
    PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<F: Fake, B: Backend> Host<F, B> {
    /// Whose VMM is this script, where it is asked for its version. `finds`: asks a backend for that, so that it is
    /// remembered and the script is not started again.
    pub(crate) fn with(fake: F, script: &str, finds: impl FnOnce(&Path, &Path) -> B) -> Self {
        let files = tempfile::tempdir().unwrap();
        let program = files.path().join("vmm");
        let backend = {
            let _alone = alone();
            fs::write(&program, script).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
            finds(&program, files.path())
        };
        fs::write(files.path().join("kernel"), b"\x7fELF, more or less").unwrap();
        fs::write(files.path().join("initrd"), b"070701").unwrap();
        Self {
            fakes: Fakes::new(fake),
            backend,
            files,
            places: Mutex::default(),
        }
    }

    /// With all kinds of devices.
    pub(crate) fn machine(&self) -> VirtualConfig {
        let disk = |serial: &str, read_only: bool| {
            let path = self.files.path().join(serial);
            fs::write(&path, vec![0; 4096]).unwrap();
            let mut options = fs::OpenOptions::new();
            let file = options.read(true).write(!read_only).open(path).unwrap();
            Disk {
                file: DiskFile {
                    file: file.into(),
                    format: DiskFormat::Raw,
                },
                below: Vec::new(),
                read_only,
                serial: serial.to_owned(),
                rate: None,
            }
        };
        VirtualConfig {
            memory: MEMORY,
            ram: Ram::Own,
            waits: false,
            vcpus: 2,
            kernel: self.files.path().join("kernel"),
            initrd: self.files.path().join("initrd"),
            kernel_arguments: vec!["loglevel=7".to_owned()],
            cards: vec![Card {
                mac: [2, 0, 0, 0, 0, 1],
                rate: None,
            }],
            disks: vec![disk("root", true), disk("data", false)],
            balloon: true,
            reach: Reach::Inherits(Vec::new()),
            qemu: QemuOptions::default(),
        }
    }

    /// A place for the next machine.
    pub(crate) fn place(&self) -> std::path::PathBuf {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().to_owned();
        self.places.lock().unwrap().push(place);
        path
    }

    pub(crate) async fn start(&self, machine: VirtualConfig) -> Result<Started, VmmError> {
        let place = self.place();
        self.start_in(&place, machine).await.0
    }

    pub(crate) async fn start_in(
        &self,
        place: &Path,
        mut machine: VirtualConfig,
    ) -> (Result<Started, VmmError>, mpsc::UnboundedReceiver<Told>) {
        let taps = machine.cards.iter().enumerate();
        let taps = taps.map(|(index, _)| LastingTap::existing(&format!("tap{index}")));
        machine.reach = Reach::Names(Names {
            directory: Directory::existing(place).unwrap(),
            taps: taps.collect(),
            jailed_as: None,
        });
        let (tell, told) = mpsc::unbounded_channel();
        let machine = MachineConfig {
            name: "web".to_owned(),
            body: Body::Virtual(Box::new(machine)),
            log: None,
            tell,
        };
        (self.backend.start(machine, &self.fakes).await, told)
    }

    /// What the last program was told, and how it ended.
    pub(crate) fn last(&self) -> Arc<Seen> {
        self.fakes.last()
    }
}
