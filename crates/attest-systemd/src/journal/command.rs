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

/// Where a journal is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since<'a> {
    /// All of this boot.
    Boot,
    /// What came after the entry of this cursor.
    Cursor(&'a str),
    /// What came in this second of the guest's clock, since 1970, or later.
    Second(u64),
}

/// The command that prints this boot's journal from there on, and then what is added until it is
/// ended.
pub fn follow(since: Since<'_>) -> Vec<String> {
    let mut command = journalctl();
    command.extend(["--follow".to_owned(), "--no-tail".to_owned()]);
    command.extend(match since {
        Since::Boot => None,
        Since::Cursor(cursor) => Some(format!("--after-cursor={cursor}")),
        Since::Second(second) => Some(format!("--since=@{second}")),
    });
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
