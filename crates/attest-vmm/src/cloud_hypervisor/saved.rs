//! What a saved machine is beside its memory: the files of a snapshot as one, with what differs where it goes on.

use std::fs::File;
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::calls::{Confinement, Zone};

/// Bytes of all of it; a machine of one processor has some 40 KB.
const LONGEST: u64 = 64 << 20;

/// `config.json` and `state.json` of a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedDevices {
    /// The machine, as it was created.
    pub(super) config: Value,
    /// What its processors and devices were.
    pub(super) state: Value,
}

/// Memory of the guest's that is in a snapshot. Bytes.
#[derive(Debug, Deserialize)]
struct Range {
    gpa: u64,
    length: u64,
}

/// Where, and how, a machine goes on.
pub(super) struct Here<'a> {
    /// For its cards, in order.
    pub(super) taps: Vec<&'a str>,
    pub(super) memory: Zone,
    pub(super) confinement: &'a Confinement,
}

impl SavedDevices {
    pub(super) fn write(&self, to: File) -> io::Result<()> {
        let mut to = io::BufWriter::new(to);
        serde_json::to_writer(&mut to, self)?;
        to.flush()
    }

    pub(super) fn read(from: File) -> io::Result<Self> {
        let mut bytes = Vec::new();
        from.take(LONGEST).read_to_end(&mut bytes)?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Let the memory be in no file of the snapshot, but in the one that a machine maps: there it is as it was in the
    /// snapshot's, one range after the other.
    pub(super) fn without_memory(&mut self) -> io::Result<()> {
        let memory = field(
            &mut self.state,
            &["snapshots", "memory-manager", "snapshot_data", "state"],
        )?;
        // JSON in a text of JSON.
        let text = memory.as_str().ok_or_else(|| strange("state"))?;
        let mut inner: Value = serde_json::from_str(text)?;
        let ranges = field(&mut inner, &["memory_ranges", "data"])?.take();
        let ranges: Vec<Range> = serde_json::from_value(ranges)?;
        inner["memory_ranges"]["data"] = Value::Array(Vec::new());
        let mappings = field(&mut inner, &["guest_ram_mappings"])?.as_array_mut();
        let mappings = mappings.ok_or_else(|| strange("guest_ram_mappings"))?;
        let mut offset = 0;
        for range in ranges {
            let mut all = mappings.iter_mut();
            let mapping =
                all.find(|mapping| mapping["gpa"] == range.gpa && mapping["size"] == range.length);
            let mapping = mapping.ok_or_else(|| strange("guest_ram_mappings"))?;
            *field(mapping, &["file_offset"])? = offset.into();
            offset += range.length;
        }
        *memory = Value::String(inner.to_string());
        Ok(())
    }

    /// Let it be for this place: all names are the same in every one, but for those of TAPs.
    pub(super) fn move_to(&mut self, here: &Here<'_>) -> io::Result<()> {
        let zones = field(&mut self.config, &["memory", "zones"])?;
        let [zone] = zones.as_array_mut().map_or(&mut [][..], Vec::as_mut_slice) else {
            return Err(strange("zones"));
        };
        if *field(zone, &["size"])? != here.memory.size {
            return Err(strange("size"));
        }
        *zone = serde_json::to_value(&here.memory)?;
        let cards = self.config.get_mut("net").and_then(Value::as_array_mut);
        let cards = cards.map_or(&mut [][..], Vec::as_mut_slice);
        if cards.len() != here.taps.len() {
            return Err(strange("net"));
        }
        for (card, tap) in cards.iter_mut().zip(&here.taps) {
            *field(card, &["tap"])? = Value::String((*tap).to_owned());
        }
        let whole = self
            .config
            .as_object_mut()
            .ok_or_else(|| strange("config"))?;
        whole.insert(
            "landlock_enable".to_owned(),
            here.confinement.landlock_enable.into(),
        );
        whole.insert(
            "landlock_rules".to_owned(),
            serde_json::to_value(&here.confinement.landlock_rules)?,
        );
        Ok(())
    }
}

/// What is there under these names.
fn field<'a>(value: &'a mut Value, names: &[&'static str]) -> io::Result<&'a mut Value> {
    let mut at = value;
    for name in names {
        at = at.get_mut(name).ok_or_else(|| strange(name))?;
    }
    Ok(at)
}

/// A snapshot is not as this version of attest knows them.
fn strange(field: &str) -> io::Error {
    let words = format!("what Cloud Hypervisor saved has no such `{field}` as attest knows");
    io::Error::new(io::ErrorKind::InvalidData, words)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cloud_hypervisor::plan::confinement;

    fn zone(file: Option<&'static str>) -> Zone {
        Zone {
            id: "ram",
            size: 8192,
            file,
            shared: false,
        }
    }

    fn saved() -> SavedDevices {
        let range = |gpa: u64| json!({ "gpa": gpa, "length": 4096 });
        let memory = json!({
            "memory_ranges": { "data": [range(0), range(1 << 32)] },
            "guest_ram_mappings": [
                { "gpa": 1_u64 << 32, "size": 4096, "file_offset": 0 },
                { "gpa": 0, "size": 4096, "file_offset": 0 },
            ],
            "boot_ram": 8192,
        });
        SavedDevices {
            config: json!({
                "memory": { "size": 0, "zones": [{ "id": "ram", "size": 8192, "shared": true, "prefault": false }] },
                "net": [{ "id": "card0", "tap": "lan-0" }, { "id": "card1", "tap": "lan-1" }],
                "vsock": { "socket": "vsock", "cid": 3 },
                "landlock_enable": true,
                "landlock_rules": [{ "path": ".", "access": "rw" }],
            }),
            state: json!({
                "snapshots": { "memory-manager": { "snapshots": {}, "snapshot_data": { "state": memory.to_string() } } },
                "snapshot_data": { "state": "{}" },
            }),
        }
    }

    #[test]
    fn what_was_saved_is_read_as_it_was() {
        let file = tempfile::tempfile().unwrap();
        saved().write(file.try_clone().unwrap()).unwrap();
        io::Seek::rewind(&mut &file).unwrap();
        assert_eq!(SavedDevices::read(file).unwrap(), saved());
        let other = tempfile::tempfile().unwrap();
        (&other).write_all(b"a snapshot of something else").unwrap();
        io::Seek::rewind(&mut &other).unwrap();
        assert!(SavedDevices::read(other).is_err());
    }

    #[test]
    fn only_what_differs_is_changed() {
        let mut moved = saved();
        let here = Here {
            taps: vec!["lan-7", "lan-8"],
            memory: zone(Some("memory")),
            confinement: &confinement(false, true),
        };
        moved.move_to(&here).unwrap();
        let mut expected = saved();
        expected.config["memory"]["zones"][0] =
            json!({ "id": "ram", "size": 8192, "file": "memory", "shared": false });
        expected.config["net"][0]["tap"] = json!("lan-7");
        expected.config["net"][1]["tap"] = json!("lan-8");
        expected.config["landlock_enable"] = json!(false);
        expected.config["landlock_rules"] = json!([]);
        assert_eq!(moved, expected);
    }

    #[test]
    fn its_memory_is_taken_out_of_the_state() {
        let mut without = saved();
        without.without_memory().unwrap();
        let memory = &without.state["snapshots"]["memory-manager"]["snapshot_data"]["state"];
        let memory: Value = serde_json::from_str(memory.as_str().unwrap()).unwrap();
        let expected = json!({
            "memory_ranges": { "data": [] },
            "guest_ram_mappings": [
                { "gpa": 1_u64 << 32, "size": 4096, "file_offset": 4096 },
                { "gpa": 0, "size": 4096, "file_offset": 0 },
            ],
            "boot_ram": 8192,
        });
        assert_eq!(memory, expected);
    }

    #[test]
    fn what_is_not_as_it_should_be_is_refused_by_name() {
        let confinement = confinement(false, false);
        let here = |taps| Here {
            taps,
            memory: zone(None),
            confinement: &confinement,
        };
        let refused = |result: io::Result<()>| result.unwrap_err().to_string();
        assert!(refused(saved().move_to(&here(vec!["one"]))).contains("`net`"));
        let mut none = saved();
        none.config["memory"] = json!({});
        assert!(refused(none.move_to(&here(Vec::new()))).contains("`zones`"));
        let mut other = saved();
        other.config["memory"]["zones"][0]["size"] = json!(4096);
        assert!(refused(other.move_to(&here(Vec::new()))).contains("`size`"));
        let mut none = saved();
        none.state["snapshots"] = json!({});
        assert!(refused(none.without_memory()).contains("`memory-manager`"));
    }
}
