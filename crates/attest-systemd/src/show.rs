//! How a property looks that has a meaning beyond its type: as `systemctl show` prints it.
//!
//! The names and forms are systemd's (`systemctl-show.c`, `bus-print-properties.c`). Times are
//! in UTC, for the guest's time zone is not known here.

use crate::value::{Value, quoted};

/// What is printed after `NAME=`, one text for each line that `systemctl show` would print.
/// Most properties have one; lists of commands, listeners and timers one for each element.
pub(crate) fn lines(name: &str, value: &Value) -> Vec<String> {
    let items = value.items().unwrap_or_default();
    let each = |line: fn(&[Value]) -> Option<String>| -> Option<Vec<String>> {
        items.iter().map(|item| line(item.items()?)).collect()
    };
    let special = match (name, value) {
        ("EnvironmentFiles", Value::Array(_)) => each(|item| match item {
            [Value::Text(path), ignore] => Some(format!("{path} (ignore_errors={ignore})")),
            _ => None,
        }),
        ("Paths" | "Listen", Value::Array(_)) => each(|item| match item {
            [Value::Text(kind), Value::Text(path)] => Some(format!("{path} ({kind})")),
            _ => None,
        }),
        ("DeviceAllow", Value::Array(_)) => each(|item| match item {
            [Value::Text(path), Value::Text(access)] => Some(format!("{path} {access}")),
            _ => None,
        }),
        ("TimersMonotonic", Value::Array(_)) => each(|item| match item {
            [Value::Text(base), Value::U64(span), Value::U64(next)] => {
                let (span, next) = (timespan(*span), timespan(*next));
                Some(format!("{{ {base}={span} ; next_elapse={next} }}"))
            }
            _ => None,
        }),
        ("TimersCalendar", Value::Array(_)) => each(|item| match item {
            [Value::Text(base), Value::Text(spec), Value::U64(next)] => {
                let next = timestamp(*next);
                let next = if next.is_empty() { "(null)" } else { &next };
                Some(format!("{{ {base}={spec} ; next_elapse={next} }}"))
            }
            _ => None,
        }),
        (_, Value::Array(_)) if name.starts_with("Exec") => each(command),
        _ => None,
    };
    // A list without elements prints no line at all there; an empty one says the same.
    match special {
        Some(lines) if !lines.is_empty() => lines,
        _ => vec![line(name, value)],
    }
}

fn line(name: &str, value: &Value) -> String {
    let special = match value {
        Value::U64(number) => u64_text(name, *number),
        Value::U32(number) => u32_text(name, *number),
        Value::I32(number) if name.ends_with("ActionExitStatus") => {
            (!(0..=255).contains(number)).then(|| "[not set]".to_owned())
        }
        Value::I32(-1) if name == "NUMAPolicy" => Some("n/a".to_owned()),
        Value::Text(text) if text.contains('\n') => Some(quoted(text)),
        Value::Struct(fields) => struct_text(name, fields),
        Value::Bytes(mask) if is_cpu_set(name) => Some(ranges(mask)),
        Value::Array(_) if matches!(name, "IPAddressAllow" | "IPAddressDeny") => addresses(value),
        _ => None,
    };
    special.unwrap_or_else(|| value.to_string())
}

fn u64_text(name: &str, number: u64) -> Option<String> {
    let is_time = name.ends_with("Timestamp")
        || matches!(
            name,
            "NextElapseUSecRealtime" | "LastTriggerUSec" | "TimeUSec" | "RTCTimeUSec"
        );
    if is_time {
        return Some(timestamp(number));
    }
    if name.contains("USec") {
        let unset = name.starts_with("ManagedOOM") && number == u64::MAX;
        return Some(if unset {
            "[not set]".to_owned()
        } else {
            timespan(number)
        });
    }
    let all_ones = || {
        if name.starts_with("IPIngress") || name.starts_with("IPEgress") {
            return Some("[no data]");
        }
        let infinite = [
            "MemoryLow",
            "MemoryMin",
            "MemoryHigh",
            "MemoryMax",
            "SwapMax",
            "MemoryLimit",
            "TasksMax",
        ];
        if name.starts_with("Limit")
            || name.starts_with("DefaultLimit")
            || infinite.iter().any(|end| name.ends_with(end))
        {
            return Some("infinity");
        }
        let unset = [
            "Weight",
            "Shares",
            "Current",
            "Peak",
            "MemoryAvailable",
            "NSec",
        ];
        unset
            .iter()
            .any(|end| name.ends_with(end))
            .then_some("[not set]")
    };
    match (name, number) {
        ("CPUWeight" | "StartupCPUWeight", 0) => Some("idle".to_owned()),
        ("MemoryAvailable", u64::MAX) => Some("infinity".to_owned()),
        ("CapabilityBoundingSet" | "AmbientCapabilities" | "MountFlags", 0) => Some(String::new()),
        ("CoredumpFilter" | "CapabilityBoundingSet" | "AmbientCapabilities", _) => {
            Some(format!("0x{number:x}"))
        }
        (_, u64::MAX) => all_ones().map(str::to_owned),
        _ => None,
    }
}

