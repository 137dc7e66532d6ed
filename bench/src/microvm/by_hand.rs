//! A VMM by hand: its program, a directory, and what it is told over its socket. Nothing else of attest takes part.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde_json::{Value, json};

use crate::Result;

/// A call: method, path and body.
type Call = (&'static str, &'static str, Value);

/// How one kind of VMM is started, and what it is told.
#[derive(Clone, Copy)]
pub(super) struct ByHand {
    pub(super) program: &'static str,
    arguments: &'static [&'static str],
    boot: fn(u64) -> Vec<Call>,
    restore: fn() -> Vec<Call>,
    /// Put what was kept where the VMM looks for it.
    place: fn(&Path, &Kept) -> Result<()>,
}

/// A machine as it is kept.
struct Kept {
    memory: PathBuf,
    devices: PathBuf,
}

pub(super) const FIRECRACKER: ByHand = ByHand {
    program: "firecracker",
    arguments: &[
        "--id",
        "vm",
        "--api-sock",
        "api",
        "--log-path",
        "log",
        "--level",
        "Warn",
    ],
    boot: |memory| {
        vec![
            (
                "PUT",
                "/machine-config",
                json!({ "vcpu_count": 1, "mem_size_mib": memory >> 20 }),
            ),
            (
                "PUT",
                "/boot-source",
                json!({ "kernel_image_path": "kernel", "initrd_path": "kernel", "boot_args": "console=ttyS0" }),
            ),
            (
                "PUT",
                "/vsock",
                json!({ "guest_cid": 3, "uds_path": "vsock" }),
            ),
            ("PUT", "/entropy", json!({})),
            ("PUT", "/actions", json!({ "action_type": "InstanceStart" })),
        ]
    },
    restore: || {
        let memory = json!({ "backend_type": "File", "backend_path": "memory" });
        let load = json!({ "snapshot_path": "devices", "mem_backend": memory, "resume_vm": false });
        vec![
            ("PUT", "/snapshot/load", load),
            ("PATCH", "/vm", json!({ "state": "Resumed" })),
        ]
    },
    place: |directory, kept| {
        symlink(&kept.memory, directory.join("memory"))?;
        symlink(&kept.devices, directory.join("devices"))?;
        Ok(())
    },
};

pub(super) const CLOUD_HYPERVISOR: ByHand = ByHand {
    program: "cloud-hypervisor",
    arguments: &["--api-socket", "path=api"],
    boot: |memory| {
        let config = json!({
            "cpus": { "boot_vcpus": 1, "max_vcpus": 1 },
            "memory": { "size": memory, "shared": true },
            "payload": { "kernel": "kernel", "initramfs": "kernel", "cmdline": "console=ttyS0" },
            "rng": { "src": "/dev/urandom" },
            "vsock": { "cid": 3, "socket": "vsock" },
            "serial": { "mode": "Null" },
            "console": { "mode": "Off" },
        });
        vec![
            ("PUT", "/api/v1/vm.create", config),
            ("PUT", "/api/v1/vm.boot", Value::Null),
        ]
    },
    restore: || {
        let restore = json!({ "source_url": "file://snapshot" });
        vec![
            ("PUT", "/api/v1/vm.restore", restore),
            ("PUT", "/api/v1/vm.resume", Value::Null),
        ]
    },
    place: |directory, kept| {
        symlink(&kept.memory, directory.join("memory"))?;
        let mut saved: Value = serde_json::from_slice(&std::fs::read(&kept.devices)?)?;
        let config = &mut saved["config"];
        config["memory"]["zones"][0]["file"] = "memory".into();
        config["memory"]["zones"][0]["shared"] = false.into();
        config["landlock_enable"] = false.into();
        config["serial"] = json!({ "mode": "Null" });
        for disk in ["kernel", "initrd"] {
            symlink(attest_fixture::metal::kernel(), directory.join(disk))?;
        }
        let snapshot = directory.join("snapshot");
        std::fs::create_dir(&snapshot)?;
        for part in ["config", "state"] {
            let file = snapshot.join(format!("{part}.json"));
            std::fs::write(file, saved[part].to_string())?;
        }
        Ok(())
    },
};

impl ByHand {
    /// So many at once: from the exec to the answer that the guest runs.
    pub(super) fn start(&self, machines: usize, kernel: &Path, memory: u64) -> Result<Duration> {
        let places = (0..machines).map(|_| {
            let directory = tempfile::tempdir_in("/dev/shm")?;
            symlink(kernel, directory.path().join("kernel"))?;
            Ok(directory)
        });
        let places = places.collect::<Result<Vec<_>>>()?;
        self.at_once(&places, &(self.boot)(memory))
    }

    /// All machines of an entry at once: from the exec to the answer that the guest goes on.
    pub(super) fn restore(&self, entry: &Path) -> Result<Duration> {
        let mut places = Vec::new();
        for file in std::fs::read_dir(entry)? {
            let memory = file?.path();
            if memory.extension().is_some_and(|part| part == "memory") {
                let devices = memory.with_extension("devices");
                let directory = tempfile::tempdir_in("/dev/shm")?;
                (self.place)(directory.path(), &Kept { memory, devices })?;
                places.push(directory);
            }
        }
        self.at_once(&places, &(self.restore)())
    }

    fn at_once(&self, places: &[tempfile::TempDir], calls: &[Call]) -> Result<Duration> {
        // The guest connects to it, or it would try again and again.
        let listeners = places
            .iter()
            .map(|place| UnixListener::bind(place.path().join("vsock_1024")));
        let listeners = listeners.collect::<std::io::Result<Vec<_>>>()?;
        let began = Instant::now();
        let children = std::thread::scope(|scope| {
            let doing: Vec<_> = places
                .iter()
                .map(|place| scope.spawn(|| self.one(place.path(), calls)))
                .collect();
            let done = doing
                .into_iter()
                .map(|one| one.join().map_err(|_| "a thread panicked")?);
            done.collect::<Result<Vec<_>>>()
        })?;
        // The last answer, and not the end of what was opened for it: closing an inotify takes the kernel 10 ms.
        let last = children.iter().map(|(_, answered)| *answered).max();
        let took = last.ok_or("nothing was started")? - began;
        drop((children, listeners));
        Ok(took)
    }

    fn one(&self, place: &Path, calls: &[Call]) -> Result<(Ended, Instant)> {
        let appears = Inotify::init(InitFlags::IN_CLOEXEC)?;
        appears.add_watch(place, AddWatchFlags::IN_CREATE)?;
        let child = Command::new(self.program)
            .args(self.arguments)
            .current_dir(place)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let child = Ended(child);
        let socket = place.join("api");
        let stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(error) if error.kind() == ErrorKind::NotFound => drop(appears.read_events()?),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error.into()),
            }
        };
        let mut api = BufReader::new(stream);
        for call in calls {
            tell(&mut api, call)?;
        }
        Ok((child, Instant::now()))
    }
}

/// A VMM; it ends with this.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn tell(api: &mut BufReader<UnixStream>, (method, path, body): &Call) -> Result<()> {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    api.get_mut().write_all(request.as_bytes())?;
    let (mut status, mut length) = (String::new(), 0);
    api.read_line(&mut status)?;
    loop {
        let mut line = String::new();
        api.read_line(&mut line)?;
        let line = line.trim();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    let mut answer = vec![0; length];
    api.read_exact(&mut answer)?;
    if status.contains(" 2") {
        Ok(())
    } else {
        Err(format!(
            "{method} {path}: {status}{}",
            String::from_utf8_lossy(&answer)
        )
        .into())
    }
}
