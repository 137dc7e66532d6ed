//! Names of units: completed as `systemctl` completes them, and as paths of objects.

use std::fmt::Write;

use crate::error::Error;

/// The types of units, as they end names.
const TYPES: [&str; 11] = [
    "service",
    "socket",
    "target",
    "device",
    "mount",
    "automount",
    "swap",
    "timer",
    "path",
    "slice",
    "scope",
];
/// Bytes of a name; systemd's own limit.
const LONGEST: usize = 255;

/// The name of a unit as `systemctl` understands what people write: `nginx` is `nginx.service`,
/// `/srv/data` is `srv-data.mount`, `/dev/vdb` is `dev-vdb.device`, and characters that no name
/// has are escaped.
///
/// ```
/// use attest_systemd::unit_name;
///
/// assert_eq!(unit_name("nginx")?, "nginx.service");
/// assert_eq!(unit_name("/srv/my data")?, r"srv-my\x20data.mount");
/// assert!(unit_name("getty@.service").is_err());
/// # Ok::<(), attest_systemd::Error>(())
/// ```
pub fn unit_name(text: &str) -> Result<String, Error> {
    let name = mangled(text, ".service");
    let error = |reason| Error::UnitName {
        name: text.to_owned(),
        reason,
    };
    if !is_valid(&name) {
        return Err(error("it is empty, too long, or has an `@` first"));
    }
    if name.contains("@.") {
        return Err(error(
            "it is a template; name an instance of it, as `NAME@INSTANCE`",
        ));
    }
    Ok(name)
}

/// The name of a unit's file: as [`unit_name`], but templates have files too.
pub(crate) fn file_name(text: &str) -> Result<String, Error> {
    let name = mangled(text, ".service");
    if is_valid(&name) {
        return Ok(name);
    }
    let reason = "it is empty, too long, or has an `@` first";
    Err(Error::UnitName {
        name: text.to_owned(),
        reason,
    })
}

/// The path of a unit's object. It exists even when the unit is not loaded: to ask it loads it.
pub(crate) fn object_path(unit: &str) -> String {
    let mut path = "/org/freedesktop/systemd1/unit/".to_owned();
    for (at, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()) {
            path.push(char::from(byte));
        } else {
            write!(path, "_{byte:02x}").expect("a text takes all");
        }
    }
    path
}

fn mangled(text: &str, suffix: &str) -> String {
    if is_valid(text) {
        return text.to_owned();
    }
    if text.len() > 5 && (text.starts_with("/dev/") || text.starts_with("/sys/")) {
        if let Some(name) = of_path(text, ".device") {
            return name;
        }
    } else if text.starts_with('/')
        && let Some(name) = of_path(text, ".mount")
    {
        return name;
    }
    let mut name = String::new();
    for byte in text.bytes() {
        match byte {
            b'/' => name.push('-'),
            b'@' | b'\\' | b'-' => name.push(char::from(byte)),
            _ => push(&mut name, byte),
        }
    }
    if !has_type(&name) {
        name.push_str(suffix);
    }
    name
}

/// The unit of a device or of a mount point.
fn of_path(path: &str, suffix: &str) -> Option<String> {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    if parts.contains(&"..") {
        return None;
    }
    let path = parts.join("/");
    let mut name = String::new();
    for (at, byte) in path.bytes().enumerate() {
        match byte {
            b'/' => name.push('-'),
            b'.' if at == 0 => escape(&mut name, byte),
            _ => push(&mut name, byte),
        }
    }
    if name.is_empty() {
        name.push('-');
    }
    name.push_str(suffix);
    is_valid(&name).then_some(name)
}

fn push(name: &mut String, byte: u8) {
    if byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_' | b'.') {
        name.push(char::from(byte));
    } else {
        escape(name, byte);
    }
}

fn escape(name: &mut String, byte: u8) {
    write!(name, "\\x{byte:02x}").expect("a text takes all");
}

fn has_type(name: &str) -> bool {
    let dot = name.rsplit_once('.');
    dot.is_some_and(|(stem, kind)| !stem.is_empty() && TYPES.contains(&kind))
}

fn is_valid(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    name.len() <= LONGEST && has_type(name) && !name.starts_with('@') && name.bytes().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_as_systemctl_completes_them() {
        for (text, name) in [
            ("nginx", "nginx.service"),
            ("nginx.service", "nginx.service"),
            ("php8.2-fpm", "php8.2-fpm.service"),
            ("getty@tty1", "getty@tty1.service"),
            ("multi-user.target", "multi-user.target"),
            ("/", "-.mount"),
            ("/srv/data", "srv-data.mount"),
            ("/srv//data/./", "srv-data.mount"),
            ("/.hidden", r"\x2ehidden.mount"),
            ("/a-b", r"a\x2db.mount"),
            ("/dev/disk/by-id/x y", r"dev-disk-by\x2did-x\x20y.device"),
            ("my unit", r"my\x20unit.service"),
            ("é", r"\xc3\xa9.service"),
            ("/a/../b", r"-a-..-b.service"),
        ] {
            assert_eq!(unit_name(text).unwrap(), name);
        }
    }

    #[test]
    fn what_is_no_unit_is_refused_with_a_reason() {
        for text in ["", "@.service", "@x.service", &"x".repeat(300)] {
            assert!(unit_name(text).is_err(), "{text}");
        }
        let template = unit_name("getty@.service").unwrap_err().to_string();
        assert!(template.contains("template"), "{template}");
        assert_eq!(file_name("getty@.service").unwrap(), "getty@.service");
        assert!(file_name("").is_err());
    }

    #[test]
    fn paths_of_objects_have_no_other_characters() {
        assert_eq!(
            object_path(r"4a-b\x20c.service"),
            "/org/freedesktop/systemd1/unit/_34a_2db_5cx20c_2eservice"
        );
    }
}