fn u32_text(name: &str, number: u32) -> Option<String> {
    if name.contains("UMask") || name.contains("Mode") {
        return Some(format!("{number:04o}"));
    }
    (matches!(name, "UID" | "GID") && number == u32::MAX).then(|| "[not set]".to_owned())
}

fn struct_text(name: &str, fields: &[Value]) -> Option<String> {
    match (name, fields) {
        ("Job", [Value::U32(0), Value::Path(_)]) => Some(String::new()),
        ("Job", [Value::U32(id), Value::Path(_)]) => Some(id.to_string()),
        ("Unit", [Value::Text(unit), Value::Path(_)]) => Some(unit.clone()),
        ("LoadError", [Value::Text(name), Value::Text(words)]) => {
            let empty = name.is_empty() && words.is_empty();
            Some(if empty {
                String::new()
            } else {
                format!("{name} \"{words}\"")
            })
        }
        // Allowed, or with a `~` forbidden.
        (_, [Value::Bool(allow), list @ Value::Array(_)]) => {
            let list = list.texts()?.join(" ");
            Some(format!("{}{list}", if *allow { "" } else { "~" }))
        }
        // To be ignored when it cannot be set.
        (_, [Value::Bool(ignore), Value::Text(label)]) => {
            let ignore = *ignore && !label.is_empty();
            Some(format!("{}{label}", if ignore { "-" } else { "" }))
        }
        (_, [Value::Array(codes), Value::Array(signals)]) if name.ends_with("ExitStatus") => {
            let texts = codes.iter().map(Value::to_string);
            let signals = signals.iter().map(|signal| signal_name(signal.as_i64()));
            Some(texts.chain(signals).collect::<Vec<_>>().join(" "))
        }
        _ => None,
    }
}

/// A command of `ExecStart=` and its kin: what it is, and how it last ran.
fn command(item: &[Value]) -> Option<String> {
    let [
        Value::Text(path),
        argv,
        how,
        started,
        _,
        stopped,
        _,
        pid,
        code,
        status,
    ] = item
    else {
        return None;
    };
    let how = match how {
        Value::Bool(_) => format!("ignore_errors={how}"),
        flags => format!("flags={}", flags.texts()?.join(" ")),
    };
    let time = |time: &Value| {
        let text = timestamp(time.as_u64()?);
        Some(if text.is_empty() {
            "n/a".to_owned()
        } else {
            text
        })
    };
    let (started, stopped) = (time(started)?, time(stopped)?);
    let exited = code.as_i64() == Some(1);
    let signal = if exited {
        String::new()
    } else {
        signal_name(status.as_i64())
    };
    Some(format!(
        "{{ path={path} ; argv[]={} ; {how} ; start_time=[{started}] ; stop_time=[{stopped}] ; \
         pid={pid} ; code={} ; status={status}{}{signal} }}",
        argv.texts()?.join(" "),
        exit_code_name(code.as_i64()?),
        if exited { "" } else { "/" },
    ))
}

/// How a process ended: the `si_code` of SIGCHLD.
pub(crate) fn exit_code_name(code: i64) -> &'static str {
    match code {
        1 => "exited",
        2 => "killed",
        3 => "dumped",
        4 => "trapped",
        5 => "stopped",
        6 => "continued",
        _ => "(null)",
    }
}

/// `TERM`; nothing for 0, and the number where it has no name.
pub(crate) fn signal_name(signal: Option<i64>) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    match signal.and_then(|signal| usize::try_from(signal).ok()) {
        None | Some(0) => String::new(),
        Some(number @ 1..=31) => NAMES[number - 1].to_owned(),
        Some(number @ 34..=64) => format!("RTMIN+{}", number - 34),
        Some(number) => number.to_string(),
    }
}

fn is_cpu_set(name: &str) -> bool {
    matches!(
        name,
        "CPUAffinity"
            | "NUMAMask"
            | "AllowedCPUs"
            | "AllowedMemoryNodes"
            | "EffectiveCPUs"
            | "EffectiveMemoryNodes"
            | "StartupAllowedCPUs"
            | "StartupAllowedMemoryNodes"
    )
}

/// A mask of bits, the lowest first, as `0-3 5`.
fn ranges(mask: &[u8]) -> String {
    let is_set = |bit: usize| {
        mask.get(bit / 8)
            .is_some_and(|byte| byte & (1 << (bit % 8)) != 0)
    };
    let mut ranges = Vec::new();
    let mut bit = 0;
    while bit < mask.len() * 8 {
        if !is_set(bit) {
            bit += 1;
            continue;
        }
        let first = bit;
        while is_set(bit) {
            bit += 1;
        }
        let last = bit - 1;
        ranges.push(if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        });
    }
    ranges.join(" ")
}

