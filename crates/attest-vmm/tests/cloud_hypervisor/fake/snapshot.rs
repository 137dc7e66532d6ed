//! Snapshots: directories of files.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::config::{self, Config};
use super::vmm::Vmm;
use crate::common::board::{Board, Memory};

/// Fact: the snapshot directory must exist and be empty; `file://` URLs.
fn directory(vmm: &Vmm, url: &str) -> Result<PathBuf, String> {
    let path = url.strip_prefix("file://");
    let path = path.ok_or_else(|| format!("Could not extract path from URL: {url}"))?;
    let directory = vmm.own.path(path);
    if directory.is_dir() {
        Ok(directory)
    } else {
        Err(format!("Destination is not a directory: {path:?}"))
    }
}

pub(super) fn save(vmm: &Vmm, url: &str) -> Result<(), String> {
    let directory = directory(vmm, url)?;
    let config = vmm.config.as_ref().expect("it was created");
    let (size, file, shared) = config.zone();
    let create = |name: &str, words: &str| {
        let path = directory.join(name);
        let made = OpenOptions::new().write(true).create_new(true).open(path);
        made.map_err(|error| format!("{words}: {error}"))
    };
    let write = |name: &str, value: &Value, words: &str| {
        let to = create(name, words)?;
        if vmm.fake.is_full {
            let full = io::Error::from_raw_os_error(nix::libc::ENOSPC);
            return Err(format!("{words}: {full}"));
        }
        serde_json::to_writer(to, value).map_err(|error| error.to_string())
    };
    write(
        "config.json",
        &config.0,
        "Error creating VM config snapshot file",
    )?;
    let memory = &vmm.running.as_ref().expect("it runs").memory;
    let memory = memory.lock().unwrap();
    let failed = |error: io::Error| error.to_string();
    // Fact: with `memory.shared=on` a sparse snapshot. What is in a file that has a name is not written again.
    let ranges = if let (Some(file), true) = (file, shared) {
        let file = vmm.own.open(file, OpenOptions::new().write(true));
        memory.save(&file.map_err(failed)?).map_err(failed)?;
        json!([])
    } else {
        let file = create("memory-ranges", "Error creating memory ranges file")?;
        file.set_len(size as u64).map_err(failed)?;
        memory.save(&file).map_err(failed)?;
        json!([{ "gpa": 0, "length": size }])
    };
    let mapping = json!({ "slot": 0, "gpa": 0, "size": size, "zone_id": "ram", "file_offset": 0 });
    let inner = json!({ "memory_ranges": { "data": ranges }, "guest_ram_mappings": [mapping] });
    let inner = inner.to_string();
    let manager = json!({ "snapshots": {}, "snapshot_data": { "state": inner } });
    let state =
        json!({ "snapshots": { "memory-manager": manager }, "snapshot_data": { "state": "{}" } });
    write(
        "state.json",
        &state,
        "Error creating VM state snapshot file",
    )
}

/// Fact: no overrides on restore: what is in `config.json` is what there must be.
pub(super) fn load(vmm: &mut Vmm, url: &str) -> Result<(Board, Config), Vec<String>> {
    let chain =
        |causes: &[&str]| -> Vec<String> { causes.iter().map(|&cause| cause.to_owned()).collect() };
    let sends = "Failed to send migratable component snapshot";
    let directory =
        directory(vmm, url).map_err(|words| chain(&["Cannot restore VM", sends, &words]))?;
    let read = |name: &str, what: &str| -> Result<Value, Vec<String>> {
        let text = fs::read(directory.join(name)).unwrap_or_default();
        serde_json::from_slice(&text).map_err(|error| {
            let receives = "Failed to receive migratable component snapshot";
            let what = format!("Error deserialising VM {what} snapshot");
            chain(&["Cannot restore VM", receives, &what, &error.to_string()])
        })
    };
    let config = read("config.json", "config")?;
    config::all_known(&config);
    let config = Config(config);
    let state = read("state.json", "state")?;
    let inner = state["snapshots"]["memory-manager"]["snapshot_data"]["state"].as_str();
    let inner: Value = serde_json::from_str(inner.unwrap_or("{}")).unwrap();
    let ranges = inner["memory_ranges"]["data"].as_array();
    assert!(
        ranges.is_some_and(Vec::is_empty),
        "memory in a file of a snapshot would be copied, which takes as long as memory is large"
    );
    let (size, file, _) = config.zone();
    let memory = match file {
        None => Memory::new(size),
        Some(file) => {
            let opened = vmm.own.open(file, OpenOptions::new().read(true));
            opened
                .and_then(|file| Memory::load_what_there_is(&file, size))
                .map_err(|error| {
                    chain(&[
                        "Memory manager error",
                        "Failed to stat filesystem",
                        &error.to_string(),
                    ])
                })?
        }
    };
    let vsock = vmm.devices(&config)?;
    let board = vmm.board(memory, vsock, config.payload("cmdline"));
    Ok((board, config))
}
