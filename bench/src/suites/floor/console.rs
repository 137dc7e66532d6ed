//! What machines say at their consoles.

use std::io::{BufRead as _, BufReader, Read};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use crate::Result;

const BEGINS: &str = "attest-bench: the script begins";
const ENDED: &str = "attest-bench: the script ended with ";
/// Longer than any suite takes.
const PATIENCE: Duration = Duration::from_mins(15);

/// Runs the script, and says so there, in the words of a shell's redirection. What the script writes is of interest when it
/// failed, and would cost time at a console.
pub(in crate::suites) fn runner(script: &str, to: &str) -> String {
    format!(
        "#!/bin/sh\n\
         exec 3>{to}\n\
         echo '{BEGINS}' >&3\n\
         {script} > /run/floor.log 2>&1\n\
         status=$?\n\
         test $status = 0 || cat /run/floor.log >&3\n\
         echo \"{ENDED}$status\" >&3\n\
         exit $status\n"
    )
}

/// When the last of the machines said each.
pub(in crate::suites) struct Said {
    pub(in crate::suites) began: Instant,
    pub(in crate::suites) ended: Instant,
}

/// The consoles of some machines.
pub(in crate::suites) struct Consoles {
    tell: Sender<Told>,
    hear: Receiver<Told>,
    names: Vec<String>,
}

struct Told {
    at: Instant,
    machine: usize,
    what: What,
}

enum What {
    Begins,
    Ended(i32),
    /// The console ended before; what was said there last.
    Silent,
    Line(String),
}

impl Consoles {
    pub(in crate::suites) fn new() -> Self {
        let (tell, hear) = mpsc::channel();
        let names = Vec::new();
        Self { tell, hear, names }
    }

    /// Listen to one more, until it ends.
    pub(in crate::suites) fn add(&mut self, name: &str, console: impl Read + Send + 'static) {
        let machine = self.names.len();
        self.names.push(name.to_owned());
        let tell = self.tell.clone();
        std::thread::spawn(move || {
            let say = |what| {
                let at = Instant::now();
                // Nobody hears it when another has failed.
                let _ = tell.send(Told { at, machine, what });
            };
            let lines = BufReader::new(console).split(b'\n');
            for line in lines.map_while(std::result::Result::ok) {
                say(What::of(&String::from_utf8_lossy(&line)));
            }
            say(What::Silent);
        });
    }

    /// Wait for the end of all scripts.
    ///
    /// # Errors
    /// One failed, or its machine ended before.
    pub(in crate::suites) fn wait(self) -> Result<Said> {
        let until = Instant::now() + PATIENCE;
        let mut began = None;
        let mut ended = vec![None; self.names.len()];
        let mut lines: Vec<Vec<String>> = vec![Vec::new(); self.names.len()];
        while ended.contains(&None) {
            let left = until.saturating_duration_since(Instant::now());
            let told = match self.hear.recv_timeout(left) {
                Ok(told) => told,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(failed("all machines", "do not end", &lines.concat()));
                }
            };
            let Told { at, machine, what } = told;
            let name = &self.names[machine];
            let said = &mut lines[machine];
            match what {
                What::Begins => began = began.max(Some(at)),
                What::Ended(0) => ended[machine] = Some(at),
                What::Ended(status) => {
                    let status = format!("ended with {status}");
                    return Err(failed(name, &status, said));
                }
                // Some end by themselves, then.
                What::Silent if ended[machine].is_some() => {}
                What::Silent => return Err(failed(name, "went away", said)),
                What::Line(line) => said.push(line),
            }
        }
        let last = ended.into_iter().flatten().max();
        match (began, last) {
            (Some(began), Some(ended)) => Ok(Said { began, ended }),
            _ => Err("by hand, no script began".into()),
        }
    }
}

impl What {
    fn of(line: &str) -> Self {
        if line.contains(BEGINS) {
            return Self::Begins;
        }
        let status = line.split_once(ENDED).map(|(_, status)| status.trim());
        match status.map(str::parse) {
            Some(Ok(status)) => Self::Ended(status),
            _ => Self::Line(line.trim_end().to_owned()),
        }
    }
}

fn failed(name: &str, how: &str, said: &[String]) -> Box<dyn std::error::Error + Send + Sync> {
    const LINES: usize = 40;
    let last = &said[said.len().saturating_sub(LINES)..];
    format!("by hand, {name} {how}:\n{}", last.join("\n")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consoles(said: &[&'static str]) -> Result<Said> {
        let mut consoles = Consoles::new();
        for (number, said) in said.iter().enumerate() {
            consoles.add(&format!("m{number}"), said.as_bytes());
        }
        consoles.wait()
    }

    #[test]
    fn the_last_machine_counts() {
        let whole = "boots\r\nattest-bench: the script begins\r\n\
                     attest-bench: the script ended with 0\r\n";
        let said = consoles(&[whole, whole]).unwrap();
        assert!(said.began <= said.ended);
    }

    #[test]
    fn a_failure_has_the_console() {
        let failed = "no such file\nattest-bench: the script ended with 7\n";
        let error = consoles(&[failed]).err().unwrap().to_string();
        assert_eq!(error, "by hand, m0 ended with 7:\nno such file");
        let begun = "attest-bench: the script begins\npanic\n";
        let error = consoles(&[begun]).err().unwrap().to_string();
        assert_eq!(error, "by hand, m0 went away:\npanic");
    }
}
