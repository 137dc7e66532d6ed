//! Where events are made: a clock, a test's name, and a queue to the readers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use attest_events::{
    Breakdown, Event, EventKind, ExitCode, Marks, Part, Phase, ProcessKind, Summary, nanoseconds,
};
use tokio::sync::{mpsc, oneshot};

use crate::cpu;
use crate::systemd::Whose;

/// Lines of consoles and journals that may wait for a slow reader. Beyond it they are dropped from
/// the events (never from the console's file) and counted: 64 Ki lines of 100 bytes are 6 MB.
const LINE_BACKLOG: u64 = 64 * 1024;
/// Units of one test whose journals its failure shows.
const TOUCHED: usize = 16;

/// A unit that a test has to do with: its machine, whose manager has it, and its whole name.
pub(crate) type TouchedUnit = (String, Whose, String);

/// Makes the events of one run. Clones record into the same stream, for the same test.
#[derive(Debug, Clone)]
pub struct Recorder {
    stream: Arc<Stream>,
    scope: Arc<Scope>,
}

/// What all recorders of a run have in common.
#[derive(Debug)]
struct Stream {
    began: Instant,
    /// `None` after the end of the run: nothing happens after that.
    marks: Mutex<Option<Marks>>,
    next_operation: AtomicU64,
    line_backlog: Arc<AtomicU64>,
    lines_dropped: AtomicU64,
    events: Option<mpsc::UnboundedSender<Queued>>,
}

/// What is one test's.
#[derive(Debug, Default)]
struct Scope {
    test: Mutex<Option<String>>,
    /// Operations of the test that have not ended, as its user would write them.
    in_flight: Mutex<BTreeMap<u64, String>>,
    /// What it is in, as far as it was said: a phase, and its part.
    now: Mutex<Option<(Phase, Part)>>,
    /// Units that the test has to do with: machine, manager, name.
    touched: Mutex<BTreeSet<TouchedUnit>>,
}

/// What waits for the reader.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are events")]
enum Queued {
    Event(Event),
    /// Whoever wants to know when all before it has been read.
    Watcher(oneshot::Sender<()>),
}

/// The reading end of a [`Recorder`].
#[derive(Debug)]
pub struct EventStream {
    events: mpsc::UnboundedReceiver<Queued>,
    line_backlog: Arc<AtomicU64>,
}

impl EventStream {
    /// The next event; `None` when all recorders are gone.
    pub async fn next(&mut self) -> Option<Event> {
        let event = loop {
            match self.events.recv().await? {
                Queued::Event(event) => break event,
                Queued::Watcher(watcher) => {
                    // It may have gone.
                    let _ = watcher.send(());
                }
            }
        };
        if is_line(&event.kind) {
            self.line_backlog.fetch_sub(1, Ordering::Relaxed);
        }
        Some(event)
    }
}

/// Whether guests can make any number of these.
fn is_line(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Console { .. } | EventKind::Journal { .. })
}

impl Recorder {
    /// A recorder whose clock began at `began`, and its reader.
    pub fn new(began: Instant) -> (Self, EventStream) {
        let (sender, events) = mpsc::unbounded_channel();
        let recorder = Self::with(began, Some(sender));
        let line_backlog = Arc::clone(&recorder.stream.line_backlog);
        (
            recorder,
            EventStream {
                events,
                line_backlog,
            },
        )
    }

    /// A recorder that nobody reads.
    pub fn silent() -> Self {
        Self::with(Instant::now(), None)
    }

    fn with(began: Instant, events: Option<mpsc::UnboundedSender<Queued>>) -> Self {
        Self {
            stream: Arc::new(Stream {
                began,
                marks: Mutex::new(Some(Marks::new())),
                next_operation: AtomicU64::new(1),
                line_backlog: Arc::new(AtomicU64::new(0)),
                lines_dropped: AtomicU64::new(0),
                events,
            }),
            scope: Arc::default(),
        }
    }

    /// A recorder into the same stream, for a test that runs beside others.
    pub(crate) fn for_test(&self, test: &str) -> Self {
        let child = Self {
            stream: Arc::clone(&self.stream),
            scope: Arc::default(),
        };
        child.set_test(Some(test));
        child
    }

    /// The first event of a run, and what there was before it: parts that began at these instants.
    pub(crate) fn run_started(&self, started: EventKind, before: &[(Part, Instant)]) {
        self.record(started);
        for (part, at) in before {
            self.part_at(*part, *at);
        }
    }

    /// Nanoseconds since the run began.
    pub fn now(&self) -> u64 {
        nanoseconds(self.stream.began.elapsed())
    }

    /// Wait until the reader is done with all that was recorded before: it has come for more, or
    /// comes no more.
    pub async fn read(&self) {
        let Some(events) = &self.stream.events else {
            return;
        };
        let (watcher, is_read) = oneshot::channel();
        if events.send(Queued::Watcher(watcher)).is_ok() {
            let _ = is_read.await;
        }
    }

    /// Record something about the lab, the run or the test.
    pub fn record(&self, kind: EventKind) {
        self.send(self.now(), None, kind);
    }

