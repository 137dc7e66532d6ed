//! Runs as attest tells of them, in small.

use attest_events::{
    BootTimes, BootsBecause, Event, EventKind, ExitCode, Part, Phase, ProcessKind, Summary,
    UnitTime, Verdict,
};

const MS: u64 = 1_000_000;

/// Events, each with its time and who it is about.
#[derive(Default)]
pub(super) struct Told {
    pub(super) events: Vec<Event>,
    test: Option<&'static str>,
    cpu_ms: u64,
    operations: u64,
}

impl Told {
    pub(super) fn of(&mut self, test: &'static str) -> &mut Self {
        self.test = Some(test);
        self
    }

    fn of_run(&mut self) -> &mut Self {
        self.test = None;
        self
    }

    fn tell(&mut self, ms: u64, machine: Option<&str>, kind: EventKind) -> &mut Self {
        self.events.push(Event {
            at_ns: ms * MS,
            test: self.test.map(str::to_owned),
            machine: machine.map(str::to_owned),
            kind,
        });
        self
    }

    fn begin(&mut self, jobs: u32, tests: &[&str]) -> &mut Self {
        let started = EventKind::RunStarted {
            version: "0.1.0".to_owned(),
            time: "2026-01-02T03:04:05Z".to_owned(),
            tests: tests.iter().map(|test| (*test).to_owned()).collect(),
            jobs,
            output: "attest-out/1".to_owned(),
        };
        self.tell(6, None, started).part(4, Part::Plan)
    }

    fn test(&mut self, ms: u64, name: &'static str, machines: &[&str]) -> &mut Self {
        let machines = machines
            .iter()
            .map(|machine| (*machine).to_owned())
            .collect();
        self.of(name).tell(ms, None, EventKind::TestStarted).tell(
            ms,
            None,
            EventKind::LabStarted { machines },
        )
    }

    fn part(&mut self, ms: u64, part: Part) -> &mut Self {
        self.part_of(ms, None, part)
    }

    /// attest's process uses a quarter of a processor.
    fn part_of(&mut self, ms: u64, machine: Option<&str>, part: Part) -> &mut Self {
        self.cpu_ms = self.cpu_ms.max(ms / 4);
        let cpu_ns = Some(self.cpu_ms * MS);
        self.tell(ms, machine, EventKind::PartStarted { part, cpu_ns })
    }

    fn phase(&mut self, ms: u64, phase: Phase) -> &mut Self {
        self.tell(ms, None, EventKind::PhaseStarted { phase })
    }

    fn ready(&mut self, ms: u64, machine: &str) -> &mut Self {
        self.tell(ms, Some(machine), EventKind::PartsEnded)
    }

    pub(super) fn asked(
        &mut self,
        from_ms: u64,
        to_ms: u64,
        machine: &str,
        operation: &str,
        subject: &str,
    ) -> &mut Self {
        self.operations += 1;
        let id = self.operations;
        let (operation, subject) = (operation.to_owned(), subject.to_owned());
        let started = EventKind::OperationStarted {
            id,
            operation,
            subject,
        };
        let ended = EventKind::OperationEnded {
            id,
            duration_ns: (to_ms - from_ms) * MS,
            error: None,
        };
        self.tell(from_ms, Some(machine), started)
            .tell(to_ms, Some(machine), ended)
    }

    fn used(&mut self, ms: u64, by: ProcessKind, cpu: u64, waited: u64) -> &mut Self {
        let used = EventKind::CpuUsed {
            by,
            cpu_ns: cpu * MS,
            waited_ns: waited * MS,
        };
        self.tell(ms, None, used)
    }

    fn test_ended(&mut self, ms: u64) -> &mut Self {
        let ended = EventKind::TestEnded {
            verdict: Verdict::Passed,
            duration_ns: MS,
            failure: None,
            tries: 1,
        };
        self.tell(ms, None, ended).of_run()
    }

    fn end(&mut self, ms: u64) -> Vec<Event> {
        let used = self.cpu_ms.max(ms / 4);
        self.of_run()
            .part(ms - 10, Part::End)
            .used(ms, ProcessKind::Driver, used, 0)
            .tell(
                ms,
                None,
                EventKind::RunEnded {
                    exit_code: ExitCode::Passed,
                    summary: Summary::default(),
                    breakdown: attest_events::Breakdown::default(),
                },
            );
        let mut events = std::mem::take(&mut self.events);
        // After the first, and what was before it.
        events[2..].sort_by_key(|event| event.at_ns);
        events
    }
}

