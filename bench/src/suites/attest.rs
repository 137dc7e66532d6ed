//! Suites as attest runs them on its own machines.

use attest::events::{Event, EventKind, Row, Who};
use attest_report::Profiler;
use std::time::Duration;

use super::suite::Suite;
use super::times::{Counted, Own, Part, Times};
use super::variant::{State, Surface};
use crate::Result;
use crate::runs::{Ran, Runs};

/// One suite's runs. Their snapshots are kept apart from all others'.
pub(crate) struct Attest<'a> {
    suite: &'a Suite,
    /// With the snapshots of the runs before.
    restored: Runs,
    /// With none: each boots, saves, and lets its tests go on from there.
    booted: Runs,
}

/// How attest is to run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    pub(crate) surface: Surface,
    pub(crate) backend: attest::Backend,
    pub(crate) state: State,
    pub(crate) jobs: u8,
}

impl<'a> Attest<'a> {
    pub(crate) fn new(suite: &'a Suite) -> Result<Self> {
        Ok(Self {
            suite,
            restored: Runs::of(&suite.directory)?,
            booted: Runs::of(&suite.directory)?,
        })
    }

    /// Once, uncounted: what is warm or restored has been run before, and Rust tests are built. How many run at once
    /// makes no difference to that.
    pub(crate) fn prepare(&self, how: How) -> Result<()> {
        if how.state != State::Cold && how.jobs == 1 {
            eprintln!(
                "{}: {}, {}, {}: once before",
                self.suite.name,
                how.backend.name(),
                how.surface.name(),
                how.state.name()
            );
            self.attest(how)?;
        }
        Ok(())
    }

    pub(crate) fn run(&self, how: How) -> Result<Times> {
        Ok(times(&self.attest(how)?))
    }

    fn attest(&self, how: How) -> Result<Ran> {
        let kernel = self.suite.kernel.image.display().to_string();
        let jobs = format!("-j{}", how.jobs);
        let surface = how.surface.name();
        let mut arguments = vec![&*jobs, "--test", surface, "--backend", how.backend.name()];
        // Compared with a command that is built so.
        arguments.extend(["--cargo-profile", "release"]);
        if how.backend.is_virtual() {
            arguments.extend(["--kernel", &kernel]);
        }
        let empty = tempfile::tempdir()?;
        let cache = empty.path().display().to_string();
        if how.state == State::Cold {
            arguments.extend(["--cache", &cache]);
        }
        let runs = if how.state == State::Restored {
            &self.restored
        } else {
            self.booted.forget()?;
            &self.booted
        };
        runs.run("auto", &arguments)
    }
}

fn times(ran: &Ran) -> Times {
    let mut profiler = Profiler::new();
    for event in &ran.events {
        profiler.observe(event);
    }
    let until = u64::try_from(ran.took.as_nanos()).unwrap_or(u64::MAX);
    let profile = profiler.profile(Some(until));
    let rows = profile.rows.iter();
    let parts = rows.map(|row| (part(row.row), Duration::from_nanos(row.ns)));
    let mut own: Vec<(String, Duration)> = profile
        .parts
        .iter()
        .filter(|part| part.who == Who::Attest)
        .map(|part| (part.part.name().to_owned(), Duration::from_nanos(part.ns)))
        .collect();
    let beside = Duration::from_nanos(profile.own.cpu_ns);
    own.push(("CPU beside the guests".to_owned(), beside));
    own.sort_by_key(|(_, took)| std::cmp::Reverse(*took));
    Times {
        total: ran.took,
        parts: parts.collect(),
        counted: Some(counted(&ran.events)),
        own: Some(Own {
            share: Duration::from_nanos(profile.own.ns),
            waited: Duration::from_nanos(profile.own.wall_ns),
            parts: own,
        }),
    }
}

fn part(row: Row) -> Part {
    match row {
        Row::SetUp => Part::SetUp,
        Row::DriverStartUp => Part::Driver,
        Row::RootFileSystem => Part::Root,
        Row::Boot => Part::Boot,
        Row::Test => Part::Test,
        Row::Shutdown => Part::Shutdown,
    }
}

fn counted(events: &[Event]) -> Counted {
    let of = |kinds: &[&str]| {
        let operations = events.iter().filter(|event| match &event.kind {
            EventKind::OperationStarted { operation, .. } => kinds.contains(&&**operation),
            _ => false,
        });
        operations.count()
    };
    Counted {
        commands: of(&["exec"]),
        waits: of(&["wait"]),
        copies: of(&["upload", "download"]),
    }
}