    /// Record that a lab of these machines starts.
    pub(crate) fn lab_started<'a>(&self, machines: impl Iterator<Item = &'a String>) {
        let machines = machines.cloned().collect();
        self.record(EventKind::LabStarted { machines });
    }

    /// Record something about a machine.
    pub fn record_machine(&self, machine: &str, kind: EventKind) {
        self.send(self.now(), Some(machine), kind);
    }

    /// Record a line of a console or of a journal, unless too many wait already.
    pub(crate) fn record_line(&self, machine: &str, line: EventKind) {
        let stream = &self.stream;
        if stream.events.is_none() {
            return;
        }
        if stream.line_backlog.load(Ordering::Relaxed) >= LINE_BACKLOG {
            stream.lines_dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let dropped = stream.lines_dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            self.record_machine(
                machine,
                EventKind::Warning {
                    message: format!("{dropped} lines of consoles and journals came too fast for the events; the console's file and the machine's journal have them"),
                },
            );
        }
        stream.line_backlog.fetch_add(1, Ordering::Relaxed);
        self.record_machine(machine, line);
    }

    /// Pass on an event of a run inside this one (a Rust test binary), whose clock began at
    /// `offset_ns` of ours.
    pub(crate) fn forward(&self, mut event: Event, offset_ns: u64) {
        event.at_ns = event.at_ns.saturating_add(offset_ns);
        match &mut event.kind {
            // It is another process.
            EventKind::PartStarted { cpu_ns, .. } => *cpu_ns = None,
            EventKind::CpuUsed { by, .. } if *by == ProcessKind::Driver => {
                *by = ProcessKind::RustTest;
            }
            _ => {}
        }
        if event.test.is_none() {
            event
                .test
                .clone_from(&self.scope.test.lock().expect("not poisoned"));
        }
        if is_line(&event.kind) {
            self.stream.line_backlog.fetch_add(1, Ordering::Relaxed);
        }
        self.emit(event);
    }

    /// Where the time went until now.
    pub(crate) fn breakdown(&self) -> Breakdown {
        let marks = self.stream.marks.lock().expect("not poisoned").clone();
        marks.unwrap_or_default().finish(self.now())
    }

    /// The run is over: nothing is recorded after this.
    pub fn end(&self, summary: Summary) -> ExitCode {
        let exit_code = summary.exit_code();
        self.record(EventKind::RunEnded {
            exit_code,
            summary,
            breakdown: self.breakdown(),
        });
        exit_code
    }

    /// The run enters this phase.
    pub(crate) fn enter(&self, phase: Phase) {
        *self.scope.now.lock().expect("not poisoned") = Some((phase, Part::of_phase(phase)));
        self.record(EventKind::PhaseStarted { phase });
    }

    /// From now on, the wall time waits for this.
    pub fn part(&self, part: Part) {
        if let Some((_, now)) = &mut *self.scope.now.lock().expect("not poisoned") {
            *now = part;
        }
        self.record(part_started(part));
    }

    /// The phase that the test is in, as far as it was said.
    pub(crate) fn phase(&self) -> Option<Phase> {
        let now = self.scope.now.lock().expect("not poisoned");
        now.map(|(phase, _)| phase)
    }

    /// Something that a test wants of attest itself, as another lab: when the returned value is dropped, the test goes
    /// on with what it was in. Outside of tests there is nothing to go on with.
    pub(crate) fn aside(&self) -> Aside {
        let now = *self.scope.now.lock().expect("not poisoned");
        Aside {
            recorder: self.clone(),
            was: now.filter(|(phase, _)| *phase == Phase::Test),
        }
    }

    /// The same, from this instant on.
    fn part_at(&self, part: Part, at: Instant) {
        let at_ns = nanoseconds(at.saturating_duration_since(self.stream.began));
        let cpu_ns = None;
        self.send(at_ns, None, EventKind::PartStarted { part, cpu_ns });
    }

    /// From now on, whoever waits for this machine waits for this.
    pub(crate) fn machine_part(&self, machine: &str, part: Part) {
        self.record_machine(machine, part_started(part));
    }

    /// A process used so much until its end.
    pub fn cpu_used(&self, by: ProcessKind, cpu: Option<Duration>, waited: Duration) {
        if let Some(cpu) = cpu {
            self.record(EventKind::CpuUsed {
                by,
                cpu_ns: nanoseconds(cpu),
                waited_ns: nanoseconds(waited),
            });
        }
    }

    /// What this very process used until now, at its end.
    pub fn own_cpu_used(&self) {
        self.cpu_used(ProcessKind::Driver, cpu::of_this_process(), Duration::ZERO);
    }

    /// A machine was in this phase for so long, until now.
    pub(crate) fn machine_phase(&self, machine: &str, phase: Phase, duration: Duration) {
        self.record_machine(
            machine,
            EventKind::PhaseEnded {
                phase,
                duration_ns: nanoseconds(duration),
            },
        );
    }

    /// Events from now on belong to this test.
    pub(crate) fn set_test(&self, test: Option<&str>) {
        *self.scope.now.lock().expect("not poisoned") = None;
        // What was given up with the test before has no end.
        self.scope.in_flight.lock().expect("not poisoned").clear();
        self.scope.touched.lock().expect("not poisoned").clear();
        *self.scope.test.lock().expect("not poisoned") = test.map(str::to_owned);
    }

    /// The test that events belong to.
    pub(crate) fn test(&self) -> Option<String> {
        self.scope.test.lock().expect("not poisoned").clone()
    }

    /// The test has to do with this unit.
    pub(crate) fn touch(&self, machine: &str, whose: Whose, unit: String) {
        let mut touched = self.scope.touched.lock().expect("not poisoned");
        if touched.len() < TOUCHED {
            touched.insert((machine.to_owned(), whose, unit));
        }
    }

    /// The units that the test has to do with.
    pub(crate) fn touched(&self) -> BTreeSet<TouchedUnit> {
        self.scope.touched.lock().expect("not poisoned").clone()
    }

    /// A number for an operation.
    pub(crate) fn operation(&self) -> u64 {
        self.stream.next_operation.fetch_add(1, Ordering::Relaxed)
    }

    /// What the test has begun and not ended, oldest first, as `machine: exec sleep 9`.
    pub(crate) fn in_flight(&self) -> Vec<String> {
        let in_flight = self.scope.in_flight.lock().expect("not poisoned");
        in_flight.values().cloned().collect()
    }

    fn send(&self, at_ns: u64, machine: Option<&str>, kind: EventKind) {
        let test = self.scope.test.lock().expect("not poisoned").clone();
        self.emit(Event {
            at_ns,
            test,
            machine: machine.map(str::to_owned),
            kind,
        });
    }

    fn emit(&self, event: Event) {
        let mut marks = self.stream.marks.lock().expect("not poisoned");
        let Some(open) = marks.as_mut() else {
            return;
        };
        open.observe(&event);
        if matches!(event.kind, EventKind::RunEnded { .. }) {
            *marks = None;
        }
        self.follow_operations(&event);
        // Under the lock, or an event could come after the last.
        if let Some(events) = &self.stream.events {
            // The reader may have gone first, at the end of the run.
            let _ = events.send(Queued::Event(event));
        }
    }

    fn follow_operations(&self, event: &Event) {
        let in_flight = || self.scope.in_flight.lock().expect("not poisoned");
        match &event.kind {
            EventKind::OperationStarted {
                id,
                operation,
                subject,
            } => {
                let machine = event.machine.as_deref().unwrap_or("-");
                in_flight().insert(*id, format!("{machine}: {operation} {subject}"));
            }
            EventKind::OperationEnded { id, .. } => drop(in_flight().remove(id)),
            _ => {}
        }
    }
}

