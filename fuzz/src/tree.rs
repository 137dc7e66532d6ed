use std::fs;

use attest_protocol::tree::{Limits, unpack_within};

/// Enough for what a fuzzer makes, little for a disk.
const LIMITS: Limits = Limits {
    bytes: 1 << 20,
    entries: 64,
};

/// Unpack a stream: nothing comes to be beside the destination, whatever it says.
pub fn tree(data: &[u8]) {
    let place = tempfile::tempdir().expect("a directory");
    let outer = place.path().join("outer");
    fs::create_dir(&outer).expect("a directory");
    let _ = unpack_within(data, &outer.join("to"), LIMITS);
    for (directory, only) in [(place.path(), "outer"), (&outer, "to")] {
        for entry in fs::read_dir(directory).expect("it is there") {
            assert_eq!(entry.expect("an entry").file_name(), only);
        }
    }
}
