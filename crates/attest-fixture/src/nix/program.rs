//! A version of Nix, with a store of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use tempfile::TempDir;

use super::Tested;
use super::bundle::{Bundle, lock_file};
use super::sources::Sources;
use super::watch;

/// Stores of so many versions of the tested program are kept, and then thrown away.
const MOST_BUNDLES: usize = 8;

/// One version, ready to evaluate and to build.
#[derive(Debug)]
pub struct Nix {
    program: PathBuf,
    /// As it says itself.
    pub version: String,
    /// Below it is `/nix/store`.
    pub place: PathBuf,
    /// attest's flake and the stub.
    pub sources: Sources,
    /// Its configuration, its home.
    own: TempDir,
    /// What its sandbox sees as `/host`.
    pub bundle: Arc<Bundle>,
    /// Nobody may remove the store meanwhile.
    _lock: File,
}

/// A command that failed.
#[derive(Debug)]
pub struct Failure {
    /// All that Nix said.
    pub stderr: String,
}

impl Failure {
    /// The error itself, without the way to it, and without what differs from place to place.
    pub fn message(&self, nix: &Nix) -> String {
        let text = self.stderr.rsplit("error: ").next().unwrap_or_default();
        let places = [nix.sources.attest(), nix.sources.nixpkgs()];
        let mut text = text.to_owned();
        for (place, name) in places.iter().zip(["attest", "nixpkgs"]) {
            text = text.replace(&place.display().to_string(), name);
        }
        let lines = text.lines().map(str::trim);
        // Older versions say how to see more.
        let lines = lines.filter(|line| !line.starts_with("(use '--show-trace'"));
        lines.collect::<Vec<_>>().join("\n").trim().to_owned()
    }
}

/// What went well, or how it did not.
pub trait Well<T> {
    /// What went well; else this panics with what Nix said.
    fn well(self, nix: &Nix) -> T;
}

impl<T> Well<T> for Result<T, Failure> {
    fn well(self, nix: &Nix) -> T {
        self.unwrap_or_else(|failure| panic!("Nix {}:\n{}", nix.version, failure.stderr))
    }
}

impl Nix {
    /// All that there are, the oldest first. Says what is skipped, and why.
    pub fn all(tested: &Tested) -> Vec<Self> {
        let programs = programs();
        if programs.is_empty() {
            eprintln!("skipped: there is no Nix: neither in $ATTEST_NIX nor on PATH");
            return Vec::new();
        }
        let bundle = match Bundle::get(tested) {
            Ok(bundle) => Arc::new(bundle),
            Err(reason) => {
                eprintln!("skipped: {reason}");
                return Vec::new();
            }
        };
        let mut found: Vec<Self> = programs
            .iter()
            .filter_map(
                |program| match Self::new(program, &bundle, &tested.shared) {
                    Ok(nix) => Some(nix),
                    Err(reason) => {
                        eprintln!("skipped: {}: {reason}", program.display());
                        None
                    }
                },
            )
            .collect();
        found.sort_by_key(Self::order);
        found
    }

    /// The newest.
    pub fn newest(tested: &Tested) -> Option<Self> {
        Self::all(tested).pop()
    }

    /// All but the newest.
    pub fn older(tested: &Tested) -> Vec<Self> {
        let mut all = Self::all(tested);
        all.pop();
        if all.is_empty() {
            eprintln!("skipped: there is no second version of Nix");
        }
        all
    }

    /// Its version's numbers.
    fn order(&self) -> Vec<u32> {
        let parts = self.version.split('.');
        parts.map(|part| part.parse().unwrap_or(0)).collect()
    }

    /// Whether outputs may refer to less than is in them, which `nix/lib/builder.nix` makes use of.
    pub fn forgets_references(&self) -> bool {
        self.order() >= vec![2, 17]
    }