/// A script on a lab that goes on from a snapshot.
pub(super) fn restored() -> Vec<Event> {
    let mut told = Told::default();
    told.begin(1, &["shop"])
        .part(5, Part::Outline)
        .part(45, Part::Plan)
        .test(50, "shop", &["web", "client"])
        .phase(51, Phase::Image)
        .part(51, Part::Images)
        .part(54, Part::Lookup)
        .tell(
            56,
            None,
            EventKind::Chosen {
                what: "snapshot".to_owned(),
                choice: "go on".to_owned(),
                reason: "kept in /dev/shm".to_owned(),
            },
        )
        .phase(56, Phase::Restore)
        .part(56, Part::LabProcess)
        .part(66, Part::Start);
    for machine in ["web", "client"] {
        told.part_of(66, Some(machine), Part::Disks)
            .part_of(67, Some(machine), Part::Cards)
            .part_of(70, Some(machine), Part::VmmStart);
    }
    for (ms, machine) in [(110, "web"), (115, "client")] {
        told.part_of(ms, Some(machine), Part::Load);
    }
    told.phase(125, Phase::Test)
        .part(125, Part::Client)
        .part_of(130, Some("web"), Part::Wake)
        .part_of(131, Some("client"), Part::Wake)
        .ready(150, "web")
        .part(175, Part::Script)
        // One that wakes still: that is not the command's time.
        .asked(176, 240, "client", "exec", "curl http://web/")
        .ready(190, "client")
        .asked(245, 250, "web", "wait", "port localhost:80 open");
    for check in 0..20 {
        let begin = 260 + check * 10;
        told.asked(begin, begin + 9, "client", "exec", "curl http://web/stock");
    }
    told.part(470, Part::ClientEnd)
        .used(472, ProcessKind::Python, 60, 0)
        .phase(480, Phase::Shutdown)
        .part(480, Part::Usage)
        .used(485, ProcessKind::Lab, 9, 7)
        .part(485, Part::LabEnd)
        .test_ended(520)
        .end(530)
}

/// The same two tests on containers, side by side, each on a lab of its own.
pub(super) fn containers() -> Vec<Event> {
    let mut told = Told::default();
    told.begin(2, &["one", "other"]);
    for (begin, test) in [(10, "one"), (20, "other")] {
        told.test(begin, test, &["web"])
            .part(begin, Part::Images)
            .tell(
                begin + 5,
                None,
                EventKind::AlwaysBoots {
                    why: BootsBecause::Backend,
                },
            )
            .phase(begin + 5, Phase::Spawn)
            .part(begin + 5, Part::LabProcess)
            .part(begin + 15, Part::Start)
            .part_of(begin + 15, Some("web"), Part::Disks)
            .part_of(begin + 35, Some("web"), Part::Cards)
            .part_of(begin + 55, Some("web"), Part::VmmStart)
            .phase(begin + 60, Phase::Boot)
            .part_of(begin + 200, Some("web"), Part::MachineSetUp)
            .phase(begin + 200, Phase::Agent)
            .ready(begin + 220, "web")
            .phase(begin + 220, Phase::Test);
        let times = BootTimes {
            slowest: vec![UnitTime {
                unit: "nginx.service".to_owned(),
                began_ns: 100 * MS,
                took_ns: 400 * MS,
            }],
            ..BootTimes::default()
        };
        let state = "running".to_owned();
        let failed = Vec::new();
        told.asked(begin + 220, begin + 700, "web", "wait", "unit nginx active")
            .tell(
                begin + 700,
                Some("web"),
                EventKind::SystemUp {
                    state,
                    failed,
                    times,
                },
            )
            .asked(
                begin + 700,
                begin + 720,
                "web",
                "exec",
                "curl http://localhost/",
            );
    }
    for (ms, test) in [(730, "one"), (740, "other")] {
        told.of(test)
            .phase(ms, Phase::Shutdown)
            .part(ms, Part::Usage)
            .used(ms + 5, ProcessKind::Machines, 500, 0)
            .used(ms + 5, ProcessKind::Lab, 12, 8)
            .part(ms + 5, Part::LabEnd);
    }
    told.of("one").test_ended(790);
    told.of("other").test_ended(800);
    told.end(820)
}

/// Three tests, one after the other, that begin with the same; their lab boots first, and is saved.
pub(super) fn saved() -> Vec<Event> {
    let mut told = Told::default();
    told.begin(1, &["a", "b", "c"]);
    for (number, test) in (0_u64..).zip(["a", "b", "c"]) {
        let at = 20 + 3000 * number;
        told.test(at, test, &["db"]).part(at, Part::Images);
        if number == 0 {
            let text = "unpacking the kernel".to_owned();
            told.tell(at, None, EventKind::Progress { text })
                .part(at + 400, Part::Lookup)
                .tell(
                    at + 401,
                    None,
                    EventKind::Chosen {
                        what: "snapshot".to_owned(),
                        choice: "boot".to_owned(),
                        reason: "there is none yet; it is made in /dev/shm".to_owned(),
                    },
                )
                .phase(at + 401, Phase::Spawn)
                .part(at + 401, Part::LabProcess)
                .part(at + 410, Part::Start)
                .phase(at + 420, Phase::Boot)
                .phase(at + 1500, Phase::Agent)
                .part(at + 1520, Part::System)
                .phase(at + 1700, Phase::Snapshot);
        } else {
            told.phase(at + 1, Phase::Restore);
        }
        let begin = at + 1800;
        told.phase(begin, Phase::Test)
            .asked(
                begin,
                begin + 500,
                "db",
                "exec",
                "createdb shop\nthat has a second line",
            )
            .asked(
                begin + 500,
                begin + 900,
                "db",
                "upload",
                "dump.sql to /tmp/dump.sql",
            )
            .asked(
                begin + 900,
                begin + 910,
                "db",
                "exec",
                &format!("psql {test}"),
            )
            .phase(begin + 920, Phase::Shutdown)
            .used(begin + 921, ProcessKind::Machines, 2200, 0)
            .test_ended(begin + 1000);
    }
    told.end(9000)
}
