//! Cloud Hypervisor's command line, and how much of everything it has room for.

use std::os::fd::OwnedFd;

use super::version::CloudHypervisorProgram;
use crate::Program;
use crate::limits::Limits;
use crate::microvm::place::Place;

/// `NUM_DEVICE_IDS` but for the bridge, `MAX_SUPPORTED_CPUS_LEGACY`, `CMDLINE_MAX_SIZE`.
pub(super) const LIMITS: Limits = Limits {
    backend: "cloud-hypervisor",
    devices: 31,
    over: "PCI",
    vcpus: 254,
    command_line: 65536,
    command_line_of_device: 0,
    command_line_of_backend: super::plan::OWN_ARGUMENTS,
};

/// What it inherits.
pub(super) struct Inherited {
    /// A socket that listens, for its API.
    pub(super) api: OwnedFd,
    /// A pipe for what happens.
    pub(super) events: OwnedFd,
    /// Of its console.
    pub(super) input: OwnedFd,
    pub(super) output: OwnedFd,
    /// A pipe for its log.
    pub(super) errors: OwnedFd,
}

/// The program. `-v`: only then it tells that its guest is off; it costs about a millisecond of the start.
pub(super) fn program(
    found: &CloudHypervisorProgram,
    place: &Place,
    inherited: Inherited,
) -> Program {
    let mut program = Program {
        path: found.path.clone(),
        args: Vec::new(),
        environment: Vec::new(),
        directory: Some(place.path().to_owned()),
        input: Some(inherited.input),
        output: inherited.output,
        errors: Some(inherited.errors),
        fds: Vec::new(),
        listens: false,
        on_host_network: false,
        own_group: false,
    };
    let api = program.pass(inherited.api);
    let events = program.pass(inherited.events);
    program.args = [
        "-v".to_owned(),
        "--api-socket".to_owned(),
        format!("fd={api}"),
        "--event-monitor".to_owned(),
        format!("fd={events}"),
    ]
    .map(Into::into)
    .into();
    program
}
