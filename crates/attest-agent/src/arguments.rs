//! What the kernel's command line says to the agent: words of the shape `attest.NAME=VALUE`.

use std::fs;

/// The value of an argument. The last one counts, as for the kernel's own.
pub(crate) fn value<'a>(command_line: &'a str, name: &str) -> Option<&'a str> {
    let words = command_line.split_ascii_whitespace().rev();
    let mut named = words.filter_map(|word| word.strip_prefix("attest.")?.split_once('='));
    named.find_map(|(known, value)| (known == name).then_some(value))
}

/// The command line of the kernel that runs; empty where there is no `/proc`.
pub(crate) fn of_the_kernel() -> String {
    fs::read_to_string("/proc/cmdline").unwrap_or_default()
}

/// What concerns the machine beneath a system, whatever that is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arguments {
    /// `attest.vsock`: the stream to the host is a connection to this port of it. Absent: it is the
    /// virtio-serial port `attest.0`.
    pub vsock: Option<u32>,
    /// `attest.disks`: names of the virtio disks in the order of the devices, with commas between
    /// them; for hosts that give their disks no serial numbers.
    pub disks: Vec<String>,
    /// `attest.boot-timer`: the physical address of a device that is told when user space begins.
    pub boot_timer: Option<u64>,
    /// What was given and makes no sense, whole.
    pub senseless: Vec<String>,
}

impl Arguments {
    /// Read them.
    pub fn parse(command_line: &str) -> Self {
        let mut senseless = Vec::new();
        let mut number = |name: &str| {
            let text = value(command_line, name)?;
            let number = number(text);
            if number.is_none() {
                senseless.push(format!("attest.{name}={text}"));
            }
            number
        };
        let boot_timer = number("boot-timer");
        let port = number("vsock");
        let vsock = port.and_then(|port| u32::try_from(port).ok());
        if let (Some(port), None) = (port, vsock) {
            senseless.push(format!("attest.vsock={port}"));
        }
        Self {
            vsock,
            disks: disks(command_line),
            boot_timer,
            senseless,
        }
    }

    /// Those of the kernel that runs.
    pub fn of_the_kernel() -> Self {
        Self::parse(&of_the_kernel())
    }
}

/// `attest.disks`.
pub(crate) fn disks(command_line: &str) -> Vec<String> {
    let names = value(command_line, "disks").unwrap_or_default().split(',');
    // A disk that nobody looks for has no name, and its place all the same.
    let names: Vec<_> = names.map(str::to_owned).collect();
    if names == [""] { Vec::new() } else { names }
}

/// Decimal, or hexadecimal after `0x`.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_and_the_last_of_each_counts() {
        let arguments = Arguments::parse(
            "quiet attest.vsock=1 attest.vsock=1024 attest.disks=root,,disk0 vsock=7 \
             attest.boot-timer=0xc0000000\n",
        );
        let expected = Arguments {
            vsock: Some(1024),
            disks: ["root", "", "disk0"].map(str::to_owned).to_vec(),
            boot_timer: Some(0xc000_0000),
            senseless: Vec::new(),
        };
        assert_eq!(arguments, expected);
        for none in ["", "quiet attest.root=a", "attest.vsock attest.disks="] {
            assert_eq!(Arguments::parse(none), Arguments::default(), "{none}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_named_and_left_out() {
        let arguments =
            Arguments::parse("attest.vsock=4294967296 attest.boot-timer=0xcats attest.disks=a");
        assert_eq!((arguments.vsock, arguments.boot_timer), (None, None));
        assert_eq!(arguments.disks, ["a"]);
        let named = ["attest.boot-timer=0xcats", "attest.vsock=4294967296"];
        assert_eq!(arguments.senseless, named);
    }
}
