//! One hand-made run with everything in it, for the tests of all readers.

use attest_events::{
    Attributes, BootTimes, ConsoleTail, Event, EventKind, FailureDetail, JournalTail, LogLevel,
    MachineEnding, Marks, OutputStream, Phase, Summary, UnitTime, Verdict,
};

use crate::Reader;

const MS: u64 = 1_000_000;

/// A line of a guest that tries to take over the terminal and to break XML.
pub(crate) const HOSTILE: &str =
    "\x1b[2J\x1b]0;owned\x07evil\r\x08\u{9b}1m <b>&amp;]]>\u{0}\u{fffe} \u{202e}gnorw";

/// Its tests.
pub(crate) const TESTS: [&str; 6] = [
    "pings",
    "web::serves",
    "web::waits",
    "web::crashes",
    "forks",
    "web::later",
];

/// Plays the whole run to a reader.
pub(crate) fn play(reader: &mut impl Reader) {
    for event in events() {
        reader.event(&event).unwrap();
    }
    reader.finish().unwrap();
}

/// The events of the run.
pub(crate) fn events() -> Vec<Event> {
    let mut run = Run::default();
    start(&mut run);
    boot(&mut run);
    tests(&mut run);
    end(run)
}

#[derive(Default)]
struct Run {
    events: Vec<Event>,
    marks: Marks,
    summary: Summary,
}

impl Run {
    fn at(&mut self, ms: u64, kind: EventKind) {
        self.push(ms, None, None, kind);
    }

    fn machine(&mut self, ms: u64, machine: &str, kind: EventKind) {
        self.push(ms, None, Some(machine), kind);
    }

    fn test(&mut self, ms: u64, test: &str, kind: EventKind) {
        self.push(ms, Some(test), None, kind);
    }

    fn verdict(
        &mut self,
        ms: u64,
        test: &str,
        took: u64,
        verdict: Verdict,
        failure: Option<FailureDetail>,
    ) {
        self.ended(ms, test, took, verdict, failure, 1);
    }

    /// It took 100 ms, at the last of so many tries.
    fn tried(
        &mut self,
        ms: u64,
        test: &str,
        verdict: Verdict,
        failure: Option<FailureDetail>,
        tries: u32,
    ) {
        self.ended(ms, test, 100, verdict, failure, tries);
    }

    fn ended(
        &mut self,
        ms: u64,
        test: &str,
        took: u64,
        verdict: Verdict,
        failure: Option<FailureDetail>,
        tries: u32,
    ) {
        self.summary.count_tried(verdict, tries);
        let duration_ns = took * MS;
        self.test(
            ms,
            test,
            EventKind::TestEnded {
                verdict,
                duration_ns,
                failure,
                tries,
            },
        );
    }

    fn push(&mut self, ms: u64, test: Option<&str>, machine: Option<&str>, kind: EventKind) {
        let event = Event {
            at_ns: ms * MS,
            test: test.map(str::to_owned),
            machine: machine.map(str::to_owned),
            kind,
        };
        self.marks.observe(&event);
        self.events.push(event);
    }
}

fn start(run: &mut Run) {
    run.at(
        0,
        EventKind::RunStarted {
            version: "0.1.0".to_owned(),
            time: "2026-01-02T03:04:05Z".to_owned(),
            tests: TESTS.map(str::to_owned).to_vec(),
            jobs: 1,
            output: "attest-out/1".to_owned(),
        },
    );
    run.at(
        2,
        EventKind::Chosen {
            what: "accelerator".to_owned(),
            choice: "tcg".to_owned(),
            reason: "/dev/kvm cannot run a stock kernel".to_owned(),
        },
    );
    run.at(
        3,
        EventKind::PhaseStarted {
            phase: Phase::Image,
        },
    );
    for (ms, done) in [(3, 0), (4, 23)] {
        let text = format!("fetching the kernel ({done} of 23 MB)");
        run.at(ms, EventKind::Progress { text });
    }
    run.at(
        5,
        EventKind::PhaseStarted {
            phase: Phase::Spawn,
        },
    );
    let machines = vec!["web".to_owned(), "client".to_owned()];
    run.at(5, EventKind::LabStarted { machines });
}

