//! The command line of a start script: pure functions of the contract that the NixOS test driver has
//! with it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use attest_backdoor::PORT;

use crate::ScriptConfig;

/// The sockets in the state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Paths {
    /// QEMU listens there.
    pub(super) qmp: PathBuf,
    /// We listen there, for the monitor for people,
    pub(super) monitor: PathBuf,
    /// for the guest's root shell,
    pub(super) shell: PathBuf,
    /// and for the agent's port, if it may be put into the guest.
    pub(super) port: Option<PathBuf>,
}

impl Paths {
    pub(super) fn of(script: &ScriptConfig) -> Self {
        let at = |name| script.state.join(name);
        Self {
            qmp: at("qmp"),
            monitor: at("monitor"),
            shell: at("shell"),
            port: script.agent.is_some().then(|| at("attest")),
        }
    }
}

/// The line for `sh -c`. Whether QEMU may open a window is decided by the script's environment.
pub(super) fn line(script: &ScriptConfig, paths: &Paths) -> OsString {
    let mut line = OsString::from(&script.command);
    let mut add = |parts: &[&OsStr]| {
        line.push(" ");
        for part in parts {
            line.push(part);
        }
    };
    let word = OsStr::new;
    let quoted = |path: &Path| quoted(path.as_os_str());
    let (qmp, monitor, shell) = (
        quoted(&paths.qmp),
        quoted(&paths.monitor),
        quoted(&paths.shell),
    );
    add(&[word("-qmp unix:"), &qmp, word(",server=on,wait=off")]);
    add(&[word("-monitor unix:"), &monitor]);
    add(&[word("-chardev socket,id=shell,path="), &shell]);
    add(&[word("-device virtio-serial")]);
    add(&[word("-device virtconsole,chardev=shell")]);
    add(&[word("-device virtio-rng-pci")]);
    add(&[word("-serial stdio")]);
    if !script.allow_reboot {
        add(&[word("-no-reboot")]);
    }
    let has_display = |(name, _): &(OsString, OsString)| {
        ["DISPLAY", "WAYLAND_DISPLAY"]
            .iter()
            .any(|display| name == display)
    };
    if !script.environment.iter().any(has_display) {
        add(&[word("-nographic")]);
    }
    // Not of the contract, so after all of it.
    if let Some(port) = &paths.port {
        let port = self::quoted(port.as_os_str());
        add(&[word("-chardev socket,id=attest,path="), &port]);
        let name = format!("-device virtserialport,chardev=attest,name={PORT}");
        add(&[word(&name)]);
    }
    line
}

/// The script's environment: the caller's, and where its files are.
pub(super) fn environment(script: &ScriptConfig) -> Vec<(OsString, OsString)> {
    let own = [
        ("TMPDIR", script.state.clone().into_os_string()),
        ("SHARED_DIR", script.shared.clone().into_os_string()),
        ("USE_TMPDIR", "1".into()),
    ];
    let is_own = |name: &OsStr| own.iter().any(|(own, _)| name == *own);
    let mut environment: Vec<_> = script
        .environment
        .iter()
        .filter(|(name, _)| !is_own(name))
        .cloned()
        .collect();
    environment.extend(own.map(|(name, value)| (name.into(), value)));
    environment
}

/// A path as one word of a shell, and as a part of an option of QEMU's, where a comma is written
/// twice.
fn quoted(path: &OsStr) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+@%:=".contains(byte);
    let bytes = path.as_bytes();
    if bytes.iter().all(plain) {
        return path.to_owned();
    }
    let mut word = vec![b'\''];
    for byte in bytes {
        match byte {
            b'\'' => word.extend_from_slice(b"'\\''"),
            b',' => word.extend_from_slice(b",,"),
            other => word.push(*other),
        }
    }
    word.push(b'\'');
    OsString::from_vec(word)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn script() -> ScriptConfig {
        ScriptConfig {
            command: "/nix/store/x/bin/run-m-vm".to_owned(),
            state: "/run/user/0/vm-state-m".into(),
            shared: "/run/user/0/shared-xchg".into(),
            environment: vec![("TMPDIR".into(), "/tmp".into()), ("A".into(), "b".into())],
            allow_reboot: false,
            agent: None,
            connects_within: Duration::from_mins(1),
        }
    }

    fn built(script: &ScriptConfig) -> String {
        line(script, &Paths::of(script)).into_string().unwrap()
    }

    #[test]
    fn the_line_is_that_of_the_contract() {
        let contract = "/nix/store/x/bin/run-m-vm \
            -qmp unix:/run/user/0/vm-state-m/qmp,server=on,wait=off \
            -monitor unix:/run/user/0/vm-state-m/monitor \
            -chardev socket,id=shell,path=/run/user/0/vm-state-m/shell \
            -device virtio-serial -device virtconsole,chardev=shell -device virtio-rng-pci \
            -serial stdio";
        assert_eq!(
            built(&script()),
            format!("{contract} -no-reboot -nographic")
        );
        let with_display = ScriptConfig {
            allow_reboot: true,
            environment: vec![("WAYLAND_DISPLAY".into(), "wayland-0".into())],
            ..script()
        };
        assert_eq!(built(&with_display), contract);
    }

    #[test]
    fn the_agents_port_comes_last() {
        let with_agent = ScriptConfig {
            agent: Some([1_u8].into()),
            ..script()
        };
        let line = built(&with_agent);
        assert!(
            line.ends_with(
                " -nographic -chardev socket,id=attest,path=/run/user/0/vm-state-m/attest \
                 -device virtserialport,chardev=attest,name=org.attest.agent"
            ),
            "{line}"
        );
    }

    #[test]
    fn odd_directories_stay_one_word() {
        let odd = ScriptConfig {
            state: "/tmp/it's a, b".into(),
            ..script()
        };
        let line = built(&odd);
        assert!(
            line.contains(r" -monitor unix:'/tmp/it'\''s a,, b/monitor' "),
            "{line}"
        );
    }

    #[test]
    fn the_environment_is_the_callers_and_the_contracts() {
        let expected = [
            ("A", "b"),
            ("TMPDIR", "/run/user/0/vm-state-m"),
            ("SHARED_DIR", "/run/user/0/shared-xchg"),
            ("USE_TMPDIR", "1"),
        ];
        let expected = expected.map(|(name, value)| (name.into(), value.into()));
        assert_eq!(environment(&script()), expected);
    }
}