    fn new(program: &Path, bundle: &Arc<Bundle>, shared: &Path) -> Result<Self, String> {
        let said = Command::new(program).arg("--version").output();
        let said = said.map_err(|error| format!("it cannot be started: {error}"))?;
        let version = String::from_utf8_lossy(&said.stdout);
        let version = version.split_whitespace().last().unwrap_or("").to_owned();
        if !said.status.success() || version.is_empty() {
            return Err("it does not say its version".to_owned());
        }
        let place = shared.join(format!("store-{version}"));
        let lock = keep_or_clear(&place, bundle)
            .unwrap_or_else(|error| panic!("{}: {error}", place.display()));
        let sources = Sources::new(bundle).unwrap();
        let own = TempDir::new().unwrap();
        let text = configuration(bundle, &place);
        fs::write(own.path().join("nix.conf"), text).unwrap();
        let nix = Self {
            program: program.to_owned(),
            version,
            place,
            sources,
            own,
            bundle: bundle.clone(),
            _lock: lock,
        };
        nix.probe()?;
        Ok(nix)
    }

    /// Whether it can build in the sandbox on this host. Nothing is built again when it could once.
    fn probe(&self) -> Result<(), String> {
        let expression = format!(
            "(import {} {{ system = \"x86_64-linux\"; }}).emptyFile",
            self.sources.nixpkgs().display()
        );
        let words = ["build", "--impure", "--no-link", "--expr", &expression];
        self.run(&words).map(drop).map_err(|failure| {
            format!(
                "Nix {} builds nothing here: {}",
                self.version, failure.stderr
            )
        })
    }

    /// `nix`, with nothing of the host's configuration.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        let own = self.own.path();
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("NIX_") || text.starts_with("XDG_") {
                command.env_remove(&name);
            }
        }
        command
            .current_dir(own)
            .env("HOME", own)
            .env("NIX_CONF_DIR", own)
            .env("NIX_USER_CONF_FILES", "/dev/null")
            .env("TMPDIR", own)
            .env("LC_ALL", "C.UTF-8")
            .env("NO_COLOR", "1")
            .arg("--offline")
            .args(words)
            .stdin(Stdio::null());
        command
    }

    /// What it prints.
    ///
    /// # Errors
    /// What it says when it fails.
    pub fn run(&self, words: &[&str]) -> Result<String, Failure> {
        let output = watch::output(&mut self.command(words)).unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(Failure { stderr })
        }
    }

    /// A value, of an expression that may read files.
    ///
    /// # Errors
    /// As of [`Nix::run`].
    pub fn evaluate(&self, expression: &str) -> Result<serde_json::Value, Failure> {
        let words = ["eval", "--impure", "--json", "--expr", expression];
        let text = self.run(&words)?;
        Ok(serde_json::from_str(&text).unwrap())
    }

    /// Build an expression; where its output lies on this host.
    ///
    /// # Errors
    /// As of [`Nix::run`].
    pub fn build(&self, expression: &str) -> Result<PathBuf, Failure> {
        self.built(&["--impure", "--expr", expression])
    }

    /// Build one of the flake's checks.
    ///
    /// # Errors
    /// As of [`Nix::run`].
    pub fn check(&self, name: &str) -> Result<PathBuf, Failure> {
        let flake = self.sources.attest();
        let reference = format!("path:{}#checks.x86_64-linux.{name}", flake.display());
        let inputs = self.inputs();
        let mut words = vec![reference.as_str()];
        words.extend(inputs.iter().map(String::as_str));
        self.built(&words)
    }

    /// What makes the flake take the stub for its nixpkgs.
    pub fn inputs(&self) -> Vec<String> {
        let nixpkgs = format!("path:{}", self.sources.nixpkgs().display());
        let words = ["--no-write-lock-file", "--override-input", "nixpkgs"];
        let words = words.map(str::to_owned).into_iter();
        words.chain([nixpkgs]).collect()
    }

    /// The names of the checks of a flake, each of which can be built.
    ///
    /// # Errors
    /// As of [`Nix::run`].
    pub fn checks_of(&self, flake: &Path, inputs: &[String]) -> Result<Vec<String>, Failure> {
        let reference = format!("path:{}#checks.x86_64-linux", flake.display());
        let paths = "checks: builtins.mapAttrs (_: check: check.drvPath) checks";
        let mut words = vec!["eval", "--json", &reference, "--apply", paths];
        words.extend(inputs.iter().map(String::as_str));
        let found: serde_json::Value = serde_json::from_str(&self.run(&words)?).unwrap();
        Ok(found.as_object().unwrap().keys().cloned().collect())
    }

    fn built(&self, words: &[&str]) -> Result<PathBuf, Failure> {
        let text = self.run(&[&["build", "--no-link", "--json", "-L"], words].concat())?;
        let built: serde_json::Value = serde_json::from_str(&text).unwrap();
        let path = built[0]["outputs"]["out"].as_str().expect("an output");
        Ok(self.on_the_host(path))
    }

    /// Where a path of its store lies.
    pub fn on_the_host(&self, path: &str) -> PathBuf {
        self.place.join(path.trim_start_matches('/'))
    }

    /// Packages of the stub, as an expression.
    pub fn packages(&self) -> String {
        format!(
            "(import {} {{ system = \"x86_64-linux\"; }})",
            self.sources.nixpkgs().display()
        )
    }
}

