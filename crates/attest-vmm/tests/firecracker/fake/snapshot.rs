//! Snapshots: what is written, and what is looked at before one is loaded.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};

use super::calls::{BackendType, SnapshotCreate, SnapshotLoad, SnapshotType};
use super::devices::{Devices, open_drive, open_tap};
use super::vmm::Vmm;
use super::{Firecracker, Full, Version};
use crate::common::board::Memory;

const MAGIC: &[u8] = b"fakefire";
/// Bytes of the checksum, the last ones.
const CHECKSUM: usize = 8;

fn no_space() -> io::Error {
    io::Error::from_raw_os_error(nix::libc::ENOSPC)
}

pub(super) fn save(vmm: &Vmm, params: &SnapshotCreate) -> Result<(), String> {
    if let Some(vsock) = &vmm.vsock {
        vsock.transport_reset();
    }
    save_state(vmm, &params.snapshot_path)?;
    let open = |how: &OpenOptions| vmm.own.open(&params.mem_file_path, how);
    let file = open(OpenOptions::new().write(true).create(true).truncate(false));
    let backing = |what: &'static str| {
        move |error: io::Error| format!("Cannot perform {what} on the memory backing file: {error}")
    };
    let file = file.map_err(backing("open"))?;
    let length = (vmm.devices.machine.mem_size_mib << 20) as u64;
    // Fact: a Diff merges into what is there when it is as long; else nothing of that stays.
    if file.metadata().map_err(backing("get_metadata"))?.len() != length {
        file.set_len(0).map_err(backing("truncate"))?;
    }
    file.set_len(length).map_err(backing("set_length"))?;
    let memory = vmm.memory.as_ref().expect("it was started");
    let memory = memory.lock().unwrap();
    let written = match params.snapshot_type {
        _ if vmm.firecracker.is_full == Some(Full::Memory) => Err(no_space()),
        SnapshotType::Full => memory.save(&file),
        SnapshotType::Diff => memory.save_touched(&file),
    };
    written.map_err(|error| {
        format!("Cannot write memory file: Cannot dump memory: Guest memory error: {error}")
    })
}

fn save_state(vmm: &Vmm, path: &str) -> Result<(), String> {
    let open = |how: &OpenOptions| vmm.own.open(path, how);
    let file = open(OpenOptions::new().write(true).create(true).truncate(true));
    let mut file =
        file.map_err(|error| format!("Cannot perform open on the snapshot backing file: {error}"))?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend(vmm.firecracker.snapshot_format().to_le_bytes());
    bytes.extend(serde_json::to_vec(&vmm.devices).unwrap());
    bytes.extend(checksum(&bytes).to_le_bytes());
    let written = match vmm.firecracker.is_full {
        Some(Full::State) => Err(no_space()),
        _ => file.write_all(&bytes),
    };
    written.map_err(|error| format!("Cannot serialize the microVM state: IO Error: {error}"))
}

fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What is wrong with the call itself.
pub(super) fn check(params: &SnapshotLoad, version: Version) -> Result<(), String> {
    let newer = [
        (
            "vsock_override",
            params.vsock_override.is_some(),
            (1, 16, 0),
        ),
        (
            "clock_realtime",
            params.clock_realtime.is_some(),
            (1, 16, 0),
        ),
        ("huge_pages", params.huge_pages.is_some(), (1, 17, 0)),
    ];
    let json = "An error occurred when deserializing the json body of a request:";
    for (field, given, since) in newer {
        if given && version < since {
            return Err(format!("{json} unknown field `{field}`."));
        }
    }
    match (&params.mem_file_path, &params.mem_backend) {
        (None, None) => Err(format!(
            "{json} missing field: either `mem_backend` or `mem_file_path` is required."
        )),
        (Some(_), Some(_)) => Err(format!(
            "{json} too many fields: either `mem_backend` or `mem_file_path` exclusively is required."
        )),
        _ => Ok(()),
    }
}

/// Fact: memory, TAPs, disks and vsock's socket are as they were when it was saved; overrides exist for network and vsock
/// only.
pub(super) fn load(vmm: &mut Vmm, params: &SnapshotLoad) -> Result<Memory, String> {
    let open = |path: &str| vmm.own.open(path, OpenOptions::new().read(true));
    let state = |words: String| format!("Failed to get snapshot state from file: {words}");
    let file = open(&params.snapshot_path)
        .map_err(|error| state(format!("Failed to open snapshot file: {error}")))?;
    let mut devices = read_state(file, &vmm.firecracker)
        .map_err(|words| state(format!("Failed to load snapshot state from file: {words}")))?;
    for other in &params.network_overrides {
        let mut cards = devices.cards.iter_mut();
        let card = cards.find(|card| card.iface_id == other.iface_id);
        let card = card.ok_or_else(|| state("Unknown Network Device.".to_owned()))?;
        card.host_dev_name.clone_from(&other.host_dev_name);
    }
    let memory = |words: String| {
        format!(
            "Failed to load guest memory: Error creating guest memory from file: Failed to {words}"
        )
    };
    let (kind, path) = match (&params.mem_backend, &params.mem_file_path) {
        (Some(backend), _) => (backend.backend_type, &backend.backend_path),
        (None, path) => (BackendType::File, path.as_ref().expect("checked")),
    };
    assert_eq!(kind, BackendType::File, "the fake has no page faults");
    let file = open(path).map_err(|error| memory(format!("load guest memory: {error}")))?;
    let length = devices.machine.mem_size_mib << 20;
    let loaded = Memory::load(&file, length).map_err(|_| {
        memory(
            "restore guest memory: Total sum of memory regions exceeds largest possible file offset"
                .to_owned(),
        )
    })?;
    build(vmm, &devices).map_err(|words| {
        format!("Failed to build microVM from snapshot: Failed to restore devices: Error restoring MMIO devices: {words}")
    })?;
    vmm.devices = devices;
    Ok(loaded)
}

fn build(vmm: &mut Vmm, devices: &Devices) -> Result<(), String> {
    for drive in &devices.drives {
        let opened = open_drive(drive, &vmm.own);
        opened.map_err(|words| format!("Block: {words}"))?;
    }
    for card in &devices.cards {
        let opened = open_tap(&card.host_dev_name, &vmm.firecracker);
        opened.map_err(|words| format!("Net: Failed to create a network device: {words}"))?;
    }
    if let Some(vsock) = &devices.vsock {
        let bound = vmm.bind_vsock(&vsock.uds_path);
        let bound = bound.map_err(|words| format!("VsockUnixBackend: {words}"))?;
        vmm.vsock = Some(bound);
    }
    Ok(())
}

fn read_state(mut file: File, firecracker: &Firecracker) -> Result<Devices, String> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)
        .map_err(|error| format!("IO Error: {error}"))?;
    let Some((rest, sum)) = bytes.split_last_chunk::<CHECKSUM>() else {
        return Err("IO Error: File too short to contain CRC".to_owned());
    };
    let Some((version, devices)) = rest
        .strip_prefix(MAGIC)
        .and_then(|rest| rest.split_first_chunk())
    else {
        return Err("An error occurred during bitcode serialization: bitcode error".to_owned());
    };
    let version = u32::from_le_bytes(*version);
    // Fact: snapshot formats match exactly or not at all.
    if version != firecracker.snapshot_format() {
        return Err(format!("Invalid data version: {version}.0.0"));
    }
    if checksum(rest) != u64::from_le_bytes(*sum) {
        return Err("CRC64 validation failed".to_owned());
    }
    serde_json::from_slice(devices)
        .map_err(|_| "An error occurred during bitcode serialization: bitcode error".to_owned())
}
