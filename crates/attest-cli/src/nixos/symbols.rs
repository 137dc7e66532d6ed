//! `generate-driver-symbols`: the names that scripts may use, for linters.

use std::process::ExitCode;

use super::end::Refusal;

/// The file that it writes, in the working directory.
const FILE: &str = "driver-symbols";

/// The globals of every script, whatever its machines. The test of the package compares them with
/// what it really defines.
pub(super) const GLOBALS: &[&str] = &[
    "start_all",
    "test_script",
    "machines",
    "machines_qemu",
    "machines_nspawn",
    "vlans",
    "driver",
    "log",
    "os",
    "create_machine",
    "subtest",
    "run_tests",
    "join_all",
    "retry",
    "serial_stdout_off",
    "serial_stdout_on",
    "polling_condition",
    "Machine",
    "BaseMachine",
    "QemuMachine",
    "NspawnMachine",
    "t",
    "debug",
    "dump_machine_ssh",
];

/// Write them.
pub(crate) fn generate() -> ExitCode {
    match std::fs::write(FILE, GLOBALS.join(",")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => Refusal::failed(format!("./{FILE} cannot be written: {error}")).report(),
    }
}
