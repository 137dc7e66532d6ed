//! The run as its user sees it: what happens while it happens, what failed last, and the sum.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::io::{self, Write};

use attest_events::{
    BootTimes, Breakdown, Event, EventKind, ExitCode, FailureDetail, MachineEnding, Phase, Summary,
    Verdict, priority_prefix,
};

use crate::Reader;
use crate::failure::{self, Failure};
use crate::human::duration;
use crate::live::Live;
use crate::look::{Look, Palette};
use crate::sanitize::{cut, sanitize, sanitized_lines};
use crate::system;
use crate::table::table;

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
    booting: HashMap<String, u64>,
    /// Choices and progress that were shown: the same for every machine, and every lab.
    told: HashSet<String>,
    failures: Vec<Failure>,
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
            told: HashSet::new(),
            failures: Vec::new(),
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
                ..
            } => self.test_ended(event, *verdict, *duration_ns, failure.as_ref()),
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
        match &event.kind {
            EventKind::RunStarted { version, tests, .. } => {
                let s = if tests.len() == 1 { "" } else { "s" };
                format!("attest {}, {} test{s}\n", sanitize(version), tests.len())
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
            EventKind::Warning { message } => {
                let about = machine.map(|name| format!("{name}: ")).unwrap_or_default();
                format!(
                    "{warning}warning{warning:#}: {about}{}\n",
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
                let since = self.booting.remove(&name);
                let time = since.map(|since| event.at_ns.saturating_sub(since));
                let after = time.map(|ns| format!(" after {}", duration(ns)));
                format!(
                    "{faint}{name} is up{}{faint:#}\n",
                    after.unwrap_or_default()
                )
            }
            EventKind::MachineEnded { ending, detail } if bad_ending(*ending) => {
                let name = machine.unwrap_or_default();
                let colon = if detail.is_empty() { "" } else { ": " };
                format!(
                    "{bad}{name}{bad:#}: {}{colon}{}\n",
                    ending.name(),
                    sanitize(detail)
                )
            }
            _ if self.verbosity == Verbosity::Verbose => self.detail(event),
            _ => String::new(),
        }
    }

    /// The line, if it is news.
    fn once(&mut self, line: String) -> String {
        if self.told.insert(line.clone()) {
            line
        } else {
            String::new()
        }
    }

    /// What only the verbose output shows: with the time and the machine.
    fn detail(&self, event: &Event) -> String {
        let line = |text: &str| vec![text.to_owned()];
        let lines = match &event.kind {
            EventKind::PhaseStarted { phase } => line(&format!("{} begins", phase.name())),
            EventKind::PhaseEnded { phase, duration_ns } => {
                line(&format!("{} took {}", phase.name(), duration(*duration_ns)))
            }
            EventKind::Console { line: text } => vec![self.guest_line("|", text)],
            EventKind::Journal {
                unit,
                priority,
                message,
                ..
            } => {
                let mark = format!("{}: {}", sanitize(unit), priority_prefix(*priority));
                sanitized_lines(message)
                    .map(|text| self.guest_line(mark.trim_end(), &text))
                    .collect()
            }
            EventKind::SystemUp { state, failed, .. } => line(&format!(
                "the system is up: {}",
                system::state(state, failed)
            )),
            EventKind::AgentUp {
                version,
                generation,
            } => line(&format!(
                "agent {} answers (protocol generation {generation})",
                sanitize(version)
            )),
            EventKind::OperationStarted {
                id,
                operation,
                subject,
            } => line(&format!(
                "#{id} {}: {}",
                sanitize(operation),
                sanitize(subject)
            )),
            EventKind::OperationEnded {
                id,
                duration_ns,
                error,
            } => {
                let took = duration(*duration_ns);
                line(&match error {
                    None => format!("#{id} done in {took}"),
                    Some(error) => format!("#{id} failed in {took}: {}", sanitize(error)),
                })
            }
            EventKind::Output { id, stream, text } => {
                let mark = match stream {
                    attest_events::OutputStream::Stdout => format!("#{id} >"),
                    attest_events::OutputStream::Stderr => format!("#{id} !"),
                };
                sanitized_lines(text)
                    .map(|text| self.guest_line(&mark, &text))
                    .collect()
            }
            EventKind::MachineEnded { ending, detail } => {
                line(&format!("{} {}", ending.name(), sanitize(detail)))
            }
            EventKind::TestStarted => line(&format!(
                "test {} begins",
                sanitize(event.test.as_deref().unwrap_or("?"))
            )),
            EventKind::StepStarted { step, text } => {
                line(&format!("step {step}: {}", sanitize(text)))
            }
            EventKind::Log { message, .. } => sanitized_lines(message).collect(),
            // What is done in it is said by the operations themselves.
            EventKind::LogBegan {
                message,
                subtest: true,
                ..
            } => line(&format!("subtest: {}", sanitize(message))),
            EventKind::LabEnded => line("the lab is gone"),
            _ => Vec::new(),
        };
        let faint = self.palette.faint;
        let seconds = std::time::Duration::from_nanos(event.at_ns).as_secs_f64();
        let machine = sanitize(event.machine.as_deref().unwrap_or("-"));
        lines.iter().fold(String::new(), |mut text, line| {
            let _ = writeln!(
                text,
                "{faint}{seconds:>9.3} {machine:<8}{faint:#} {}",
                line.trim_end()
            );
            text
        })
    }

    /// A line that a guest wrote, cut so that it stays one line of the terminal.
    fn guest_line(&self, mark: &str, text: &str) -> String {
        // The time and the machine's name stand before it.
        let width = self.look.width.map(|width| width.saturating_sub(20));
        cut(&format!("{mark} {}", sanitize(text)), width)
    }

    fn test_ended(
        &mut self,
        event: &Event,
        verdict: Verdict,
        duration_ns: u64,
        failure: Option<&FailureDetail>,
    ) -> String {
        let name = event.test.clone().unwrap_or_else(|| "?".to_owned());
        let line = self.verdict_line(&name, verdict, duration_ns, failure);
        if verdict.is_bad() {
            self.failures.push(Failure {
                test: name,
                verdict,
                detail: failure.cloned().unwrap_or_default(),
            });
        } else if self.verbosity == Verbosity::Quiet {
            return String::new();
        }
        line
    }

    fn verdict_line(
        &self,
        name: &str,
        verdict: Verdict,
        duration_ns: u64,
        failure: Option<&FailureDetail>,
    ) -> String {
        let style = match verdict {
            Verdict::Passed => self.palette.good,
            Verdict::Skipped => self.palette.warning,
            _ => self.palette.bad,
        };
        let label = failure::label(verdict);
        let time = duration(duration_ns);
        let mut line = format!("{style}{label:>7}{style:#} {time:>8}  {}", sanitize(name));
        // Only here: skipped tests have no block of their own at the end.
        let reason = failure.filter(|_| verdict == Verdict::Skipped);
        if let Some(reason) = reason.and_then(|failure| failure.message.lines().next()) {
            let _ = write!(line, ": {}", sanitize(reason));
        }
        line.push('\n');
        line
    }

    fn run_ended(
        &mut self,
        exit_code: ExitCode,
        summary: &Summary,
        breakdown: &Breakdown,
    ) -> String {
        self.ended = true;
        let mut text = self.failures_text();
        if self.verbosity > Verbosity::Quiet {
            let _ = write!(text, "\n{}", table(breakdown, self.palette));
        }
        if self.verbosity == Verbosity::Verbose {
            let faint = self.palette.faint;
            for (machine, times) in &self.boots {
                let times = system::times(times);
                let _ = writeln!(text, "{faint}boot of {machine}: {times}{faint:#}");
            }
        }
        if !text.is_empty() {
            text.push('\n');
        }
        let style = match exit_code {
            ExitCode::Passed => self.palette.good,
            _ => self.palette.bad,
        };
        let counts = Verdict::ALL
            .into_iter()
            .map(|verdict| (verdict, summary.of(verdict)))
            .filter(|(verdict, count)| {
                *count > 0
                    || matches!(
                        verdict,
                        Verdict::Passed | Verdict::Failed | Verdict::Skipped
                    )
            })
            .map(|(verdict, count)| format!("{count} {}", verdict.name()))
            .collect::<Vec<_>>()
            .join(", ");
        let _ = write!(
            text,
            "{style}{counts}{style:#} in {}",
            duration(breakdown.wall_ns)
        );
        if exit_code != ExitCode::Passed {
            let _ = write!(
                text,
                " ({}, exit code {})",
                exit_code.meaning(),
                exit_code.code()
            );
        }
        text.push('\n');
        text
    }

    fn failures_text(&mut self) -> String {
        let mut text = String::new();
        for failure in std::mem::take(&mut self.failures) {
            text.push('\n');
            text.push_str(&failure::render(&failure, self.look, self.palette));
        }
        if let (false, Some(output)) = (text.is_empty(), &self.output) {
            let _ = writeln!(
                text,
                "\nconsoles, artifacts and events: {}",
                sanitize(output)
            );
        }
        text
    }

    fn remember(&mut self, event: &Event) {
        match (&event.kind, event.machine.as_deref()) {
            (EventKind::RunStarted { output, .. }, _) => self.output = Some(output.clone()),
            (EventKind::LabStarted { machines }, _) => {
                self.booting = machines
                    .iter()
                    .map(|machine| (sanitize(machine), event.at_ns))
                    .collect();
            }
            // Images, which may take minutes to build, are no part of a machine's boot.
            (
                EventKind::PhaseStarted {
                    phase: Phase::Spawn,
                },
                None,
            ) => self
                .booting
                .values_mut()
                .for_each(|since| *since = event.at_ns),
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

fn bad_ending(ending: MachineEnding) -> bool {
    !matches!(ending, MachineEnding::Stopped | MachineEnding::PoweredOff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn written(look: Look, verbosity: Verbosity) -> String {
        let mut reader = Terminal::new(Vec::new(), look, verbosity);
        sample::play(&mut reader);
        String::from_utf8(reader.into_inner()).unwrap()
    }

    #[test]
    fn quiet() {
        insta::assert_snapshot!(written(Look::plain(), Verbosity::Quiet));
    }

    #[test]
    fn normal() {
        insta::assert_snapshot!(written(Look::plain(), Verbosity::Normal));
    }

    #[test]
    fn verbose() {
        insta::assert_snapshot!(written(Look::plain(), Verbosity::Verbose));
    }

    #[test]
    fn colour_adds_styles_and_no_words() {
        let colour = Look {
            colour: true,
            ..Look::plain()
        };
        let styled = written(colour, Verbosity::Verbose);
        assert!(styled.contains("\x1b["));
        let words = anstream::adapter::strip_str(&styled).to_string();
        assert_eq!(words, written(Look::plain(), Verbosity::Verbose));
    }

    #[test]
    fn without_colour_nothing_steers_the_terminal() {
        let text = written(Look::plain(), Verbosity::Verbose);
        let steering = |c: char| c.is_control() && c != '\n';
        assert!(!text.contains(steering), "{text:?}");
    }

    #[test]
    fn consoles_are_cut_to_the_terminal() {
        let narrow = Look {
            width: Some(40),
            ..Look::plain()
        };
        let text = written(narrow, Verbosity::Verbose);
        let lines: Vec<_> = text
            .lines()
            .filter(|line| line.contains("web      |"))
            .collect();
        assert!(!lines.is_empty());
        assert!(
            lines.iter().all(|line| line.chars().count() <= 40),
            "{lines:#?}"
        );
        assert!(
            text.contains("    | httpd: no such file: /srv/index.h…"),
            "{text}"
        );
    }

    #[test]
    fn a_lab_without_a_run_ends_in_silence() {
        let mut reader = Terminal::new(Vec::new(), Look::plain(), Verbosity::Quiet);
        let events = sample::events();
        let lab = |event: &&Event| matches!(event.kind, EventKind::LabStarted { .. });
        reader.event(events.iter().find(lab).unwrap()).unwrap();
        reader.finish().unwrap();
        assert!(reader.into_inner().is_empty());
    }

    #[test]
    fn a_run_that_broke_off_says_so_after_its_failures() {
        let mut reader = Terminal::new(Vec::new(), Look::plain(), Verbosity::Quiet);
        let events = sample::events();
        let failed = |event: &Event| matches!(&event.kind, EventKind::TestEnded { verdict, .. } if verdict.is_bad());
        let end = events.iter().position(failed).unwrap();
        for event in &events[..=end] {
            reader.event(event).unwrap();
        }
        reader.finish().unwrap();
        reader.finish().unwrap();
        let text = String::from_utf8(reader.into_inner()).unwrap();
        assert!(text.contains("returned error: 404"), "{text}");
        assert_eq!(
            text.matches("the run broke off: it has no result\n")
                .count(),
            1,
            "{text}"
        );
    }
}
