//! Suites as the NixOS test driver runs them: start scripts and a script, by that driver and by attest in its place.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use attest_fixture::{Fixture, backdoor};

use super::suite::{Image, Suite};
use super::times::{Part, Times};
use crate::Result;

/// Of the test that every suite has for this driver.
const SCRIPT: &str = "test_script.py";
/// For whoever reads the results.
pub(crate) fn notes(image: Image) -> Vec<&'static str> {
    let machine = "on start scripts in the shape of NixOS's: a PC with `-cpu max` and one processor; the same kernel and memory";
    let image = match image {
        Image::Lean => "the same image",
        Image::Stock => "the same packages, and everything that the distribution starts",
    };
    vec![machine, image]
}
/// Longer than any suite takes.
const TIMEOUT: &str = "900";
/// What both drivers log of themselves, and of where a script waits for a machine.
const SCRIPT_BEGAN: &str = "run the VM test script";
const SCRIPT_ENDED: &str = "(finished: run the VM test script, in ";
const BOOTED: &str = "(finished: waiting for the VM to finish booting, in ";

/// The start scripts of a suite's machines.
pub(crate) struct StartScripts {
    directory: tempfile::TempDir,
    scripts: Vec<PathBuf>,
}

impl StartScripts {
    pub(crate) fn write(suite: &Suite, fixture: &Fixture) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let scripts: Result<Vec<PathBuf>> = suite
            .plan
            .machines
            .iter()
            .map(|machine| {
                let node = suite.node(machine, backdoor())?;
                Ok(fixture.write(directory.path(), &node)?)
            })
            .collect();
        Ok(Self {
            scripts: scripts?,
            directory,
        })
    }

    /// Run the suite's script by this driver, in a directory of its own.
    ///
    /// # Errors
    /// The script failed.
    pub(crate) fn run(&self, suite: &Suite, mut driver: Command) -> Result<Times> {
        let place = tempfile::tempdir_in(self.directory.path())?;
        let scripts: Vec<OsString> = self.scripts.iter().map(Into::into).collect();
        let vlans: Vec<String> = suite.vlans().iter().map(u8::to_string).collect();
        let began = Instant::now();
        // The first generation: every driver of it takes its environment.
        let mut child = driver
            .env("startScripts", scripts.join(&OsString::from(" ")))
            .env("vlans", vlans.join(" "))
            .env("testScript", suite.directory.join(SCRIPT))
            .env("globalTimeout", TIMEOUT)
            .env("XDG_RUNTIME_DIR", place.path())
            .env("TMPDIR", place.path())
            .current_dir(place.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let log = Log::read(began, child.stderr.take().ok_or("no log")?);
        let status = child.wait()?;
        let total = began.elapsed();
        if status.success() {
            return Ok(log.times(total));
        }
        let said = log.last.join("\n");
        let program = Path::new(driver.get_program()).file_name();
        let program = program.unwrap_or_default().display();
        Err(format!("{program} ended with {status} on {}:\n{said}", suite.name).into())
    }
}

/// What a driver logged, with its times.
#[derive(Default)]
struct Log {
    script_began: Option<Duration>,
    script_ended: Option<Duration>,
    /// All that the script waited for machines that boot.
    booted: Duration,
    /// The end of it, for errors.
    last: Vec<String>,
}

impl Log {
    fn read(began: Instant, log: impl std::io::Read) -> Self {
        const KEPT: usize = 60;
        let mut read = Self::default();
        for line in BufReader::new(log).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line).into_owned();
            read.hear(began.elapsed(), &line);
            if read.last.len() == KEPT {
                read.last.remove(0);
            }
            read.last.push(line);
        }
        read
    }

    fn hear(&mut self, now: Duration, line: &str) {
        if let Some(took) = seconds_after(line, BOOTED) {
            self.booted += took;
        } else if line.contains(SCRIPT_ENDED) {
            self.script_ended = Some(now);
        } else if line.contains(SCRIPT_BEGAN) && self.script_began.is_none() {
            self.script_began = Some(now);
        }
    }

    fn times(&self, total: Duration) -> Times {
        let (Some(began), Some(ended)) = (self.script_began, self.script_ended) else {
            return Times::new(total, Vec::new());
        };
        let script = ended.saturating_sub(began);
        Times::new(
            total,
            vec![
                (Part::Driver, began),
                (Part::Boot, self.booted),
                (Part::Test, script.saturating_sub(self.booted)),
                (Part::Shutdown, total.saturating_sub(ended)),
            ],
        )
    }
}

/// The number of seconds that follows these words.
fn seconds_after(line: &str, words: &str) -> Option<Duration> {
    let (_, rest) = line.split_once(words)?;
    let number = rest.split(' ').next()?;
    Duration::try_from_secs_f64(number.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_where_the_time_went() {
        let mut log = Log::default();
        let at = Duration::from_millis;
        log.hear(at(200), "run the VM test script");
        log.hear(at(300), "machine: waiting for the VM to finish booting");
        let booted = "machine: (finished: waiting for the VM to finish booting, in 1.50 seconds)";
        log.hear(at(1800), booted);
        log.hear(
            at(2500),
            "(finished: run the VM test script, in 2.30 seconds)",
        );
        let times = log.times(at(2600));
        let expected = [
            (Part::Driver, 200),
            (Part::Boot, 1500),
            (Part::Test, 800),
            (Part::Shutdown, 100),
        ];
        let expected = expected.map(|(part, ms)| (part, at(ms)));
        assert_eq!(times.parts, expected);
    }
}