fn boot(run: &mut Run) {
    run.at(40, EventKind::PhaseStarted { phase: Phase::Boot });
    for (machine, boot, agent) in [("web", 1_800, 30), ("client", 1_850, 25)] {
        let took = |phase, ms| EventKind::PhaseEnded {
            phase,
            duration_ns: ms * MS,
        };
        run.machine(40, machine, took(Phase::Spawn, 35));
        run.machine(
            900,
            machine,
            EventKind::Console {
                line: HOSTILE.to_owned(),
            },
        );
        run.machine(40 + boot, machine, took(Phase::Boot, boot));
        let version = "0.1.0".to_owned();
        run.machine(
            40 + boot,
            machine,
            EventKind::AgentUp {
                version,
                generation: 1,
            },
        );
        run.machine(40 + boot + agent, machine, took(Phase::Agent, agent));
    }
    system(run);
    run.at(
        1_890,
        EventKind::PhaseStarted {
            phase: Phase::Agent,
        },
    );
    run.at(1_915, EventKind::PhaseStarted { phase: Phase::Test });
}

fn system(run: &mut Run) {
    let unit = |unit: &str, began: u64, took: u64| UnitTime {
        unit: unit.to_owned(),
        began_ns: began * MS,
        took_ns: took * MS,
    };
    let up = EventKind::SystemUp {
        state: "degraded".to_owned(),
        failed: vec!["broken.service".to_owned()],
        times: BootTimes {
            kernel_ns: Some(800 * MS),
            userspace_ns: Some(1_000 * MS),
            slowest: vec![
                unit("httpd.service", 1_000, 700),
                unit("dev.mount", 900, 20),
            ],
            ..BootTimes::default()
        },
    };
    run.machine(1_890, "web", up);
    let journal = EventKind::Journal {
        unit: "httpd.service".to_owned(),
        priority: 3,
        time_us: 1_767_322_845_000_000,
        message: format!("two lines\n{HOSTILE}"),
    };
    run.machine(1_890, "web", journal);
}

fn tests(run: &mut Run) {
    run.test(1_915, "pings", EventKind::TestStarted);
    run.test(
        1_915,
        "pings",
        EventKind::Log {
            level: LogLevel::Info,
            message: format!("a script says\n{HOSTILE}"),
            attributes: Attributes::new(),
        },
    );
    run.test(
        1_915,
        "pings",
        EventKind::LogBegan {
            id: 1,
            message: "a part of it".to_owned(),
            subtest: true,
            attributes: Attributes::new(),
        },
    );
    let text = "client: ping -c 1 web".to_owned();
    run.test(1_916, "pings", EventKind::StepStarted { step: 1, text });
    operation(run);
    run.verdict(1_930, "pings", 15, Verdict::Passed, None);
    run.test(1_931, "web::serves", EventKind::TestStarted);
    run.verdict(2_463, "web::serves", 532, Verdict::Failed, Some(failed()));
    let message = "no port 80 within 3 s; last seen: connection refused".to_owned();
    let timed_out = FailureDetail {
        message,
        machine: Some("web".to_owned()),
        ..FailureDetail::default()
    };
    run.verdict(
        5_463,
        "web::waits",
        3_000,
        Verdict::TimedOut,
        Some(timed_out),
    );
    let detail = "signal 11".to_owned();
    run.machine(
        5_500,
        "web",
        EventKind::MachineEnded {
            ending: MachineEnding::VmmCrashed,
            detail,
        },
    );
    let message = "machine web: QEMU died by signal 11".to_owned();
    let broken = FailureDetail {
        message,
        ..FailureDetail::default()
    };
    run.verdict(
        5_510,
        "web::crashes",
        40,
        Verdict::Infrastructure,
        Some(broken),
    );
    let message = "firecracker is not installed".to_owned();
    let skipped = FailureDetail {
        message,
        ..FailureDetail::default()
    };
    run.verdict(5_511, "forks", 0, Verdict::Skipped, Some(skipped));
    let message = "interrupted before it began".to_owned();
    let interrupted = FailureDetail {
        message,
        ..FailureDetail::default()
    };
    run.verdict(
        5_520,
        "web::later",
        0,
        Verdict::Interrupted,
        Some(interrupted),
    );
}

fn operation(run: &mut Run) {
    let on_client = |ms, kind| Event {
        at_ns: ms * MS,
        test: Some("pings".to_owned()),
        machine: Some("client".to_owned()),
        kind,
    };
    run.events.extend([
        on_client(
            1_916,
            EventKind::OperationStarted {
                id: 1,
                operation: "exec".to_owned(),
                subject: "ping -c 1 web".to_owned(),
            },
        ),
        on_client(
            1_925,
            EventKind::Output {
                id: 1,
                stream: OutputStream::Stdout,
                text: format!("1 packet received\n{HOSTILE}\n"),
            },
        ),
        on_client(
            1_926,
            EventKind::OperationEnded {
                id: 1,
                duration_ns: 10 * MS,
                error: None,
            },
        ),
    ]);
}

