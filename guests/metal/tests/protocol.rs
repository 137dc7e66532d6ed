//! The guest's codec against attest's own.

use attest_metal_guest::frame::{self, Decoder, Event, Head, kind};
use attest_metal_guest::message::{self, Answer, Hello, KNOCK, Reason, Request, Stats, Status};
use attest_protocol::frame::{Frame, HEADER, Kind, MAX_PAYLOAD, PREAMBLE};
use attest_protocol::link::WINDOW;
use attest_protocol::message as theirs;
use bytes::BytesMut;
use minicbor::Decode;

/// As attest-protocol has it, where it is private.
#[derive(Debug, PartialEq, Decode)]
enum Wire {
    #[n(0)]
    Well(#[n(0)] theirs::Response),
    #[n(1)]
    Badly(#[n(0)] theirs::Failure),
}

fn answer(answer: Answer<'_>) -> Wire {
    let mut out = [0; message::LONGEST];
    let length = answer.encode(&mut out).unwrap();
    minicbor::decode(&out[..length]).unwrap()
}

fn put(frames: &[Frame]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    for frame in frames {
        frame.put(&mut bytes);
    }
    bytes.to_vec()
}

fn welcome(nonce: u64) -> Frame {
    let welcome = theirs::Welcome {
        generation: 3,
        nonce,
    };
    Frame::new(Kind::Welcome, 0, minicbor::to_vec(welcome).unwrap())
}

/// Frames that come whole or in parts, put together again.
fn whole(decoder: &mut Decoder, pieces: &[&[u8]]) -> Vec<Option<(u8, u32, Vec<u8>)>> {
    let mut frames = Vec::new();
    let mut gathered = Vec::new();
    for mut piece in pieces.iter().copied() {
        while let Some(event) = decoder.next(&mut piece) {
            match event {
                Event::Garbage => frames.push(None),
                Event::Part { head, bytes, last } => {
                    gathered.extend_from_slice(bytes);
                    if last {
                        assert_eq!(gathered.len(), head.length);
                        let payload = std::mem::take(&mut gathered);
                        frames.push(Some((head.kind, head.channel, payload)));
                    }
                }
            }
        }
    }
    frames
}

#[test]
fn constants_are_the_same() {
    assert_eq!(frame::PREAMBLE, PREAMBLE);
    assert_eq!(frame::HEADER, HEADER);
    assert_eq!(frame::MAX_PAYLOAD, MAX_PAYLOAD);
    assert_eq!(frame::WINDOW, WINDOW);
    assert_eq!(message::GENERATION, u64::from(attest_protocol::GENERATION));
    assert_eq!(KNOCK, theirs::KNOCK);
    let kinds = [
        (kind::HELLO, Kind::Hello),
        (kind::WELCOME, Kind::Welcome),
        (kind::OPEN, Kind::Open),
        (kind::DATA_IN, Kind::DataIn),
        (kind::DATA_OUT, Kind::DataOut),
        (kind::DATA_ERR, Kind::DataErr),
        (kind::EOF, Kind::Eof),
        (kind::CREDIT, Kind::Credit),
        (kind::NOTICE, Kind::Notice),
        (kind::CONTROL, Kind::Control),
        (kind::CANCEL, Kind::Cancel),
        (kind::FINISHED, Kind::Finished),
    ];
    for (ours, kind) in kinds {
        assert_eq!(ours, kind as u8);
        let head = Head {
            kind: ours,
            channel: 0x0102_0304,
            length: 3,
        };
        let theirs = put(&[Frame::new(kind, 0x0102_0304, vec![1, 2, 3])]);
        assert!(theirs.ends_with(&[&head.encode()[..], &[1, 2, 3]].concat()));
    }
}

#[test]
fn frames_arrive_however_they_are_cut() {
    let bytes = put(&[
        welcome(7),
        Frame::new(Kind::DataIn, 1, vec![9; 300]),
        Frame::new(Kind::Cancel, 1, vec![]),
        welcome(8),
        Frame::new(Kind::Eof, 3, vec![0]),
    ]);
    let kinds = [
        kind::WELCOME,
        kind::DATA_IN,
        kind::CANCEL,
        kind::WELCOME,
        kind::EOF,
    ];
    let noise = [&b"noise\xa7\x9c\xa7"[..], &bytes].concat();
    for cut in 0..noise.len() {
        let (a, b) = noise.split_at(cut);
        let frames = whole(&mut Decoder::new(), &[a, b]);
        let found: Vec<_> = frames
            .iter()
            .map(|frame| frame.as_ref().unwrap().0)
            .collect();
        assert_eq!(found, kinds, "cut at {cut}");
    }
    let single: Vec<_> = noise.chunks(1).collect();
    let frames = whole(&mut Decoder::new(), &single);
    assert_eq!(frames[1], Some((kind::DATA_IN, 1, vec![9; 300])));
}

#[test]
fn garbage_ends_a_session_and_a_welcome_begins_another() {
    let bytes = [
        put(&[welcome(7)]),
        b"garbage".to_vec(),
        put(&[Frame::new(Kind::Cancel, 1, vec![]), welcome(8)]),
    ]
    .concat();
    let frames = whole(&mut Decoder::new(), &[&bytes]);
    assert_eq!(frames.len(), 3, "{frames:?}");
    assert!(frames[1].is_none());
    let nonce = |at: usize| message::welcome(&frames[at].as_ref().unwrap().2);
    assert_eq!((nonce(0), nonce(2)), (Some(7), Some(8)));
    // Before a welcome, no other frame counts; nor does one that is no greeting behind a preamble.
    let hello = put(&[
        Frame::new(Kind::Hello, 0, vec![]),
        Frame::new(Kind::Open, 1, vec![]),
    ]);
    assert!(whole(&mut Decoder::new(), &[&hello]).is_empty());
    let mut long = put(&[welcome(7)]);
    long.extend([0xa7, 0x57, 4, 0, 1, 0, 0, 0, 0, 0, 2, 0]);
    assert_eq!(whole(&mut Decoder::new(), &[&long]).last(), Some(&None));
}

#[test]
fn hello_is_understood() {
    let hello = Hello {
        nonce: u64::MAX,
        boot_id: b"0123456789abcdef",
        uptime_ns: 5_000_000_000,
    };
    let mut out = [0; message::LONGEST];
    let length = hello.encode(&mut out).unwrap();
    let hello: theirs::Hello = minicbor::decode(&out[..length]).unwrap();
    let expected = theirs::Hello {
        generation: 3,
        nonce: u64::MAX,
        version: "metal".to_owned(),
        boot_id: "0123456789abcdef".to_owned(),
        uptime_ns: 5_000_000_000,
        is_init: true,
        waits: false,
    };
    assert_eq!(hello, expected);
}

fn exec(program: theirs::Program, stdin: bool, timeout_ms: Option<u64>) -> Vec<u8> {
    let exec = theirs::Exec {
        program,
        environment: vec![(b"A".to_vec().into(), b"b".to_vec().into())],
        directory: Some(b"/root".to_vec().into()),
        user: Some("root".to_owned()),
        stdin,
        pty: Some(theirs::TerminalSize {
            rows: 24,
            columns: 80,
        }),
        timeout_ms,
    };
    minicbor::to_vec(theirs::Request::Exec(exec)).unwrap()
}

fn words(exec: &message::Exec<'_>) -> Vec<String> {
    let mut words = Vec::new();
    exec.words(|word| words.push(String::from_utf8(word.to_vec()).unwrap()));
    words
}

#[test]
fn programs_are_understood() {
    let argv = ["echo", "two words", ""].map(|word| word.as_bytes().to_vec().into());
    let payload = exec(theirs::Program::Argv(argv.to_vec()), true, Some(900_000));
    let Some(Request::Exec(found)) = Request::decode(&payload) else {
        panic!("no exec");
    };
    assert_eq!(words(&found), ["echo", "two words", ""]);
    assert_eq!(
        (found.is_shell(), found.stdin, found.timeout_ms),
        (false, true, Some(900_000))
    );

    let line = b" echo two\twords ".to_vec().into();
    let payload = exec(theirs::Program::Shell(line), false, None);
    let Some(Request::Exec(found)) = Request::decode(&payload) else {
        panic!("no exec");
    };
    assert_eq!(words(&found), ["echo", "two", "words"]);
    assert_eq!(
        (found.is_shell(), found.stdin, found.timeout_ms),
        (true, false, None)
    );
    for cut in 0..payload.len() {
        assert!(Request::decode(&payload[..cut]).is_none(), "{cut}");
    }
}

#[test]
fn requests_are_understood() {
    use theirs::Request as Theirs;
    let decoded = |request: &Theirs| {
        let payload = minicbor::to_vec(request).unwrap();
        format!("{:?}", Request::decode(&payload).unwrap())
    };
    let setup = theirs::Setup {
        hostname: "name".to_owned(),
        hosts: vec![theirs::HostEntry {
            address: "::1".to_owned(),
            names: vec!["a".to_owned()],
        }],
        interfaces: vec![theirs::Interface {
            mac: [1; 6],
            addresses: vec!["10.0.0.1/8".to_owned()],
            mtu: 1500,
            name: None,
        }],
        environment: vec![("A".to_owned(), "b".to_owned())],
        clock_ns: 1 << 60,
        entropy: Some(vec![1, 2].into()),
    };
    assert_eq!(
        decoded(&Theirs::Setup(setup)),
        format!("Setup({}, Some([1, 2]))", 1_u64 << 60)
    );
    assert_eq!(
        decoded(&Theirs::Setup(theirs::Setup::default())),
        "Setup(0, None)"
    );
    let requests = [
        (Theirs::SetClock(5), "SetClock(5)"),
        (Theirs::Reseed(vec![7].into()), "Reseed([7])"),
        (Theirs::Sync, "Nothing"),
        (Theirs::Freeze(vec![]), "Nothing"),
        (Theirs::Thaw, "Nothing"),
        (Theirs::Boot, "Nothing"),
        (Theirs::PowerOff, "PowerOff"),
        (Theirs::Reboot, "Reboot"),
        (Theirs::Stats, "Stats"),
        (Theirs::Quiesce, "Quiesce"),
        (Theirs::Identity, "Identity"),
        (Theirs::Accepted(1), "Unsupported"),
        (
            Theirs::Upload(theirs::Upload {
                path: b"/x".to_vec().into(),
            }),
            "Unsupported",
        ),
    ];
    for (request, expected) in requests {
        assert_eq!(decoded(&request), expected);
    }
    let signal = minicbor::to_vec(theirs::Control::Signal(9)).unwrap();
    assert_eq!(message::signal(&signal), Some(9));
    let resize = theirs::Control::Resize(theirs::TerminalSize {
        rows: 1,
        columns: 2,
    });
    assert_eq!(message::signal(&minicbor::to_vec(resize).unwrap()), None);
}

#[test]
fn answers_are_understood() {
    use theirs::Response;
    assert_eq!(answer(Answer::Done), Wire::Well(Response::Done));
    assert_eq!(
        answer(Answer::Quiesced),
        Wire::Well(Response::Quiesced(vec![]))
    );
    assert_eq!(
        answer(Answer::Identity(b"0f")),
        Wire::Well(Response::Identity("0f".to_owned()))
    );
    for (status, expected) in [
        (Status::Code(127), theirs::ExitStatus::Code(127)),
        (Status::Signal(15), theirs::ExitStatus::Signal(15)),
    ] {
        let found = answer(Answer::Exited {
            status,
            timed_out: true,
            duration_ns: 1_000_000,
        });
        let expected = theirs::Exited {
            status: expected,
            timed_out: true,
            holders: vec![],
            duration_ns: 1_000_000,
        };
        assert_eq!(found, Wire::Well(Response::Exited(expected)));
    }
    let stats = Stats {
        uptime_ns: 1,
        userspace_ns: 2,
        agent_ns: 3,
        memory_total: 4,
        memory_available: 5,
        agent_rss: 6,
        agent_tracked: 7,
        clock_ns: 8,
    };
    let expected = theirs::Stats {
        uptime_ns: 1,
        userspace_ns: 2,
        agent_ns: 3,
        memory_total: 4,
        memory_available: 5,
        load_milli: 0,
        agent_rss: 6,
        agent_fds: 0,
        agent_tracked: 7,
        agent_shells: 0,
        clock_ns: 8,
    };
    assert_eq!(
        answer(Answer::Stats(stats)),
        Wire::Well(Response::Stats(expected))
    );
    for (reason, code) in [
        (Reason::Cancelled, theirs::FailureCode::Cancelled),
        (Reason::NotFound, theirs::FailureCode::NotFound),
        (Reason::Invalid, theirs::FailureCode::Invalid),
        (Reason::Unsupported, theirs::FailureCode::Unsupported),
        (Reason::Os, theirs::FailureCode::Os),
    ] {
        let expected = theirs::Failure {
            code,
            message: "why".to_owned(),
            last_seen: None,
        };
        assert_eq!(
            answer(Answer::Failed(reason, b"why")),
            Wire::Badly(expected)
        );
    }
    let mut out = [0; 16];
    let length = message::started(70_000, &mut out).unwrap();
    let notice: theirs::Notice = minicbor::decode(&out[..length]).unwrap();
    assert_eq!(notice, theirs::Notice::Started(70_000));
}