/// What a test was in before it wanted something else.
#[derive(Debug)]
pub(crate) struct Aside {
    recorder: Recorder,
    was: Option<(Phase, Part)>,
}

impl Drop for Aside {
    fn drop(&mut self) {
        let now = *self.recorder.scope.now.lock().expect("not poisoned");
        if let Some((phase, part)) = self.was
            && now != self.was
        {
            self.recorder.enter(phase);
            self.recorder.part(part);
        }
    }
}

fn part_started(part: Part) -> EventKind {
    EventKind::PartStarted {
        part,
        cpu_ns: cpu::of_this_process().map(nanoseconds),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn what_was_recorded_is_read_when_the_reader_comes_for_more() {
        let (recorder, mut events) = Recorder::new(Instant::now());
        recorder.record(EventKind::LabEnded);
        let mut read = std::pin::pin!(recorder.read());
        assert_eq!(read.as_mut().now_or_never(), None);
        assert_eq!(events.next().await.unwrap().kind, EventKind::LabEnded);
        assert_eq!(read.as_mut().now_or_never(), None);
        assert!(events.next().now_or_never().is_none());
        read.await;
        drop(events);
        recorder.read().await;
        Recorder::silent().read().await;
    }

    #[tokio::test]
    async fn tests_side_by_side_share_the_stream_and_nothing_else() {
        let (recorder, mut events) = Recorder::new(Instant::now());
        let (one, other) = (recorder.for_test("one"), recorder.for_test("other"));
        let begin = |recorder: &Recorder| {
            let id = recorder.operation();
            let (operation, subject) = ("exec".to_owned(), format!("sleep {id}"));
            let kind = EventKind::OperationStarted {
                id,
                operation,
                subject,
            };
            recorder.record_machine("a", kind);
            id
        };
        assert_ne!(begin(&one), begin(&other));
        assert_eq!(one.in_flight(), ["a: exec sleep 1"]);
        assert_eq!(other.in_flight(), ["a: exec sleep 2"]);
        recorder.record(EventKind::LabEnded);
        let mut of_tests = Vec::new();
        for _ in 0..3 {
            of_tests.push(events.next().await.unwrap().test);
        }
        let expected = [Some("one"), Some("other"), None];
        assert_eq!(of_tests, expected.map(|test| test.map(str::to_owned)));
    }
}
