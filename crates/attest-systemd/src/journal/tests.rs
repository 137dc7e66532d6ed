use proptest::prelude::*;

use super::parser::LONGEST_MESSAGE;
use super::{Entry, Parser, Since, follow, last, last_of_user};

/// All entries of some bytes, and what is left at their end.
fn parsed(bytes: &[u8]) -> Vec<Entry> {
    let mut parser = Parser::new();
    let mut entries = parser.push(bytes);
    entries.extend(parser.finish());
    entries
}

/// A field in the form for any bytes.
fn binary(name: &str, value: &[u8]) -> Vec<u8> {
    let length = (value.len() as u64).to_le_bytes();
    [name.as_bytes(), b"\n", &length, value, b"\n"].concat()
}

const WHOLE: &[u8] = b"\
__CURSOR=s=1;i=2\n\
__REALTIME_TIMESTAMP=1700000000000001\n\
__MONOTONIC_TIMESTAMP=123\n\
_BOOT_ID=0123\n\
PRIORITY=4\n\
_PID=42\n\
_SYSTEMD_UNIT=a.service\n\
SYSLOG_IDENTIFIER=prog\n\
MESSAGE=hello\n\
\n";

#[test]
fn an_entry_has_what_people_read() {
    let entry = Entry {
        source: "a.service".to_owned(),
        priority: 4,
        realtime_us: 1_700_000_000_000_001,
        monotonic_us: 123,
        message: "hello".to_owned(),
        cut: false,
        pid: Some(42),
        cursor: "s=1;i=2".to_owned(),
    };
    assert_eq!(parsed(WHOLE), [entry]);
}

#[test]
fn messages_may_have_any_bytes() {
    let bytes = [
        binary("MESSAGE", b"two\nlines\n\nMESSAGE=no"),
        b"PRIORITY=3\n\n".to_vec(),
    ]
    .concat();
    let entries = parsed(&bytes);
    assert_eq!(entries[0].message, "two\nlines\n\nMESSAGE=no");
    assert_eq!(entries[0].priority, 3);
    let entries = parsed(&[binary("MESSAGE", b"\xff\x00!"), b"\n".to_vec()].concat());
    assert_eq!(entries[0].message, "\u{fffd}\0!");
    let entries = parsed(&[binary("MESSAGE", b""), b"\n".to_vec()].concat());
    assert_eq!(entries[0].message, "");
}

#[test]
fn the_source_is_whom_a_person_would_name() {
    for (fields, source) in [
        (
            "_SYSTEMD_UNIT=a.service\nSYSLOG_IDENTIFIER=b\n",
            "a.service",
        ),
        ("_SYSTEMD_UNIT=init.scope\nUNIT=a.service\n", "a.service"),
        ("UNIT=a.service\n", "a.service"),
        // A service that says it writes about another is not believed.
        ("_SYSTEMD_UNIT=b.service\nUNIT=a.service\n", "b.service"),
        (
            "_SYSTEMD_UNIT=user@1000.service\n_SYSTEMD_USER_UNIT=u.service\n",
            "u.service",
        ),
        (
            "_SYSTEMD_UNIT=user@1000.service\n_SYSTEMD_USER_UNIT=init.scope\nUSER_UNIT=u.service\n",
            "u.service",
        ),
        ("_SYSTEMD_UNIT=user@1000.service\n", "user@1000.service"),
        (
            "_SYSTEMD_UNIT=init.scope\nSYSLOG_IDENTIFIER=systemd\n",
            "systemd",
        ),
        ("_TRANSPORT=kernel\nSYSLOG_IDENTIFIER=x\n", "kernel"),
        ("_COMM=prog\n", "prog"),
        ("", "unknown"),
    ] {
        let entries = parsed(format!("{fields}MESSAGE=m\n\n").as_bytes());
        assert_eq!(entries[0].source, source, "{fields}");
    }
}

#[test]
fn damage_costs_no_more_than_what_is_damaged() {
    let damaged = |damage: &[u8]| {
        let entries = parsed(&[damage, b"\n", WHOLE].concat());
        assert_eq!(entries.last().unwrap().message, "hello", "{damage:?}");
    };
    damaged(b"no name at all\n");
    damaged(b"MESSAGE\n");
    damaged(&vec![b'N'; 100_000]);
    damaged(&[b"MESSAGE=", vec![b'x'; 1_000_000].as_slice(), b"\n"].concat());
    damaged(b"PRIORITY=99\nMESSAGE=x\n");
    let mut without_newline = binary("OTHER", b"x");
    without_newline.pop();
    assert_eq!(
        parsed(&[&without_newline, WHOLE].concat())[0].message,
        "hello"
    );
}