/// From the environment, else from `PATH`.
pub fn programs() -> Vec<PathBuf> {
    if let Some(list) = std::env::var_os("ATTEST_NIX") {
        let listed = std::env::split_paths(&list);
        return listed.filter(|path| !path.as_os_str().is_empty()).collect();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|directory| directory.join("nix"))
        .find(|program| program.is_file());
    found.into_iter().collect()
}

fn configuration(bundle: &Bundle, place: &Path) -> String {
    let host = bundle.directory.display();
    let store = place.display();
    format!(
        "store = {store}\n\
         build-users-group =\n\
         experimental-features = nix-command flakes\n\
         substituters =\n\
         flake-registry =\n\
         sandbox = true\n\
         sandbox-fallback = false\n\
         sandbox-paths = /bin/sh={host}/busybox /usr /lib /lib64 /etc/alternatives /host={host}\n\
         system-features = nixos-test kvm benchmark big-parallel\n\
         max-jobs = 2\n\
         cores = 1\n\
         warn-dirty = false\n\
         show-trace = false\n"
    )
}

/// A file that tells something of the store.
fn beside(place: &Path, what: &str) -> PathBuf {
    let mut name = place.as_os_str().to_owned();
    name.push(format!(".{what}"));
    name.into()
}

/// The store grows with each program that was tested. The first test of a run clears it, when it has seen
/// enough of them.
fn keep_or_clear(place: &Path, bundle: &Bundle) -> std::io::Result<File> {
    fs::create_dir_all(place)?;
    let lock = lock_file(&beside(place, "lock"))?;
    let seen = beside(place, "seen");
    let name = bundle.directory.file_name().unwrap_or_default();
    let name = name.to_string_lossy();
    let known = fs::read_to_string(&seen).unwrap_or_default();
    if !known.lines().any(|line| line == name) && lock.try_lock().is_ok() {
        let mut text = format!("{known}{name}\n");
        if text.lines().count() > MOST_BUNDLES {
            remove(place)?;
            text = format!("{name}\n");
        }
        fs::write(&seen, text)?;
    }
    fs::create_dir_all(place)?;
    // From exclusive to shared, where it is that.
    lock.lock_shared()?;
    Ok(lock)
}

/// Directories of a store are not writable, but root's are to root.
fn remove(place: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let Ok(entries) = fs::read_dir(place) else {
        return Ok(());
    };
    fs::set_permissions(place, fs::Permissions::from_mode(0o755))?;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_dir(place)
}
