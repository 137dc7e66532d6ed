//! A guest with a whole system in it: Debian with systemd, and the backdoor as one of its units, as
//! it is on NixOS.

use attest_image::Cache;
use attest_image::root::{
    NewContent, NewFile, NewUser, Profile, RootImage, RootSource, RootSpec, Units, build_root,
};
use attest_image::source::Debian;

use crate::{Fixture, FixtureError, MODULES, PROGRAMS, guest};

/// The initramfs' first program.
pub(crate) const STAGE: &str = include_str!("guest/stage.sh");
/// Modules for its root, beside what all guests need.
pub(crate) const ROOT: [&str; 2] = ["erofs", "overlay"];
const SUITE: &str = "bookworm";
const PACKAGES: [&str; 4] = ["iproute2", "libpam-systemd", "netcat-openbsd", "procps"];
pub(crate) const UNITS: [(&str, &str); 3] = [
    ("backdoor", include_str!("guest/backdoor.service")),
    ("fixture-cards", include_str!("guest/fixture-cards.service")),
    ("fixture-login", include_str!("guest/fixture-login.service")),
];

impl Fixture {
    /// As [`Fixture::new`], with a Debian that systemd starts: users `alice` and root, no password, a
    /// VLAN's cards with their addresses.
    ///
    /// # Errors
    /// As there, and the host cannot make a Debian: for tests, a reason to be skipped.
    pub fn system() -> Result<Self, FixtureError> {
        let cache = Cache::open(&Cache::default_directory()?)?;
        let kernel = crate::kernel(&cache)?;
        let root = root(&cache)?;
        let guest = guest(&cache, &kernel, STAGE, &[&MODULES[..], &ROOT].concat(), &[])?;
        Ok(Self {
            guest,
            disks: vec![root.path.clone()],
            _lease: Some(root),
        })
    }
}

fn root(cache: &Cache) -> Result<RootImage, FixtureError> {
    let source = RootSource::Debian(Debian {
        suite: SUITE.to_owned(),
        packages: PACKAGES.map(str::to_owned).to_vec(),
        mirror: None,
        components: vec!["main".to_owned()],
    });
    let text = |path: String, text: &str, mode: u16| NewFile {
        path,
        content: NewContent::Text(text.to_owned()),
        mode: Some(mode),
    };
    let programs =
        PROGRAMS.map(|(path, program)| text(format!("/usr/local{path}"), program, 0o755));
    let mut files = vec![text("/var/lib/systemd/linger/alice".to_owned(), "", 0o644)];
    files.extend(programs);
    files.extend(
        UNITS.map(|(name, unit)| text(format!("/etc/systemd/system/{name}.service"), unit, 0o644)),
    );
    let spec = RootSpec {
        profile: Profile::Lean,
        users: vec![NewUser {
            name: "alice".to_owned(),
            uid: Some(1000),
            ..NewUser::default()
        }],
        files,
        units: Units {
            enable: UNITS.map(|(name, _)| name.to_owned()).to_vec(),
            ..Units::default()
        },
        ..RootSpec::new("fixture", source)
    };
    Ok(build_root(cache, &spec, &mut |step| eprintln!("{step}"))?)
}
