//! What only the verbose output shows.

use std::fmt::Write as _;
use std::io::Write;

use attest_events::{Event, EventKind, priority_prefix};

use super::Terminal;
use crate::human::duration;
use crate::sanitize::{cut, sanitize, sanitized_lines};
use crate::system;

impl<W: Write> Terminal<W> {
    /// What only the verbose output shows: with the time and the machine.
    pub(super) fn detail(&self, event: &Event) -> String {
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
        let machine = event.machine.as_deref().unwrap_or("-");
        let machine = match self.overlapping(event) {
            Some(test) => sanitize(&format!("{test}/{machine}")),
            None => sanitize(machine),
        };
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
}
