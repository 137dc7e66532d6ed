//! Snapshots as files of a directory, for later runs.
//!
//! A machine has `NAME.memory`, `NAME.devices`, `NAME.console` and, for each layer of each disk that was written to,
//! `NAME.disk.SERIAL.LAYER`.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use attest_image::sparse;
use attest_image::store::ABOUT_LAB;
use attest_vmm::DiskFormat;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::SavedMachine;
use super::fields::Fields;
use crate::boot::{Layer, WrittenDisk};
use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::run::timestamp;

/// What [`ABOUT_LAB`] says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct About {
    /// Its name.
    lab: String,
    /// RFC 3339, UTC.
    made: String,
    /// The last thing that was done to it.
    point: String,
    machines: Vec<AboutMachine>,
    /// What it is of.
    fields: Value,
    /// What its last set-up returned.
    #[serde(default)]
    pub(super) value: Value,
}

#[derive(Debug, Serialize, Deserialize)]
struct AboutMachine {
    name: String,
    /// Bytes.
    memory: u64,
    vcpus: u32,
    disks: Vec<AboutDisk>,
}

#[derive(Debug, Serialize, Deserialize)]
struct AboutDisk {
    serial: String,
    /// Bytes.
    size: u64,
    /// Of its layers, the last that was written first.
    layers: Vec<DiskFormat>,
}

/// What is written beside the machines.
pub(super) struct Title<'a> {
    pub(super) lab: &'a str,
    pub(super) point: &'a str,
    pub(super) fields: &'a Fields,
    pub(super) value: &'a Value,
    pub(super) vcpus: &'a dyn Fn(&str) -> u32,
}

/// A file in this directory for the memory of a machine, where it is kept with it.
pub(crate) fn memory_in(directory: &Path, machine: &Machine) -> Result<File> {
    let path = directory.join(format!("{}.memory", machine.name()));
    let made = || {
        let mut options = File::options();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        file.set_len(machine.plan().memory)?;
        Ok(file)
    };
    made().map_err(Error::io(format!("{} cannot be made", path.display())))
}

/// Write all that is not there yet: memory that was written there by the machine itself is.
pub(super) fn write(
    directory: &Path,
    machines: &[SavedMachine],
    title: &Title<'_>,
) -> io::Result<()> {
    let mut about = About {
        lab: title.lab.to_owned(),
        made: timestamp(std::time::SystemTime::now()),
        point: title.point.to_owned(),
        machines: Vec::new(),
        fields: title.fields.to_json(),
        value: title.value.clone(),
    };
    for machine in machines {
        let place = |part: &str| directory.join(format!("{}.{part}", machine.name));
        let memory = place("memory");
        if !memory.exists() {
            copy(&machine.memory, &memory)?;
        }
        copy(&machine.devices, &place("devices"))?;
        fs::write(place("console"), &machine.console)?;
        let mut disks = Vec::new();
        for disk in &machine.disks {
            let mut layers = Vec::new();
            for (number, layer) in disk.layers.iter().enumerate() {
                copy(&layer.file, &place(&part(&disk.serial, number)))?;
                layers.push(layer.format);
            }
            disks.push(AboutDisk {
                serial: disk.serial.clone(),
                size: disk.size,
                layers,
            });
        }
        about.machines.push(AboutMachine {
            name: machine.name.clone(),
            memory: machine.memory.metadata()?.len(),
            vcpus: (title.vcpus)(&machine.name),
            disks,
        });
    }
    fs::write(
        directory.join(ABOUT_LAB),
        serde_json::to_vec_pretty(&about)?,
    )
}

fn part(serial: &str, layer: usize) -> String {
    format!("disk.{serial}.{layer}")
}

fn copy(from: &File, to: &Path) -> io::Result<()> {
    let to = File::create_new(to)?;
    let from = crate::boot::open_for_reading(from)?;
    to.set_len(from.metadata()?.len())?;
    sparse::copy(&from, &to)
}

/// What is in a directory; nothing of it is changed.
pub(super) fn read(directory: &Path) -> io::Result<(Vec<SavedMachine>, Value)> {
    let about: About = serde_json::from_slice(&fs::read(directory.join(ABOUT_LAB))?)?;
    let machine = |about: &AboutMachine| -> io::Result<SavedMachine> {
        let place = |part: &str| directory.join(format!("{}.{part}", about.name));
        let memory = File::options()
            .read(true)
            .write(true)
            .open(place("memory"))?;
        if memory.metadata()?.len() != about.memory {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let disks = about.disks.iter().map(|disk| {
            let layers = disk.layers.iter().enumerate().map(|(number, format)| {
                Ok(Layer {
                    file: File::open(place(&part(&disk.serial, number)))?,
                    format: *format,
                })
            });
            Ok(WrittenDisk {
                serial: disk.serial.clone(),
                size: disk.size,
                layers: layers.collect::<io::Result<_>>()?,
            })
        });
        Ok(SavedMachine {
            name: about.name.clone(),
            memory,
            devices: File::options()
                .read(true)
                .write(true)
                .open(place("devices"))?,
            disks: disks.collect::<io::Result<_>>()?,
            console: fs::read(place("console"))?,
        })
    };
    let machines = about.machines.iter().map(machine);
    Ok((machines.collect::<io::Result<_>>()?, about.value))
}
