//! Tests as derivations of Nix, beside the plain way of doing the same: how soon one begins, how several share a host,
//! and what a snapshot saves. In the real sandbox of the newest Nix of this host, on machines under QEMU.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use attest_fixture::nix::{Failure, Nix, Tested};
use attest_image::bare;

use crate::Result;
use crate::figure::{Compared, Report, median_ms};
use crate::programs;

/// What is a matter of a moment.
const MOMENTS: u32 = 9;
/// What boots.
const BOOTS: u32 = 3;

pub(crate) fn run(report: &Report) -> Result<()> {
    package(report)?;
    let tested = Tested {
        attest: programs::attest()?,
        shared: shared()?,
    };
    let Some(nix) = Nix::newest(&tested) else {
        report.skipped(
            "nix",
            "there is none; `CI=1 cargo xtask bench nix` fetches one",
        );
        return Ok(());
    };
    eprintln!("nix {}", nix.version);
    let bench = Bench { nix };
    bench.begins(report)?;
    bench.four(report)?;
    bench.ten(report)
}

/// The package is this program, and the agent as one of its own, for guests that boot by themselves: its closure has
/// nothing else in it.
fn package(report: &Report) -> Result<()> {
    const PROGRAM: &str = "../x86_64-unknown-linux-gnu/dist/attest";
    let own = std::env::current_exe()?;
    let program = own.parent().ok_or("no directory")?.join(PROGRAM);
    if !program.is_file() {
        report.skipped("nix/package", "`cargo xtask build --static` makes it");
        return Ok(());
    }
    #[expect(clippy::cast_precision_loss, reason = "megabytes")]
    let agent = bare::plain_agent(attest_embed::AGENT)?.len() as f64 / 1e6;
    let size = [megabytes(&program)? + agent];
    report.figure("nix/package", &size, "MB", Some(20.0), "lower", None);
    Ok(())
}

/// For stores, which are kept from one run to the next.
fn shared() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own.with_file_name("bench-nix"))
}

struct Bench {
    nix: Nix,
}

/// Everything with the same salt is built once.
fn salt() -> String {
    let now = std::time::SystemTime::now();
    let since = now
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    format!("{:x}", since.as_nanos())
}

fn failed(failure: Failure) -> String {
    failure.stderr
}

impl Bench {
    fn expression(&self, salt: &str, attribute: &str) -> String {
        let file = self.nix.sources.tests().join("bench.nix");
        let nixpkgs = self.nix.sources.nixpkgs();
        format!(
            "(import {} {{ nixpkgs = {}; salt = {salt:?}; }}).{attribute}",
            file.display(),
            nixpkgs.display()
        )
    }

    fn build(&self, salt: &str, attribute: &str) -> Result<PathBuf> {
        let built = self.nix.build(&self.expression(salt, attribute));
        Ok(built.map_err(failed)?)
    }

    /// The same, with so many derivations at once, and how long it took.
    fn timed(&self, salt: &str, attribute: &str, jobs: u32) -> Result<Duration> {
        let expression = self.expression(salt, attribute);
        let jobs = jobs.to_string();
        let words = [
            "build",
            "--impure",
            "--no-link",
            "--max-jobs",
            &jobs,
            "--expr",
            &expression,
        ];
        let began = Instant::now();
        self.nix.run(&words).map_err(failed)?;
        Ok(began.elapsed())
    }

    /// How long the building of one derivation takes, by itself.
    fn realised(&self, salt: &str, attribute: &str) -> Result<Duration> {
        let derivation = self.expression(salt, &format!("{attribute}.drvPath"));
        let words = ["eval", "--impure", "--raw", "--expr", &derivation];
        let mut derivation = self.nix.run(&words).map_err(failed)?;
        if self.nix.forgets_references() {
            // Since 2.13; before, the name alone is what is built.
            derivation.push_str("^out");
        }
        let began = Instant::now();
        let words = ["build", "--no-link", &derivation];
        self.nix.run(&words).map_err(failed)?;
        Ok(began.elapsed())
    }

    /// All that is not measured is there before.
    fn prepare(&self, attributes: &[&str]) -> Result<()> {
        for attribute in attributes {
            self.build("0", attribute)?;
        }
        Ok(())
    }

