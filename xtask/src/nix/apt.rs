//! The host's apt with directories of its own: packages of another release, and none installed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::said;
use crate::{packages, tools};

/// Debian's keys for all of its releases, where the host has them. Elsewhere apt knows what it trusts.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Names of releases that sources may have in place of the host's own.
const ALIASES: [&str; 4] = ["stable", "testing", "unstable", "sid"];

/// Packages of one release.
#[derive(Debug)]
pub(super) struct Apt {
    root: PathBuf,
}

impl Apt {
    /// With its lists and its packages in a new directory, from the mirror that the host uses.
    pub(super) fn new(suite: &str, host: Option<&str>, root: PathBuf) -> Result<Self, String> {
        let path = tools::path();
        if std::env::consts::ARCH != "x86_64" {
            return Err("it is for amd64, which this host is not".to_owned());
        }
        if !["apt-get", "dpkg-deb"]
            .iter()
            .all(|program| packages::in_path(program, &path))
        {
            return Err("this host has no apt".to_owned());
        }
        let format = ["indextargets", "--format", "$(RELEASE) $(REPO_URI)"];
        let what = ["Created-By: Packages", "Component: main"];
        let targets = said(Command::new("apt-get").args(format).args(what))?;
        let mirror = mirror(&targets, host).ok_or("apt of this host has no mirror of Debian")?;
        let keys = if Path::new(KEYS).exists() {
            format!(" signed-by={KEYS}")
        } else {
            String::new()
        };
        let source = format!("deb [arch=amd64{keys}] {mirror} {suite} main\n");
        let made = make(&root, &source);
        made.map_err(|error| format!("{}: {error}", root.display()))?;
        Ok(Self { root })
    }

    /// Fetches these packages with all that they depend on, and unpacks them there.
    pub(super) fn unpack(&self, packages: &[&str], into: &Path) -> Result<(), String> {
        said(self.command().arg("update"))?;
        let options = [
            "install",
            "--yes",
            "--download-only",
            "--no-install-recommends",
        ];
        said(self.command().args(options).args(packages))?;
        let archives = self.archives().read_dir();
        let archives = archives.map_err(|error| format!("{}: {error}", self.root.display()))?;
        let archives = archives.flatten().map(|entry| entry.path());
        for archive in archives.filter(|path| path.extension().is_some_and(|end| end == "deb")) {
            said(
                Command::new("dpkg-deb")
                    .arg("--extract")
                    .args([&archive, into]),
            )?;
        }
        Ok(())
    }

    fn archives(&self) -> PathBuf {
        self.root.join("archives")
    }

    /// How the host reaches its mirror stays true: all else of its configuration is read.
    fn command(&self) -> Command {
        let root = self.root.display();
        let mut command = Command::new("apt-get");
        for option in [
            format!("Dir::State={root}"),
            format!("Dir::State::lists={root}/lists"),
            format!("Dir::State::status={root}/status"),
            format!("Dir::Cache={root}"),
            format!("Dir::Cache::archives={root}/archives"),
            format!("Dir::Etc::sourcelist={root}/sources.list"),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            "Dir::Etc::preferences=/dev/null".to_owned(),
            "Dir::Etc::preferencesparts=/dev/null".to_owned(),
            "APT::Default-Release=".to_owned(),
            // Its own user may not enter a home directory.
            "APT::Sandbox::User=".to_owned(),
            "Acquire::Languages=none".to_owned(),
            // It takes it for a success else, when it reaches no mirror.
            "APT::Update::Error-Mode=any".to_owned(),
            "Acquire::Retries=1".to_owned(),
            "Acquire::http::Timeout=30".to_owned(),
            "Acquire::https::Timeout=30".to_owned(),
        ] {
            command.args(["--option", &option]);
        }
        command.arg("--quiet");
        command
    }
}

fn make(root: &Path, source: &str) -> io::Result<()> {
    for directory in ["lists/partial", "archives/partial"] {
        fs::create_dir_all(root.join(directory))?;
    }
    fs::write(root.join("sources.list"), source)?;
    fs::write(root.join("status"), "")
}

/// Of lines of a release and an address. A host's other sources are not Debian's.
fn mirror<'a>(targets: &'a str, host: Option<&str>) -> Option<&'a str> {
    let sources = || targets.lines().filter_map(|line| line.split_once(' '));
    let own = sources().find(|(release, _)| host == Some(*release));
    let found = own.or_else(|| sources().find(|(release, _)| ALIASES.contains(release)));
    found.map(|(_, address)| address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_one_that_the_host_has_its_own_release_from() {
        let targets = "cloud-bookworm http://a.example/apt/\nbookworm-security http://b.example/security/\n\
                       sid http://c.example/debian/\nbookworm http://d.example/debian/\n";
        assert_eq!(
            mirror(targets, Some("bookworm")),
            Some("http://d.example/debian/")
        );
        assert_eq!(
            mirror(targets, Some("forky")),
            Some("http://c.example/debian/")
        );
        assert_eq!(
            mirror("nodistro http://e.example/\n", Some("bookworm")),
            None
        );
        assert_eq!(mirror("", None), None);
    }
}
