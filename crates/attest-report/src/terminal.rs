//! The run as its user sees it: what happens while it happens, what failed last, and the sum.

mod summary;
mod verbose;

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};

use attest_events::{BootTimes, Event, EventKind, FailureDetail, MachineEnding, Phase, Verdict};

use crate::Reader;
use crate::failure::{self, Failure};
use crate::human::duration;
use crate::live::Live;
use crate::look::{Look, Palette};
use crate::sanitize::sanitize;

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Verbosity {
    /// What is not passed, and the counts.
    Quiet,
    /// Also what was chosen, machines, every verdict, warnings, and the breakdown.
    #[default]
    Normal,
    /// Also every phase, step, command, its output, and every line of the consoles.
    Verbose,
}

/// Writes for people.
pub struct Terminal<W> {
    out: W,
    look: Look,
    palette: Palette,
    verbosity: Verbosity,
    live: Option<Live>,
    /// Since when machines boot, by the test that they are for and their names.
    booting: HashMap<(Option<String>, String), u64>,
    /// The tests that run.
    running: Vec<String>,
    /// Choices and progress that were shown: the same for every machine, and every lab.
    told: HashSet<String>,
    failures: Vec<Failure>,
    /// Tries that did not pass, of tests that still run.
    earlier: HashMap<String, Vec<Failure>>,
    /// The boots of guests with systemd, for the end.
    boots: Vec<(String, BootTimes)>,
    output: Option<String>,
    ended: bool,
}

impl<W> std::fmt::Debug for Terminal<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal")
            .field("look", &self.look)
            .field("verbosity", &self.verbosity)
            .finish_non_exhaustive()
    }
}

impl<W: Write> Terminal<W> {
    /// Writes to `out`, which bears `look`. The live state is drawn unless the output is quiet.
    pub fn new(out: W, look: Look, verbosity: Verbosity) -> Self {
        let live = look.live.filter(|_| verbosity > Verbosity::Quiet);
        Self {
            out,
            look,
            palette: Palette::new(look.colour),
            verbosity,
            live: live.map(Live::new),
            booting: HashMap::new(),
            running: Vec::new(),
            told: HashSet::new(),
            failures: Vec::new(),
            earlier: HashMap::new(),
            boots: Vec::new(),
            output: None,
            ended: false,
        }
    }

    /// What was written to.
    pub fn into_inner(self) -> W {
        self.out
    }

    fn print(&mut self, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let out = &mut self.out;
        let mut write = || {
            out.write_all(text.as_bytes())?;
            out.flush()
        };
        match &self.live {
            Some(live) => live.beside(write),
            None => write(),
        }
    }

    /// The lines of an event, styled.
    fn text(&mut self, event: &Event) -> String {
        match &event.kind {
            EventKind::TestEnded {
                verdict,
                duration_ns,
                failure,
                tries,
            } => {
                let (name, verdict, time) = (name_of(event), *verdict, *duration_ns);
                self.test_ended(name, verdict, time, failure.as_ref(), *tries)
            }
            EventKind::TryEnded {
                number,
                of,
                verdict,
                duration_ns,
                failure,
            } => {
                let failure = Failure {
                    test: name_of(event),
                    verdict: *verdict,
                    detail: failure.clone().unwrap_or_default(),
                    of_tries: Some((*number, *of)),
                };
                self.try_ended(failure, *duration_ns)
            }
            EventKind::RunEnded {
                exit_code,
                summary,
                breakdown,
            } => self.run_ended(*exit_code, summary, breakdown),
            _ if self.verbosity == Verbosity::Quiet => String::new(),
            _ => self.happening(event),
        }
    }

