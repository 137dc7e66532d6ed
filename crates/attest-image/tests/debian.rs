//! Whole Debians by mmdebstrap, from where this host's apt has its packages. Where that cannot
//! be, the tests say why and end.

use attest_image::root::{
    OwnKernel, Profile, RootFormat, RootImage, RootSource, RootSpec, Units, build_root,
};
use attest_image::source::{Debian, DebianError};
use attest_image::{Cache, ImageError, erofs};

fn spec(suite: &str, packages: &[&str]) -> RootSpec {
    RootSpec {
        name: "debian".to_owned(),
        source: RootSource::Debian(Debian {
            suite: suite.to_owned(),
            packages: packages.iter().map(ToString::to_string).collect(),
            mirror: None,
            components: vec!["main".to_owned()],
        }),
        profile: Profile::Lean,
        users: Vec::new(),
        files: Vec::new(),
        units: Units::default(),
        run: Vec::new(),
        format: RootFormat::Erofs,
        init: None,
        kernel: OwnKernel::Ignored,
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
