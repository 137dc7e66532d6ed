//! What runs where systemd does not.
//!
//! A caller connects first: where that goes well, systemd is there. Where it does not, it runs
//! [`COMMAND`] in the guest and gives what was printed to [`why_not`], whose error tells a
//! guest without systemd from one whose systemd is not up yet.

use crate::error::Error;
use crate::manager::SYSTEM_SOCKET;

/// A command for `sh -c` in the guest that prints what [`why_not`] reads. It needs nothing but
/// a shell and `/proc`, and always succeeds.
pub const COMMAND: &str = "\
    read -r name < /proc/1/comm; echo \"comm=$name\"; \
    echo \"exe=$(readlink /proc/1/exe)\"; echo \"parent=$(readlink /proc/$PPID/exe)\"; \
    for path in /run/systemd/system /run/openrc /run/runit /run/s6 /run/s6-rc /run/dinitctl; do \
    [ -e $path ] && echo \"has=$path\"; done; true";

/// Whether PID 1 is still the program that runs [`COMMAND`], by what that printed: in a system
/// that it only starts, the moment before it becomes the system's init.
pub fn is_before_init(printed: &str) -> bool {
    let exe = value(printed, "exe=");
    !exe.is_empty() && exe == value(printed, "parent=")
}

/// Why there is no connection to this socket of systemd's, by what [`COMMAND`] printed:
/// [`Error::NotSystemd`] with what PID 1 is, or [`Error::NotServed`].
///
/// ```
/// use attest_systemd::{Error, SYSTEM_SOCKET, detect};
///
/// let printed = "comm=init\nexe=/sbin/openrc-init\nhas=/run/openrc\n";
/// let error = detect::why_not(SYSTEM_SOCKET, printed);
/// assert!(matches!(error, Error::NotSystemd { init } if init == "OpenRC"));
/// ```
pub fn why_not(socket: &str, printed: &str) -> Error {
    let has = |path: &str| {
        printed
            .lines()
            .any(|line| line.strip_prefix("has=") == Some(path))
    };
    let comm = value(printed, "comm=");
    let exe = value(printed, "exe=");
    // systemd's own test (sd_booted) is this directory; a moment earlier only its name tells.
    if has("/run/systemd/system") || comm == "systemd" || exe.ends_with("/systemd") {
        let advice = if socket == SYSTEM_SOCKET {
            "wait for the socket, or boot the guest with a working systemd"
        } else {
            "log the user in, or let it linger: `loginctl enable-linger USER`"
        };
        return Error::NotServed {
            socket: socket.to_owned(),
            advice,
        };
    }
    let init = if has("/run/openrc") {
        "OpenRC"
    } else if has("/run/runit") || comm == "runit" {
        "runit"
    } else if has("/run/s6-rc") || has("/run/s6") || comm.starts_with("s6-svscan") {
        "s6"
    } else if has("/run/dinitctl") || comm == "dinit" {
        "dinit"
    } else if exe.ends_with("/busybox") {
        "busybox init"
    } else if is_before_init(printed) {
        "attest's agent (the bare image has no init system)"
    } else {
        let init = if comm.is_empty() { "unknown" } else { comm };
        return Error::NotSystemd {
            init: format!("`{}`", short(init)),
        };
    };
    Error::NotSystemd {
        init: init.to_owned(),
    }
}

fn value<'a>(printed: &'a str, key: &str) -> &'a str {
    let value = printed.lines().find_map(|line| line.strip_prefix(key));
    value.unwrap_or_default().trim()
}

/// The kernel cuts names at 15 bytes; a guest may say what it wants.
fn short(name: &str) -> &str {
    &name[..name.floor_char_boundary(64)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pid_1_is_is_named() {
        for (printed, init) in [
            ("comm=init\nexe=/bin/busybox\n", "busybox init"),
            (
                "comm=openrc-init\nexe=/sbin/openrc-init\nhas=/run/openrc\n",
                "OpenRC",
            ),
            ("comm=runit\nexe=/sbin/runit\n", "runit"),
            ("comm=init\nexe=/sbin/init\n", "`init`"),
            ("comm=bash\nexe=/bin/bash\n", "`bash`"),
            (
                "comm=init\nexe=/init\nparent=/init\n",
                "attest's agent (the bare image has no init system)",
            ),
            ("", "`unknown`"),
        ] {
            match why_not(SYSTEM_SOCKET, printed) {
                Error::NotSystemd { init: found } => assert_eq!(found, init),
                other => panic!("{printed:?}: {other}"),
            }
        }
    }

    #[test]
    fn systemd_that_is_not_up_yet_is_no_other_init() {
        for printed in [
            "comm=systemd\nexe=/usr/lib/systemd/systemd\n",
            "comm=x\nhas=/run/systemd/system\n",
        ] {
            let error = why_not(SYSTEM_SOCKET, printed).to_string();
            assert!(error.contains("wait for the socket"), "{error}");
        }
        let error = why_not(&crate::user_socket(1000), "comm=systemd\nexe=\n").to_string();
        assert!(error.contains("/run/user/1000/systemd/private"), "{error}");
        assert!(error.contains("linger"), "{error}");
    }
}