    fn happening(&mut self, event: &Event) -> String {
        let Palette {
            warning,
            faint,
            bad,
            ..
        } = self.palette;
        let machine = event.machine.as_deref().map(sanitize);
        let test = self.overlapping(event).map(sanitize);
        let test = test.map_or_else(String::new, |test| format!("{test}: "));
        match &event.kind {
            EventKind::RunStarted {
                version,
                tests,
                jobs,
                ..
            } => {
                let s = if tests.len() == 1 { "" } else { "s" };
                let at_once = match *jobs {
                    jobs @ 2.. if tests.len() > 1 => format!(", up to {jobs} at once"),
                    _ => String::new(),
                };
                let version = sanitize(version);
                format!("attest {version}, {} test{s}{at_once}\n", tests.len())
            }
            EventKind::Chosen {
                what,
                choice,
                reason,
            } => self.once(format!(
                "{faint}{}: {} ({}){faint:#}\n",
                sanitize(what),
                sanitize(choice),
                sanitize(reason)
            )),
            // How far it is, in brackets, only the live state shows.
            EventKind::Progress { text } => {
                let what = text.split(" (").next().unwrap_or(text);
                self.once(format!("{faint}{}{faint:#}\n", sanitize(what)))
            }
            EventKind::LabSaved {
                lab,
                point,
                duration_ns,
            } => {
                let (lab, took) = (sanitize(lab), duration(*duration_ns));
                let what = match point.as_str() {
                    "ready" => "booted".to_owned(),
                    set_up => format!("{} done", sanitize(set_up)),
                };
                let later = "later runs go on from there";
                self.once(format!(
                    "{faint}{lab}: {what} in {took} and saved; {later}{faint:#}\n"
                ))
            }
            EventKind::Warning { message } => {
                let about = machine.map(|name| format!("{name}: ")).unwrap_or_default();
                format!(
                    "{warning}warning{warning:#}: {test}{about}{}\n",
                    sanitize(message)
                )
            }
            EventKind::PhaseEnded {
                phase: Phase::Agent,
                ..
            } => {
                let Some(name) = machine else {
                    return String::new();
                };
                let since = self.booting.remove(&(event.test.clone(), name.clone()));
                let time = since.map(|since| event.at_ns.saturating_sub(since));
                let after = time.map(|ns| format!(" after {}", duration(ns)));
                format!(
                    "{faint}{test}{name} is up{}{faint:#}\n",
                    after.unwrap_or_default()
                )
            }
            EventKind::MachineEnded { ending, detail } if bad_ending(*ending) => {
                let name = machine.unwrap_or_default();
                let colon = if detail.is_empty() { "" } else { ": " };
                format!(
                    "{test}{bad}{name}{bad:#}: {}{colon}{}\n",
                    ending.name(),
                    sanitize(detail)
                )
            }
            _ if self.verbosity == Verbosity::Verbose => self.detail(event),
            _ => String::new(),
        }
    }