fn failed() -> FailureDetail {
    FailureDetail {
        message: "the command ended with exit code 22, and 0 was expected\nafter 1 try".to_owned(),
        machine: Some("client".to_owned()),
        command: Some("curl --fail http://web/\ntrue".to_owned()),
        stdout: Some(String::new()),
        stderr: Some(format!(
            "curl: (22) The requested URL returned error: 404\n{HOSTILE}\n"
        )),
        consoles: vec![ConsoleTail {
            machine: "web".to_owned(),
            lines: vec![
                "httpd: no such file: /srv/index.html".to_owned(),
                HOSTILE.to_owned(),
            ],
            file: "attest-out/1/web.console".to_owned(),
        }],
        journals: vec![JournalTail {
            machine: "web".to_owned(),
            unit: "httpd.service".to_owned(),
            lines: vec![
                "12.345678 Started httpd.service - a server of pages.".to_owned(),
                format!("12.401003 error: {HOSTILE}"),
            ],
        }],
        kept: Some(format!("attest shell --snapshot 3fa1b2c4 client{HOSTILE}")),
    }
}

fn end(mut run: Run) -> Vec<Event> {
    let message = "3 console lines came too fast".to_owned();
    run.machine(5_521, "client", EventKind::Warning { message });
    run.at(
        5_521,
        EventKind::PhaseStarted {
            phase: Phase::Shutdown,
        },
    );
    let stopped = EventKind::MachineEnded {
        ending: MachineEnding::Stopped,
        detail: "exit code 0".to_owned(),
    };
    run.machine(5_580, "client", stopped);
    run.at(5_590, EventKind::LabEnded);
    let breakdown = std::mem::take(&mut run.marks).finish(5_600 * MS);
    let (exit_code, summary) = (run.summary.exit_code(), run.summary);
    run.at(
        5_600,
        EventKind::RunEnded {
            exit_code,
            summary,
            breakdown,
        },
    );
    run.events
}

/// The events of a run of tests side by side: one passes at its second try, one never does, one
/// waits, and one is not begun.
pub(crate) fn parallel() -> Vec<Event> {
    let mut run = Run::default();
    run.at(
        0,
        EventKind::RunStarted {
            version: "0.1.0".to_owned(),
            time: "2026-01-02T03:04:05Z".to_owned(),
            tests: ["web::one", "web::two", "big", "late"]
                .map(str::to_owned)
                .to_vec(),
            jobs: 2,
            output: "attest-out/2".to_owned(),
        },
    );
    for (ms, test) in [(10, "web::one"), (20, "web::two")] {
        run.test(ms, test, EventKind::TestStarted);
        let machines = vec!["web".to_owned()];
        run.test(ms, test, EventKind::LabStarted { machines });
        let phase = Phase::Boot;
        run.test(ms, test, EventKind::PhaseStarted { phase });
    }
    let text = "big waits: needs 768 MiB, 300 MiB are free of 2048 MiB".to_owned();
    run.test(1_020, "big", EventKind::Progress { text });
    for (ms, test) in [(1_810, "web::one"), (1_920, "web::two")] {
        let (phase, duration_ns) = (Phase::Agent, 30 * MS);
        let ended = EventKind::PhaseEnded { phase, duration_ns };
        run.push(ms, Some(test), Some("web"), ended);
        let phase = Phase::Test;
        run.test(ms, test, EventKind::PhaseStarted { phase });
    }
    tries(&mut run);
    end(run)
}

fn tries(run: &mut Run) {
    let tried = |of, verdict| EventKind::TryEnded {
        number: 1,
        of,
        verdict,
        duration_ns: 100 * MS,
        failure: Some(failed()),
    };
    run.test(2_000, "web::one", tried(2, Verdict::Failed));
    let line = HOSTILE.to_owned();
    run.push(
        2_010,
        Some("web::two"),
        Some("web"),
        EventKind::Console { line },
    );
    run.test(2_100, "web::two", tried(2, Verdict::Infrastructure));
    run.tried(2_200, "web::one", Verdict::Passed, None, 2);
    run.tried(2_300, "web::two", Verdict::Failed, Some(failed()), 2);
    for (test, ms, verdict, message) in [
        ("big", 2_500, Verdict::Passed, ""),
        (
            "late",
            2_500,
            Verdict::Skipped,
            "not begun, for `web::two` did not pass",
        ),
    ] {
        run.test(2_400, test, EventKind::TestStarted);
        let failure = FailureDetail {
            message: message.to_owned(),
            ..FailureDetail::default()
        };
        run.tried(
            ms,
            test,
            verdict,
            (verdict != Verdict::Passed).then_some(failure),
            1,
        );
    }
}
