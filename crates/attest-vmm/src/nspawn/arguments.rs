//! systemd-nspawn's command line: a pure function of the container.

use std::ffi::OsString;

use crate::ContainerConfig;

/// Where the agent is in a container: below a directory that systemd-nspawn makes anew for each.
const AGENT: &str = "/run/attest/agent";
/// The first descriptor that is passed (sd_listen_fds(3)); there is one, the agent's stream.
const STREAM: &str = "3";

/// Nothing that is for the host alone: no registration, no files of its configuration, no time
/// zone, no journal, no name servers. A file system in memory need not be synced.
const FIXED: [&str; 11] = [
    "--register=no",
    "--keep-unit",
    "--settings=no",
    "--resolv-conf=off",
    "--timezone=off",
    "--link-journal=no",
    "--suppress-sync=yes",
    "--console=interactive",
    // What systemd takes for a power-off (systemd(1), SIGNALS).
    "--kill-signal=SIGRTMIN+3",
    // As systemd-nspawn gives with a network that it makes itself.
    "--capability=CAP_NET_ADMIN",
    "--no-pager",
];

pub(super) fn build(name: &str, container: &ContainerConfig) -> Vec<OsString> {
    let mut args: Vec<OsString> = FIXED.map(OsString::from).to_vec();
    args.push(format!("--machine={name}").into());
    let path = |option: &str, path: &std::path::Path| {
        let mut text = OsString::from(option);
        text.push(path);
        text
    };
    args.push(path("--directory=", &container.root));
    let mut bind = path("--bind-ro=", &container.agent);
    bind.push(":");
    bind.push(AGENT);
    args.push(bind);
    args.push(path("--network-namespace-path=", &container.network));
    args.extend([AGENT, "--container", STREAM].map(OsString::from));
    args.extend(container.init.iter().map(OsString::from));
    args
}

/// What systemd-nspawn itself needs. What it gives its container is its own affair.
pub(super) fn environment() -> Vec<(OsString, OsString)> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    vec![
        ("PATH".into(), path),
        ("TERM".into(), "vt220".into()),
        ("SYSTEMD_COLORS".into(), "0".into()),
        // Its network is its own: what is set of it below /proc/sys and /sys, too.
        ("SYSTEMD_NSPAWN_API_VFS_WRITABLE".into(), "network".into()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_with_an_init() {
        let container = ContainerConfig {
            root: "/dev/shm/machines/web/root".into(),
            network: "/dev/shm/networks/web".into(),
            agent: "/dev/shm/agent".into(),
            init: Some("/sbin/init".to_owned()),
        };
        let args = build("web", &container);
        let args: Vec<_> = args.iter().map(|arg| arg.to_str().unwrap()).collect();
        insta::assert_snapshot!(args.join("\n"), @"
        --register=no
        --keep-unit
        --settings=no
        --resolv-conf=off
        --timezone=off
        --link-journal=no
        --suppress-sync=yes
        --console=interactive
        --kill-signal=SIGRTMIN+3
        --capability=CAP_NET_ADMIN
        --no-pager
        --machine=web
        --directory=/dev/shm/machines/web/root
        --bind-ro=/dev/shm/agent:/run/attest/agent
        --network-namespace-path=/dev/shm/networks/web
        /run/attest/agent
        --container
        3
        /sbin/init
        ");
    }
}