    /// A test of a system with a thousand paths, and one whose system is an input, beyond one without any.
    fn begins(&self, report: &Report) -> Result<()> {
        self.prepare(&["image", "many", "begins-with-nothing"])?;
        let (mut nothing, mut image, mut system) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..MOMENTS {
            let salt = salt();
            nothing.push(self.realised(&salt, "begins-with-nothing")?);
            image.push(self.realised(&salt, "begins-with-image")?);
            system.push(self.realised(&salt, "begins-with-system")?);
        }
        let beyond = |samples: &[Duration]| -> Vec<Duration> {
            let pairs = samples.iter().zip(&nothing);
            pairs.map(|(own, none)| own.saturating_sub(*none)).collect()
        };
        let naive = Compared {
            what: "with the system itself",
            median: median_ms(&beyond(&system)),
        };
        let begins = beyond(&image);
        report.milliseconds("nix/begin-1000-paths", &begins, Some(500.0), Some(naive));
        report.milliseconds("nix/begin-nothing", &nothing, None, None);
        Ok(())
    }

    /// Four machines that never talk to each other.
    fn four(&self, report: &Report) -> Result<()> {
        self.prepare(&["four", "four-in-one"])?;
        let (mut apart, mut single, mut together) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..BOOTS {
            apart.push(self.timed(&salt(), "four", 4)?);
            together.push(self.timed(&salt(), "four-in-one", 4)?);
            single.push(self.timed(&salt(), "four", 1)?);
        }
        report.milliseconds("nix/four-derivations-j4", &apart, None, None);
        report.milliseconds("nix/four-derivations-j1", &single, None, None);
        report.milliseconds("nix/four-in-one", &together, None, None);
        report.ratio("nix/four-j4-to-one", &apart, &together, 1.0);
        report.ratio("nix/four-j4-to-j1", &apart, &single, 1.0);
        Ok(())
    }

    /// Ten tests: from a snapshot that is made, too, and from power-on.
    fn ten(&self, report: &Report) -> Result<()> {
        const SUITES: [&str; 4] = ["ten-restored", "ten-plain", "ten-booted", "ten-in-one"];
        self.prepare(&SUITES)?;
        let mut took = SUITES.map(|_| Vec::new());
        let (mut again, mut saving) = (Vec::new(), Vec::new());
        for _ in 0..BOOTS {
            let salt = salt();
            for (suite, took) in SUITES.iter().zip(&mut took) {
                if *suite == "ten-restored" {
                    // The snapshot by itself, and what is left when it is there.
                    let made = self.timed(&salt, "ten-restored.snapshots.ready", 2)?;
                    let rest = self.timed(&salt, suite, 2)?;
                    took.push(made + rest);
                    saving.push(made);
                    again.push(rest);
                } else {
                    took.push(self.timed(&salt, suite, 2)?);
                }
            }
        }
        for (suite, took) in SUITES.iter().zip(&took) {
            report.milliseconds(&format!("nix/{suite}"), took, None, None);
        }
        let [restored, plain, booted, _] = &took;
        report.milliseconds("nix/ten-restored-snapshot", &saving, None, None);
        report.milliseconds("nix/ten-restored-again", &again, None, None);
        report.ratio("nix/ten-restored-to-booted", restored, booted, 1.0);
        report.ratio("nix/ten-again-to-booted", &again, booted, 1.0);
        report.ratio("nix/ten-lz4-to-plain", restored, plain, 1.0);
        for (name, suite) in [("lz4", "ten-restored"), ("plain", "ten-plain")] {
            let snapshot = self.build("0", &format!("{suite}.snapshots.ready"))?;
            let size = [megabytes(&snapshot.join("snapshot"))?];
            report.figure(
                &format!("nix/snapshot-{name}"),
                &size,
                "MB",
                None,
                "lower",
                None,
            );
        }
        Ok(())
    }
}

/// Of a file, or of all that are below a directory.
fn megabytes(path: &Path) -> Result<f64> {
    let metadata = path.symlink_metadata()?;
    if !metadata.is_dir() {
        #[expect(clippy::cast_precision_loss, reason = "megabytes")]
        return Ok(metadata.len() as f64 / 1e6);
    }
    let entries = path.read_dir()?;
    entries.map(|entry| megabytes(&entry?.path())).sum()
}
