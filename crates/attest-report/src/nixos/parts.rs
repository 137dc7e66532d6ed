//! The parts of a script's log that are open, and what belongs to the log at all.

use std::borrow::Cow;
use std::collections::HashMap;

use attest_events::{Attributes, Event, EventKind, LogLevel};

/// Something for the log.
#[derive(Debug, PartialEq)]
pub(super) enum Entry<'a> {
    /// A line.
    Line {
        level: LogLevel,
        machine: Option<&'a str>,
        message: Cow<'a, str>,
        attributes: Option<&'a Attributes>,
    },
    /// A line of a console.
    Console { machine: &'a str, line: &'a str },
    /// A part begins.
    Began {
        id: u64,
        machine: Option<&'a str>,
        message: &'a str,
        subtest: bool,
        attributes: &'a Attributes,
    },
    /// A part ended.
    Ended {
        id: u64,
        machine: Option<&'a str>,
        part: Part,
        seconds: f64,
        error: Option<&'a str>,
    },
}

/// A part of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) message: String,
    pub(super) subtest: bool,
}

/// Which events belong to the log, and the parts of it that are open.
#[derive(Debug)]
pub(super) struct Parts {
    open: HashMap<u64, Part>,
    consoles: bool,
    least: LogLevel,
}

impl Parts {
    pub(super) fn new(least: LogLevel) -> Self {
        Self {
            open: HashMap::new(),
            consoles: true,
            least,
        }
    }

    /// What the log has of this event.
    pub(super) fn entry<'a>(&mut self, event: &'a Event) -> Option<Entry<'a>> {
        let machine = event.machine.as_deref();
        match &event.kind {
            EventKind::Log {
                level,
                message,
                attributes,
            } => self.line(*level, machine, message, Some(attributes)),
            EventKind::Warning { message } => self.line(LogLevel::Warning, machine, message, None),
            EventKind::Chosen {
                what,
                choice,
                reason,
            } => {
                let text = format!("{what}: {choice} ({reason})");
                // Whoever thinks that there is KVM waits for slow guests without knowing why.
                let is_slow = what == "accelerator" && choice == "tcg";
                let level = if is_slow {
                    LogLevel::Info
                } else {
                    LogLevel::Debug
                };
                self.made(level, machine, text)
            }
            EventKind::Progress { text } => self.line(LogLevel::Info, machine, text, None),
            EventKind::Console { line } if self.consoles => Some(Entry::Console {
                machine: machine.unwrap_or_default(),
                line,
            }),
            EventKind::LogBegan {
                id,
                message,
                subtest,
                attributes,
            } => {
                let part = Part {
                    message: message.clone(),
                    subtest: *subtest,
                };
                self.open.insert(*id, part);
                Some(Entry::Began {
                    id: *id,
                    machine,
                    message,
                    subtest: *subtest,
                    attributes,
                })
            }
            EventKind::LogEnded {
                id,
                duration_ns,
                error,
            } => {
                let part = self.open.remove(id)?;
                Some(Entry::Ended {
                    id: *id,
                    machine,
                    part,
                    seconds: std::time::Duration::from_nanos(*duration_ns).as_secs_f64(),
                    error: error.as_deref(),
                })
            }
            EventKind::LogConsoles { on } => {
                self.consoles = *on;
                None
            }
            EventKind::LogLeast { level } => {
                self.least = *level;
                None
            }
            _ => None,
        }
    }

    fn line<'a>(
        &self,
        level: LogLevel,
        machine: Option<&'a str>,
        message: &'a str,
        attributes: Option<&'a Attributes>,
    ) -> Option<Entry<'a>> {
        (level >= self.least).then_some(Entry::Line {
            level,
            machine,
            message: message.into(),
            attributes,
        })
    }

    /// A line of ours.
    fn made<'a>(
        &self,
        level: LogLevel,
        machine: Option<&'a str>,
        message: String,
    ) -> Option<Entry<'a>> {
        (level >= self.least).then_some(Entry::Line {
            level,
            machine,
            message: message.into(),
            attributes: None,
        })
    }
}

impl Part {
    /// As the log names it.
    pub(super) fn title(&self) -> String {
        title(&self.message, self.subtest)
    }
}

/// As the log names a part.
pub(super) fn title(message: &str, subtest: bool) -> String {
    if subtest {
        format!("subtest: {message}")
    } else {
        message.to_owned()
    }
}

/// What the log says at the end of a part.
pub(super) fn finished(part: &Part, seconds: f64) -> String {
    format!("(finished: {}, in {seconds:.2} seconds)", part.title())
}
