//! Runs that are long, and runs in which everything is said.

use attest_events::{
    Attributes, ConsoleTail, Event, EventKind, FailureDetail, JournalTail, LogLevel, MachineEnding,
    Marks, OutputStream, Phase, Summary, Verdict,
};

/// A run of so many tests, four at once: each boots two machines and does so many things on them;
/// one in ten fails. `say` makes the texts.
pub(super) fn large(tests: u32, operations: u64, say: impl Fn(&str) -> String) -> Vec<Event> {
    const MS: u64 = 1_000_000;
    let mut events = Vec::new();
    let mut push = |at_ns: u64, test: Option<&str>, machine: Option<&str>, kind| {
        events.push(Event {
            at_ns,
            test: test.map(str::to_owned),
            machine: machine.map(str::to_owned),
            kind,
        });
    };
    let names: Vec<String> = (0..tests)
        .map(|test| say(&format!("suite::test {test}")))
        .collect();
    push(
        MS,
        None,
        None,
        EventKind::RunStarted {
            version: say("0.1.0"),
            time: say("2026-01-02T03:04:05Z"),
            tests: names.clone(),
            jobs: 4,
            output: say("attest-out/1"),
        },
    );
    let mut summary = Summary::default();
    let mut id = 0;
    let mut last = 0;
    for (number, name) in (0_u64..).zip(&names) {
        let began = number * 700 * MS + 2 * MS;
        let test = Some(name.as_str());
        let machines = ["web", "client"].map(&say);
        push(began, test, None, EventKind::TestStarted);
        let phase = |phase| EventKind::PhaseStarted { phase };
        push(
            began,
            test,
            None,
            EventKind::LabStarted {
                machines: machines.to_vec(),
            },
        );
        push(began + 9 * MS, test, None, phase(Phase::Spawn));
        push(began + 40 * MS, test, None, phase(Phase::Boot));
        for machine in &machines {
            for (at, phase, took) in [
                (40, Phase::Spawn, 30),
                (900, Phase::Boot, 860),
                (930, Phase::Agent, 30),
            ] {
                let duration_ns = took * MS;
                push(
                    began + at * MS,
                    test,
                    Some(machine),
                    EventKind::PhaseEnded { phase, duration_ns },
                );
            }
            for _ in 0..100 {
                let line = say("[    0.974695] PCI: Fatal: No config space access function found");
                push(
                    began + 500 * MS,
                    test,
                    Some(machine),
                    EventKind::Console { line },
                );
            }
        }
        push(began + 930 * MS, test, None, phase(Phase::Test));
        for operation in 0..operations {
            id += 1;
            let machine = Some(machines[usize::from(operation % 2 == 1)].as_str());
            let at = began + 930 * MS + operation * 2_000 * MS / operations;
            let took = 600 * MS / operations * (1 + number % 3);
            let (operation, subject) = match operation % 3 {
                0 => ("wait", "port localhost:80 open"),
                _ => (
                    "exec",
                    "curl --silent --fail --max-time 5 http://web:8080/api/v1/items?page=3 | jq -r .name",
                ),
            };
            push(
                at,
                test,
                machine,
                EventKind::OperationStarted {
                    id,
                    operation: operation.to_owned(),
                    subject: say(subject),
                },
            );
            push(
                at + took,
                test,
                machine,
                EventKind::Output {
                    id,
                    stream: OutputStream::Stdout,
                    text: say("hello\n"),
                },
            );
            push(
                at + took,
                test,
                machine,
                EventKind::OperationEnded {
                    id,
                    duration_ns: took,
                    error: None,
                },
            );
        }
        last = began + 2_990 * MS;
        push(last - 60 * MS, test, None, phase(Phase::Shutdown));
        push(last, test, None, EventKind::LabEnded);
        let is_bad = number % 10 == 9;
        let verdict = if is_bad {
            Verdict::Failed
        } else {
            Verdict::Passed
        };
        summary.count(verdict);
        let ended = EventKind::TestEnded {
            verdict,
            duration_ns: 2_000 * MS,
            failure: is_bad.then(|| failure(&say)),
            tries: 1,
        };
        push(last, test, None, ended);
    }
    events.sort_by_key(|event| event.at_ns);
    let mut marks = Marks::new();
    for event in &events {
        marks.observe(event);
    }
    events.push(Event {
        at_ns: last,
        test: None,
        machine: None,
        kind: EventKind::RunEnded {
            exit_code: summary.exit_code(),
            summary,
            breakdown: marks.finish(last),
        },
    });
    events
}

pub(super) fn failure(say: impl Fn(&str) -> String) -> FailureDetail {
    let lines: Vec<String> = (0..20)
        .map(|line| say(&format!("[ {line}.974695] a line of a console")))
        .collect();
    FailureDetail {
        message: say("the command ended with exit code 22, and 0 was expected\nafter 1 try"),
        machine: Some(say("client")),
        command: Some(say("curl --fail http://web/")),
        stdout: Some(say("so far\n")),
        stderr: Some(say("curl: (22) The requested URL returned error: 404\n")),
        consoles: vec![ConsoleTail {
            machine: say("web"),
            lines: lines.clone(),
            file: say("attest-out/1/web.console"),
        }],
        journals: vec![JournalTail {
            machine: say("web"),
            unit: say("httpd.service"),
            lines,
        }],
        kept: Some(say("attest shell --snapshot 3fa1b2c4 client")),
    }
}

/// Whatever could carry a guest's text, in one run.
pub(super) fn everything(say: impl Fn(&str) -> String) -> Vec<Event> {
    let mut events = large(3, 5, &say);
    let end = events.pop();
    let test = say("suite::test of everything");
    let machine = say("web");
    let kinds = [
        EventKind::TestStarted,
        EventKind::Chosen {
            what: say("accelerator"),
            choice: say("tcg"),
            reason: say("because"),
        },
        EventKind::Warning {
            message: say("beware"),
        },
        EventKind::Progress {
            text: say("fetching"),
        },
        EventKind::Log {
            level: LogLevel::Info,
            message: say("a script says"),
            attributes: Attributes::new(),
        },
        EventKind::LogBegan {
            id: 7,
            message: say("a part"),
            subtest: true,
            attributes: Attributes::new(),
        },
        EventKind::OperationStarted {
            id: 1_000,
            operation: say("exec"),
            subject: say("true"),
        },
        EventKind::OperationEnded {
            id: 1_000,
            duration_ns: 900_000_000,
            error: Some(say("no")),
        },
        EventKind::PhaseEnded {
            phase: Phase::Spawn,
            duration_ns: 1_000_000,
        },
        EventKind::MachineEnded {
            ending: MachineEnding::Panic,
            detail: say("Kernel panic"),
        },
        EventKind::TryEnded {
            number: 1,
            of: 2,
            verdict: Verdict::Infrastructure,
            duration_ns: 1,
            failure: Some(failure(&say)),
        },
        EventKind::TestEnded {
            verdict: Verdict::TimedOut,
            duration_ns: 1,
            failure: Some(failure(&say)),
            tries: 2,
        },
    ];
    for (number, kind) in (0..).zip(kinds) {
        events.push(Event {
            at_ns: 4_500_000_000 + number * 1_000_000_000,
            test: Some(test.clone()),
            machine: Some(machine.clone()),
            kind,
        });
    }
    events.extend(end);
    events
}