#[test]
fn long_messages_are_cut_and_say_so() {
    let long = vec![b'x'; LONGEST_MESSAGE + 1];
    for bytes in [
        [b"MESSAGE=", long.as_slice(), b"\n\n"].concat(),
        [binary("MESSAGE", &long).as_slice(), b"\n"].concat(),
    ] {
        let entries = parsed(&bytes);
        assert_eq!(entries[0].message.len(), LONGEST_MESSAGE);
        assert!(entries[0].cut);
    }
    let fits = parsed(&[b"MESSAGE=", &long[1..], b"\n\n"].concat());
    assert!(!fits[0].cut);
}

#[test]
fn a_long_value_is_not_kept_in_memory() {
    let mut bytes = b"MESSAGE\n".to_vec();
    bytes.extend((700_u64 << 20).to_le_bytes());
    let mut parser = Parser::new();
    assert!(parser.push(&bytes).is_empty());
    for _ in 0..100 {
        assert!(parser.push(&[b'x'; 10_000]).is_empty());
    }
    let entry = parser.finish().unwrap();
    assert_eq!(entry.message.len(), LONGEST_MESSAGE);
    assert!(entry.cut);
}

#[test]
fn commands_ask_for_little() {
    let command = follow(Since::Cursor("c")).join(" ");
    assert!(
        command.starts_with("journalctl --boot --quiet --no-pager --output=export"),
        "{command}"
    );
    assert!(
        command.contains("--output-fields=MESSAGE,PRIORITY,"),
        "{command}"
    );
    assert!(
        command.ends_with("--follow --no-tail --after-cursor=c"),
        "{command}"
    );
    assert!(
        last("a.service", 9)
            .join(" ")
            .ends_with("--lines=9 --unit=a.service")
    );
    assert!(last_of_user(7, "u", 1).contains(&"_UID=7".to_owned()));
}

/// An entry, and its bytes with some of its fields in the form for any bytes.
fn entry() -> impl Strategy<Value = (Entry, Vec<u8>)> {
    (
        "[a-z]{1,9}\\.service",
        0..8_u8,
        any::<u64>(),
        ".{0,40}",
        any::<Option<u32>>(),
        any::<[bool; 3]>(),
    )
        .prop_map(|(source, priority, time, message, pid, forms)| {
            let mut bytes = Vec::new();
            let mut field = |name: &str, value: &str, any_bytes: bool| {
                if any_bytes || value.contains('\n') {
                    bytes.extend(binary(name, value.as_bytes()));
                } else {
                    bytes.extend(format!("{name}={value}\n").bytes());
                }
            };
            field("__REALTIME_TIMESTAMP", &time.to_string(), false);
            field("OTHER", &message, forms[0]);
            field("_SYSTEMD_UNIT", &source, forms[1]);
            field("MESSAGE", &message, forms[2]);
            field("PRIORITY", &priority.to_string(), false);
            if let Some(pid) = pid {
                field("_PID", &pid.to_string(), false);
            }
            bytes.push(b'\n');
            let entry = Entry {
                source,
                priority,
                realtime_us: time,
                message,
                pid,
                ..Entry::default()
            };
            (entry, bytes)
        })
}

proptest! {
    #[test]
    fn entries_come_out_however_they_are_cut(
        entries in prop::collection::vec(entry(), 0..6),
        size in 1..50_usize,
    ) {
        let (entries, bytes): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
        let mut parser = Parser::new();
        let pieces = bytes.concat();
        let parsed: Vec<Entry> = pieces.chunks(size).flat_map(|piece| parser.push(piece)).collect();
        prop_assert_eq!(parsed, entries);
        prop_assert_eq!(parser.finish(), None);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>, size in 1..20_usize) {
        let mut parser = Parser::new();
        for piece in bytes.chunks(size) {
            parser.push(piece);
        }
        let whole: Vec<Entry> = parsed(&bytes);
        // How it is cut changes nothing.
        let mut parser = Parser::new();
        let mut cut: Vec<Entry> = bytes.chunks(size).flat_map(|piece| parser.push(piece)).collect();
        cut.extend(parser.finish());
        prop_assert_eq!(cut, whole);
    }

    #[test]
    fn damaged_entries_are_read_without_a_panic(
        (_, mut bytes) in entry(),
        at: prop::sample::Index,
        byte: u8,
    ) {
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = parsed(&bytes);
    }
}
