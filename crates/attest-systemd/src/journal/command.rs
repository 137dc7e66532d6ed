//! The commands that print the journal, as arguments; no shell takes part.

/// The fields that [`Entry`](super::Entry) is made of. Times and cursor come unasked.
const FIELDS: [&str; 10] = [
    "MESSAGE",
    "PRIORITY",
    "SYSLOG_IDENTIFIER",
    "_PID",
    "_TRANSPORT",
    "_SYSTEMD_UNIT",
    "_SYSTEMD_USER_UNIT",
    "UNIT",
    "USER_UNIT",
    "_COMM",
];

/// The command that prints all of this boot's journal, and then what is added until it is
/// ended. With `after`, the cursor of an entry, only what came after that entry.
pub fn follow(after: Option<&str>) -> Vec<String> {
    let mut command = journalctl();
    command.extend(["--follow".to_owned(), "--no-tail".to_owned()]);
    command.extend(after.map(|cursor| format!("--after-cursor={cursor}")));
    command
}

/// The command that prints the last entries of a unit of the system, and of the manager about
/// it, of this boot. The name must be complete.
pub fn last(unit: &str, count: u32) -> Vec<String> {
    let mut command = journalctl();
    command.extend([format!("--lines={count}"), format!("--unit={unit}")]);
    command
}

/// As [`last`], for a unit of a user's manager.
pub fn last_of_user(uid: u32, unit: &str, count: u32) -> Vec<String> {
    let mut command = journalctl();
    command.extend([
        format!("--lines={count}"),
        // From the unit, or from the user's manager about it: a match for each, and their sum.
        format!("_SYSTEMD_USER_UNIT={unit}"),
        format!("_UID={uid}"),
        "+".to_owned(),
        format!("USER_UNIT={unit}"),
        format!("_UID={uid}"),
    ]);
    command
}

fn journalctl() -> Vec<String> {
    let fields = format!("--output-fields={}", FIELDS.join(","));
    let fixed = [
        "journalctl",
        "--boot",
        "--quiet",
        "--no-pager",
        "--output=export",
    ];
    let mut command: Vec<String> = fixed.map(str::to_owned).into();
    command.push(fields);
    command
}