fn addresses(value: &Value) -> Option<String> {
    let address = |item: &Value| {
        let [_, Value::Bytes(bytes), prefix] = item.items()? else {
            return None;
        };
        let address = match bytes.as_slice() {
            [a, b, c, d] => std::net::IpAddr::from([*a, *b, *c, *d]),
            bytes => std::net::IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
        };
        Some(format!("{address}/{prefix}"))
    };
    let texts: Option<Vec<String>> = value.items()?.iter().map(address).collect();
    Some(texts?.join(" "))
}

/// Microseconds as `1min 30.5s`.
pub(crate) fn timespan(us: u64) -> String {
    const UNITS: [(&str, u64, usize); 9] = [
        ("y", 31_557_600_000_000, 0),
        ("month", 2_629_800_000_000, 0),
        ("w", 604_800_000_000, 0),
        ("d", 86_400_000_000, 0),
        ("h", 3_600_000_000, 0),
        ("min", 60_000_000, 0),
        ("s", 1_000_000, 6),
        ("ms", 1_000, 3),
        ("us", 1, 0),
    ];
    match us {
        0 => return "0".to_owned(),
        u64::MAX => return "infinity".to_owned(),
        _ => {}
    }
    let (mut parts, mut left) = (Vec::new(), us);
    for (unit, size, digits) in UNITS {
        if left < size {
            continue;
        }
        let (whole, rest) = (left / size, left % size);
        if rest > 0 && digits > 0 {
            // Below a minute the rest is shown as decimals.
            parts.push(format!("{whole}.{rest:0digits$}{unit}"));
            break;
        }
        parts.push(format!("{whole}{unit}"));
        left = rest;
        if left == 0 {
            break;
        }
    }
    parts.join(" ")
}

/// Microseconds since 1970 as `Tue 2026-11-24 18:27:57 UTC`; nothing when never.
pub(crate) fn timestamp(us: u64) -> String {
    if us == 0 || us == u64::MAX {
        return String::new();
    }
    let seconds = us / 1_000_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    if year > 9999 {
        return "--- XXXX-XX-XX XX:XX:XX".to_owned();
    }
    let week = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let weekday = week[usize::try_from(days % 7).unwrap_or_default()];
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday} {year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Year, month and day of a day since 1970, by Hinnant's `civil_from_days`.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_look_as_systemd_prints_them() {
        for (us, text) in [
            (0, "0"),
            (1, "1us"),
            (1_500, "1.500ms"),
            (90_000_000, "1min 30s"),
            (90_500_000, "1min 30.500000s"),
            (100_000, "100ms"),
            (86_400_000_000, "1d"),
            (u64::MAX, "infinity"),
        ] {
            assert_eq!(timespan(us), text);
        }
        assert_eq!(timestamp(0), "");
        assert_eq!(
            timestamp(1_795_544_877_000_000),
            "Tue 2026-11-24 18:27:57 UTC"
        );
        assert_eq!(
            timestamp(951_782_400_000_000),
            "Tue 2000-02-29 00:00:00 UTC"
        );
        assert_eq!(timestamp(1 << 62), "--- XXXX-XX-XX XX:XX:XX");
    }

    #[test]
    fn properties_look_as_systemctl_shows_them() {
        let pair = |a: Value, b: Value| Value::Struct(vec![a, b]);
        for (name, value, text) in [
            ("TimeoutStartUSec", Value::U64(90_000_000), "1min 30s"),
            ("LimitNOFILE", Value::U64(u64::MAX), "infinity"),
            ("MemoryCurrent", Value::U64(u64::MAX), "[not set]"),
            ("IPIngressBytes", Value::U64(u64::MAX), "[no data]"),
            ("NRestarts", Value::U32(3), "3"),
            ("UMask", Value::U32(0o22), "0022"),
            ("UID", Value::U32(u32::MAX), "[not set]"),
            ("Job", pair(Value::U32(7), Value::Path("/j".into())), "7"),
            ("Job", pair(Value::U32(0), Value::Path("/".into())), ""),
            ("LoadError", pair("a".into(), "b".into()), "a \"b\""),
            ("SuccessActionExitStatus", Value::I32(-1), "[not set]"),
            ("ExecMainStatus", Value::I32(0), "0"),
            ("CPUAffinity", Value::Bytes(vec![0b0010_1111, 1]), "0-3 5 8"),
            (
                "RestrictFileSystems",
                pair(Value::Bool(false), Value::Array(vec![])),
                "~",
            ),
        ] {
            assert_eq!(lines(name, &value), [text], "{name}");
        }
    }

    #[test]
    fn signals_have_names() {
        assert_eq!(signal_name(Some(15)), "TERM");
        assert_eq!(signal_name(Some(31)), "SYS");
        assert_eq!(signal_name(Some(36)), "RTMIN+2");
        assert_eq!(signal_name(Some(0)), "");
        assert_eq!(signal_name(None), "");
        assert_eq!(signal_name(Some(99)), "99");
    }
}