    /// The test of an event, where others run beside it.
    fn overlapping<'a>(&self, event: &'a Event) -> Option<&'a str> {
        let test = event.test.as_deref()?;
        self.running
            .iter()
            .any(|other| other != test)
            .then_some(test)
    }

    /// The line, if it is news.
    fn once(&mut self, line: String) -> String {
        if self.told.insert(line.clone()) {
            line
        } else {
            String::new()
        }
    }

    fn test_ended(
        &mut self,
        name: String,
        verdict: Verdict,
        duration_ns: u64,
        failure: Option<&FailureDetail>,
        tries: u32,
    ) -> String {
        let earlier = self.earlier.remove(&name).unwrap_or_default();
        let is_flaky = verdict == Verdict::Passed && tries > 1;
        let (style, label) = if is_flaky {
            // Nobody should have to ask whether it was one.
            self.failures.extend(earlier);
            (self.palette.warning, "FLAKY")
        } else {
            let style = match verdict {
                Verdict::Passed => self.palette.good,
                Verdict::Skipped => self.palette.warning,
                _ => self.palette.bad,
            };
            (style, failure::label(verdict))
        };
        let remark = match (tries, verdict) {
            (2.., Verdict::Passed) => format!(": passed at try {tries}"),
            (2.., _) => format!(": not in {tries} tries"),
            // Only here: skipped tests have no block of their own at the end.
            (_, Verdict::Skipped) => failure.map(reason).unwrap_or_default(),
            _ => String::new(),
        };
        let line = verdict_line(style, label, duration_ns, &name, &remark);
        if verdict.is_bad() {
            self.failures.push(Failure {
                test: name,
                verdict,
                detail: failure.cloned().unwrap_or_default(),
                of_tries: (tries > 1).then_some((tries, tries)),
            });
        } else if self.verbosity == Verbosity::Quiet && !is_flaky {
            return String::new();
        }
        line
    }

    /// Another follows.
    fn try_ended(&mut self, failure: Failure, duration_ns: u64) -> String {
        let why = reason(&failure.detail);
        let (number, of) = failure.of_tries.unwrap_or((1, 1));
        let remark = format!(" (try {number} of {of}){why}");
        let style = self.palette.warning;
        let line = verdict_line(style, "RETRY", duration_ns, &failure.test, &remark);
        let earlier = self.earlier.entry(failure.test.clone()).or_default();
        earlier.push(failure);
        if self.verbosity == Verbosity::Quiet {
            return String::new();
        }
        line
    }

    fn remember(&mut self, event: &Event) {
        match (&event.kind, event.machine.as_deref()) {
            (EventKind::RunStarted { output, .. }, _) => self.output = Some(output.clone()),
            (EventKind::TestStarted, _) => self.running.extend(event.test.clone()),
            (EventKind::TestEnded { .. }, _) => {
                let is_other = |test: &Option<String>| *test != event.test;
                self.running
                    .retain(|test| Some(test) != event.test.as_ref());
                self.booting.retain(|(test, _), _| is_other(test));
            }
            (EventKind::LabStarted { machines }, _) => {
                for machine in machines {
                    let machine = (event.test.clone(), sanitize(machine));
                    self.booting.insert(machine, event.at_ns);
                }
            }
            // Images, which may take minutes to build, are no part of a machine's boot.
            (
                EventKind::PhaseStarted {
                    phase: Phase::Spawn,
                },
                None,
            ) => {
                for ((test, _), since) in &mut self.booting {
                    if *test == event.test {
                        *since = event.at_ns;
                    }
                }
            }
            (EventKind::SystemUp { times, .. }, Some(machine)) => {
                self.boots.push((sanitize(machine), times.clone()));
            }
            _ => {}
        }
    }
}

impl<W: Write> Reader for Terminal<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        self.remember(event);
        if let Some(live) = &mut self.live {
            live.event(event);
        }
        let text = self.text(event);
        self.print(&text)
    }

    fn finish(&mut self) -> io::Result<()> {
        if let Some(mut live) = self.live.take() {
            live.clear();
        }
        // Events without a run's start are a lab's alone, as under `attest shell`.
        let running = self.output.is_some() && !self.ended;
        if !running {
            return self.out.flush();
        }
        let mut text = self.failures_text();
        text.push_str("the run broke off: it has no result\n");
        self.ended = true;
        self.print(&text)
    }
}

fn name_of(event: &Event) -> String {
    event.test.clone().unwrap_or_else(|| "?".to_owned())
}

/// Behind a colon; nothing where there is none.
fn reason(failure: &FailureDetail) -> String {
    match failure::gist(&failure.message).as_str() {
        "" => String::new(),
        gist => format!(": {gist}"),
    }
}

fn verdict_line(
    style: anstyle::Style,
    label: &str,
    duration_ns: u64,
    name: &str,
    remark: &str,
) -> String {
    let time = duration(duration_ns);
    let name = sanitize(name);
    format!("{style}{label:>7}{style:#} {time:>8}  {name}{remark}\n")
}

/// Nobody wanted the machine to end so.
pub(crate) fn bad_ending(ending: MachineEnding) -> bool {
    !matches!(ending, MachineEnding::Stopped | MachineEnding::PoweredOff)
}

#[cfg(test)]
mod tests;
