//! Whole Debians by mmdebstrap, from where this host's apt has its packages. Where that cannot
//! be, the tests say why and end.

use attest_image::root::{NewUser, Profile, RootImage, RootSource, RootSpec, Units, build_root};
use attest_image::source::{Debian, DebianError};
use attest_image::{Cache, ImageError, erofs};

fn spec(suite: &str, packages: &[&str]) -> RootSpec {
    let source = RootSource::Debian(Debian {
        suite: suite.to_owned(),
        packages: packages.iter().map(ToString::to_string).collect(),
        mirror: None,
        components: vec!["main".to_owned()],
    });
    RootSpec {
        profile: Profile::Lean,
        ..RootSpec::new("debian", source)
    }
}

fn build(spec: &RootSpec) -> Option<(tempfile::TempDir, Result<RootImage, ImageError>)> {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path()).unwrap();
    let mut steps = Vec::new();
    let built = build_root(&cache, spec, &mut |step| steps.push(step.to_string()));
    if let Err(ImageError::Debian { source, .. }) = &built
        && let DebianError::Missing | DebianError::Unreachable { .. } | DebianError::Rights { .. } =
            source
    {
        eprintln!("skipped: {source}");
        return None;
    }
    eprintln!("{}", steps.join("\n"));
    Some((directory, built))
}

#[test]
fn a_minimal_system_is_made() {
    let Some((_directory, built)) = build(&spec("stable", &[])) else {
        return;
    };
    let built = built.unwrap();
    let tree = erofs::read(&built.path).unwrap();
    assert!(built.facts.system.unwrap().starts_with("Debian"));
    for masked in [
        "apt-daily.timer",
        "serial-getty@.service",
        "ldconfig.service",
        "systemd-random-seed.service",
        "systemd-gpt-auto-generator",
        "kmod-static-nodes.service",
    ] {
        assert!(built.facts.masked.contains(&masked.to_owned()), "{masked}");
    }
    assert_eq!(
        built.facts.on_demand,
        [
            "systemd-logind.service",
            "dbus.service",
            "sys-kernel-config.mount",
            "sys-fs-fuse-connections.mount"
        ]
    );
    for stamp in ["etc/.updated", "var/.updated"] {
        let usr = tree.get("usr").unwrap().attributes.modified;
        assert_eq!(tree.get(stamp).unwrap().attributes.modified, usr);
    }
    assert!(
        tree.get("etc/machine-id")
            .unwrap()
            .contents()
            .unwrap()
            .is_empty()
    );
    assert_eq!(built.facts.init.as_deref(), Some("/sbin/init"));
    for path in [
        "usr/bin/ip",
        "usr/bin/ping",
        "usr/bin/dbus-daemon",
        "etc/services",
    ] {
        assert!(tree.get(path).is_some(), "{path}");
    }
    for path in ["etc/hostname", "etc/resolv.conf"] {
        assert!(tree.get(path).is_none(), "{path} is of the host");
    }
    assert!(mounts().is_empty(), "{:?}", mounts());
}

fn mounts() -> Vec<String> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let of_build = mounts.lines().filter(|line| line.contains("mmdebstrap"));
    of_build.map(str::to_owned).collect()
}

#[test]
fn what_is_declared_is_done_to_real_packages() {
    let mut spec = spec("stable", &["cron"]);
    spec.users = vec![NewUser {
        name: "alice".to_owned(),
        groups: vec!["sudo".to_owned()],
        ..NewUser::default()
    }];
    spec.units = Units {
        enable: vec!["systemd-networkd".to_owned(), "getty@tty1".to_owned()],
        disable: vec!["cron".to_owned()],
        mask: Vec::new(),
    };
    let needs_root = rustix::process::geteuid().is_root();
    if needs_root {
        // The tools of the system itself say whether it is sound.
        let checks = [
            "pwck -rq",
            "grpck -r",
            "id alice | grep -q sudo",
            "systemctl is-enabled systemd-networkd",
        ];
        spec.run = checks.map(str::to_owned).to_vec();
    }
    let Some((_directory, built)) = build(&spec) else {
        return;
    };
    let built = built.unwrap_or_else(|error| panic!("{error}"));
    assert!(
        built
            .facts
            .enabled
            .contains(&"systemd-networkd.socket".to_owned())
    );
    assert!(!built.facts.masked.contains(&"getty@.service".to_owned()));
    let tree = erofs::read(&built.path).unwrap();
    let link = |path: &str| {
        tree.find(format!("etc/systemd/system/{path}"))
            .unwrap()
            .is_some()
    };
    assert!(link("multi-user.target.wants/systemd-networkd.service"));
    assert!(link("getty.target.wants/getty@tty1.service"));
    assert!(!link("multi-user.target.wants/cron.service"));
    let passwd = tree
        .get("etc/passwd")
        .unwrap()
        .contents()
        .unwrap()
        .read(1 << 20)
        .unwrap();
    assert!(
        String::from_utf8(passwd)
            .unwrap()
            .contains("alice:x:1000:1000::/home/alice:/bin/bash")
    );
}

#[test]
fn a_package_or_suite_that_is_not_there_is_named() {
    let Some((directory, built)) = build(&spec("stable", &["no-such-package"])) else {
        return;
    };
    let Err(ImageError::Debian { source, .. }) = built else {
        panic!("{built:?}");
    };
    assert!(
        source.to_string().contains("no package `no-such-package`"),
        "{source}"
    );
    let left = std::fs::read_dir(directory.path()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().path()).collect();
    assert!(
        left.iter()
            .all(|path| path.extension().is_some_and(|it| it == "lock")),
        "{left:?}"
    );

    let Some((_directory, built)) = build(&spec("no-such-suite", &[])) else {
        return;
    };
    let Err(ImageError::Debian { source, .. }) = built else {
        panic!("{built:?}");
    };
    assert!(
        source.to_string().contains("no suite `no-such-suite`"),
        "{source}"
    );
}
