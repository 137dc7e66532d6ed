//! Trees through a stream and back, hostile streams, limits.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use attest_protocol::tree::{
    Limits, TreeError, pack, pack_bytes, pack_listing, unpack, unpack_within,
};
use proptest::prelude::*;
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

fn carry(from: &Path, to: &Path) -> u64 {
    let mut stream = Vec::new();
    let packed = pack(from, &mut stream).unwrap();
    let unpacked = unpack(&*stream, to).unwrap();
    assert_eq!(packed, unpacked);
    packed
}

fn time(nanoseconds: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(1_234_567_890, nanoseconds)
}

fn set(path: &Path, mode: u32, modified: SystemTime) {
    let file = File::open(path).unwrap();
    file.set_modified(modified).unwrap();
    file.set_permissions(fs::Permissions::from_mode(mode))
        .unwrap();
}

fn seen(path: &Path) -> (u32, i64, i64) {
    let metadata = fs::symlink_metadata(path).unwrap();
    (metadata.mode(), metadata.mtime(), metadata.mtime_nsec())
}

#[test]
fn a_tree_comes_out_as_it_went_in() {
    let place = TempDir::new().unwrap();
    let from = place.path().join("from");
    fs::create_dir_all(from.join("empty")).unwrap();
    fs::create_dir(from.join("closed")).unwrap();
    fs::write(from.join("closed/inside"), "x").unwrap();
    let odd = OsStr::from_bytes(b"\xff\xfe name\nwith \\ all");
    fs::write(from.join(odd), "odd").unwrap();
    fs::write(from.join("run"), vec![7; 200_000]).unwrap();
    let deep = from.join("long".repeat(40)).join("longer".repeat(40));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("file"), "deep").unwrap();
    let target = format!("../a//b/./{}/", "c".repeat(150));
    symlink(&target, from.join("long-link")).unwrap();
    symlink("./x//y/", from.join("link")).unwrap();
    fs::hard_link(from.join("run"), from.join("run-too")).unwrap();
    set(&from.join("run"), 0o4751, time(123_456_789));
    set(&from.join("empty"), 0o1777, time(5));
    set(&from.join("closed"), 0o555, time(0));
    set(&from, 0o750, time(999_999_999));

    let to = place.path().join("missing/parents/to");
    assert_eq!(carry(&from, &to), 200_000 + 1 + 3 + 4);
    for name in [
        "",
        "empty",
        "closed",
        "closed/inside",
        "run",
        "link",
        "long-link",
    ] {
        assert_eq!(seen(&to.join(name)), seen(&from.join(name)), "{name:?}");
    }
    assert_eq!(fs::read(to.join(odd)).unwrap(), b"odd");
    assert_eq!(fs::read(to.join("run")).unwrap(), vec![7; 200_000]);
    assert_eq!(
        fs::read(to.join(deep.strip_prefix(&from).unwrap()).join("file")).unwrap(),
        b"deep"
    );
    assert_eq!(
        fs::read_link(to.join("long-link")).unwrap().as_os_str(),
        &*target
    );
    assert_eq!(
        fs::read_link(to.join("link")).unwrap().as_os_str(),
        "./x//y/"
    );
    let inode = |name| fs::metadata(to.join(name)).unwrap().ino();
    assert_eq!(inode("run"), inode("run-too"));
}

#[test]
fn a_single_file_or_link_becomes_the_destination_and_replaces_it() {
    let place = TempDir::new().unwrap();
    let (from, to, link) = (
        place.path().join("from"),
        place.path().join("to"),
        place.path().join("link"),
    );
    fs::write(&from, "new").unwrap();
    fs::write(&to, "old, and longer").unwrap();
    assert_eq!(carry(&from, &to), 3);
    assert_eq!(fs::read(&to).unwrap(), b"new");
    symlink("nowhere", &link).unwrap();
    carry(&link, &to);
    assert_eq!(fs::read_link(&to).unwrap(), Path::new("nowhere"));
    // What a link at the destination points to is not touched.
    fs::remove_file(&to).unwrap();
    fs::write(place.path().join("target"), "kept").unwrap();
    symlink("target", &to).unwrap();
    carry(&from, &to);
    assert_eq!(fs::read(place.path().join("target")).unwrap(), b"kept");
    assert!(fs::symlink_metadata(&to).unwrap().is_file());

    let mut stream = Vec::new();
    pack_bytes(b"made up", 0o600, &mut stream).unwrap();
    unpack(&*stream, &to).unwrap();
    assert_eq!(fs::read(&to).unwrap(), b"made up");
    assert_eq!(seen(&to).0 & 0o7777, 0o600);
    // What others use is never replaced.
    let socket = place.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let error = unpack(&*stream, &socket).unwrap_err();
    assert!(
        matches!(error, TreeError::InTheWay { kind: "socket", .. }),
        "{error:?}"
    );
    // A directory is never replaced by a file.
    let error = unpack(&*stream, place.path()).unwrap_err();
    assert!(
        matches!(
            error,
            TreeError::File {
                action: "it cannot be replaced",
                ..
            }
        ),
        "{error:?}"
    );
}

/// busybox takes an entry without a name for the end of the stream.
#[test]
fn every_entry_has_a_name() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "x").unwrap();
    set(&file, 0o644, time(123_456_789));
    let mut stream = Vec::new();
    pack(&file, &mut stream).unwrap();
    assert!(stream.windows(5).any(|bytes| bytes == b"mtime"));
    assert_ne!(stream[0], 0);
    // The extended header, what is in it, the entry.
    assert_ne!(stream[2 * 512], 0);
}

#[test]
fn a_directory_is_merged_into_and_stays_as_it_is() {
    let place = TempDir::new().unwrap();
    let (from, real, to) = (
        place.path().join("from"),
        place.path().join("real"),
        place.path().join("to"),
    );
    fs::create_dir_all(from.join("sub")).unwrap();
    fs::write(from.join("sub/new"), "new").unwrap();
    fs::create_dir_all(real.join("sub")).unwrap();
    fs::write(real.join("sub/old"), "old").unwrap();
    set(&real, 0o711, time(0));
    set(&from, 0o700, time(1));
    symlink("real", &to).unwrap();
    carry(&from, &to);
    assert_eq!(fs::read(real.join("sub/new")).unwrap(), b"new");
    assert_eq!(fs::read(real.join("sub/old")).unwrap(), b"old");
    assert_eq!(seen(&real).0 & 0o7777, 0o711);
    assert!(fs::symlink_metadata(&to).unwrap().is_symlink());
}

#[test]
fn holes_stay_holes_on_the_way_and_at_the_end() {
    let place = TempDir::new().unwrap();
    let (from, to) = (place.path().join("from"), place.path().join("to"));
    let mut file = File::create(&from).unwrap();
    file.write_all(b"begin").unwrap();
    file.seek(SeekFrom::Start(40 << 20)).unwrap();
    file.write_all(b"middle").unwrap();
    file.set_len(100 << 20).unwrap();
    drop(file);
    let mut stream = Vec::new();
    assert_eq!(pack(&from, &mut stream).unwrap(), 100 << 20);
    assert!(stream.len() < 1 << 20, "{}", stream.len());
    assert_eq!(unpack(&*stream, &to).unwrap(), 100 << 20);
    assert!(fs::read(&from).unwrap() == fs::read(&to).unwrap());
    assert!(fs::metadata(&to).unwrap().blocks() * 512 < 1 << 20);
    // Zeros that were written become holes, too.
    fs::write(&from, vec![0; 3 << 20]).unwrap();
    carry(&from, &to);
    assert_eq!(fs::metadata(&to).unwrap().len(), 3 << 20);
    assert_eq!(fs::metadata(&to).unwrap().blocks(), 0);
}

#[test]
fn files_that_lie_about_their_size_come_whole() {
    let place = TempDir::new().unwrap();
    let to = place.path().join("to");
    for path in [
        "/proc/version",
        "/proc/cpuinfo",
        "/sys/kernel/mm/transparent_hugepage/enabled",
    ] {
        let Ok(contents) = fs::read(path) else {
            continue;
        };
        assert_eq!(carry(Path::new(path), &to), contents.len() as u64);
        assert_eq!(fs::read(&to).unwrap().len(), contents.len());
    }
    assert_eq!(
        fs::read("/proc/version").unwrap().len() as u64,
        carry(Path::new("/proc/version"), &to)
    );
}

/// Changes a file when the first bytes of it are written.
struct Meddler<'a>(&'a File, Option<u64>, Vec<u8>);

impl Write for Meddler<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Some(length) = self.1.take() {
            self.0.set_len(length)?;
        }
        self.2.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_file_that_changes_meanwhile_breaks_nothing() {
    let place = TempDir::new().unwrap();
    let path = place.path().join("log");
    fs::write(&path, vec![1; 1 << 20]).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    let mut grows = Meddler(&file, Some(2 << 20), Vec::new());
    assert_eq!(pack(&path, &mut grows).unwrap(), 1 << 20);
    assert_eq!(
        unpack(&*grows.2, &place.path().join("copy")).unwrap(),
        1 << 20
    );
    fs::write(&path, vec![1; 1 << 20]).unwrap();
    let error = pack(&path, Meddler(&file, Some(4096), Vec::new())).unwrap_err();
    assert!(
        matches!(&error, TreeError::File { source, .. } if source.to_string().contains("shorter")),
        "{error:?}"
    );
}

#[test]
fn what_cannot_be_copied_is_named_and_sockets_are_left_out() {
    let place = TempDir::new().unwrap();
    let tree = place.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let socket = tree.join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let packed = pack_listing(&tree, Vec::new()).unwrap();
    assert_eq!(packed.skipped, [&*socket]);
    let kind = |path: &Path| match pack(path, Vec::new()) {
        Err(TreeError::Special { kind, path: named }) => {
            assert_eq!(named, path);
            kind
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(kind(&socket), "socket");
    assert_eq!(kind(Path::new("/dev/null")), "device");
    let error = pack(&tree.join("missing"), Vec::new()).unwrap_err();
    assert_eq!(error.io().unwrap().kind(), std::io::ErrorKind::NotFound);
}

type Entry<'a> = (EntryType, &'a str, &'a str);

/// A stream as only an attacker would make it.
fn crafted(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, name, link_or_contents) in entries {
        let mut header = Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o777);
        header.set_mtime(1);
        let linked = matches!(kind, EntryType::Symlink | EntryType::Link);
        let contents = if linked { "" } else { link_or_contents };
        header
            .set_link_name_literal(if linked { link_or_contents } else { "" })
            .unwrap();
        header.set_size(contents.len() as u64);
        header.set_cksum();
        builder.append(&header, contents.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn any_time_in_a_header_is_taken_or_refused() {
    // The greatest number, as a damaged header has it; then a time before 1970, as tar has it.
    for (seconds, seen) in [
        (u64::MAX >> 2, None),
        ((-86_400_i64).cast_unsigned(), Some(-86_400)),
    ] {
        let place = TempDir::new().unwrap();
        let mut stream = crafted(&[(EntryType::Regular, "content", "")]);
        let mut header = Header::from_byte_slice(stream[..512].try_into().unwrap()).clone();
        header.set_mtime(seconds);
        header.set_cksum();
        stream[..512].copy_from_slice(header.as_bytes());
        let to = place.path().join("to");
        // Whether a file system has such a time is its own affair.
        let unpacked = unpack(&*stream, &to);
        if let Some(seen) = seen {
            unpacked.unwrap();
            assert_eq!(fs::metadata(&to).unwrap().mtime(), seen);
        }
    }
}

#[test]
fn nothing_gets_out_of_the_destination() {
    use EntryType::{Block, Directory, Fifo, Link, Regular, Symlink};
    let cases: &[&[Entry<'_>]] = &[
        &[(Regular, "/outside/file", "x")],
        &[(Regular, "outside/file", "x")],
        &[
            (Directory, "content", ""),
            (Regular, "content/../outside/file", "x"),
        ],
        &[
            (Directory, "content", ""),
            (Regular, "../outside/file", "x"),
        ],
        &[
            (Directory, "content", ""),
            (Symlink, "content/a", "../outside"),
            (Regular, "content/a/file", "x"),
        ],
        &[
            (Directory, "content", ""),
            (Symlink, "content/a", "../outside"),
            (Directory, "content/a/b", ""),
        ],
        &[
            (Symlink, "content", "outside"),
            (Regular, "content/file", "x"),
        ],
        &[
            (Symlink, "content", "outside"),
            (Directory, "content/b", ""),
        ],
        &[
            (Directory, "content", ""),
            (Link, "content/a", "content/../../outside/kept"),
        ],
        &[
            (Directory, "content", ""),
            (Link, "content/a", "/outside/kept"),
        ],
        &[
            (Directory, "content", ""),
            (Symlink, "content/a", "../outside"),
            (Link, "content/b", "content/a/kept"),
        ],
    ];
    for case in cases {
        let place = TempDir::new().unwrap();
        let outside = place.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "kept").unwrap();
        set(&outside, 0o750, time(3));
        let before = seen(&outside);
        let error = unpack(&*crafted(case), &place.path().join("to")).unwrap_err();
        assert!(
            matches!(error, TreeError::Escapes { .. }),
            "{case:?}: {error:?}"
        );
        assert_eq!(seen(&outside), before, "{case:?}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "{case:?}");
    }
    // These replace the link, and do not follow it.
    let replacing: &[&[Entry<'_>]] = &[
        &[
            (Directory, "content", ""),
            (Symlink, "content/a", "../outside"),
            (Directory, "content/a", ""),
        ],
        &[
            (Directory, "content", ""),
            (Symlink, "content/a", "../outside/kept"),
            (Regular, "content/a", "x"),
        ],
        &[
            (Symlink, "content", "outside"),
            (Directory, "content", ""),
            (Regular, "content/file", "x"),
        ],
    ];
    for case in replacing {
        let place = TempDir::new().unwrap();
        let outside = place.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "kept").unwrap();
        set(&outside, 0o750, time(3));
        let before = seen(&outside);
        unpack(&*crafted(case), &place.path().join("to")).unwrap();
        assert_eq!(seen(&outside), before, "{case:?}");
        assert_eq!(fs::read(outside.join("kept")).unwrap(), b"kept");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "{case:?}");
    }
    for (special, named) in [(Fifo, "pipe"), (Block, "device")] {
        let place = TempDir::new().unwrap();
        let error = unpack(
            &*crafted(&[(special, "content", "")]),
            &place.path().join("to"),
        )
        .unwrap_err();
        assert!(matches!(error, TreeError::Special { kind, .. } if kind == named));
    }
}

#[test]
fn limits_hold_also_for_what_only_claims_to_be_large() {
    let place = TempDir::new().unwrap();
    let to = place.path().join("to");
    let stream = crafted(&[
        (EntryType::Directory, "content", ""),
        (EntryType::Regular, "content/a", "12345"),
    ]);
    let within = |bytes, entries| unpack_within(&*stream, &to, Limits { bytes, entries });
    assert_eq!(within(5, 2).unwrap(), 5);
    assert!(matches!(
        within(4, 2),
        Err(TreeError::TooMuch {
            unit: "bytes",
            limit: 4,
            ..
        })
    ));
    assert!(matches!(
        within(5, 1),
        Err(TreeError::TooMuch {
            unit: "entries",
            limit: 1,
            ..
        })
    ));

    // A name of many gigabytes is refused before it is held.
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(1 << 40);
    header.set_cksum();
    let endless = std::io::Read::chain(&header.as_bytes()[..], std::io::repeat(b'a'));
    assert!(unpack(endless, &to).unwrap_err().is_stream());
    // And a hole that has no end.
    let sparse = place.path().join("sparse");
    File::create(&sparse).unwrap().set_len(1 << 41).unwrap();
    let mut stream = Vec::new();
    pack(&sparse, &mut stream).unwrap();
    assert!(matches!(
        unpack(&*stream, &to),
        Err(TreeError::TooMuch { unit: "bytes", .. })
    ));
}

proptest! {
    #[test]
    fn a_cut_stream_is_an_error(cut in 0.0..1.0) {
        let place = TempDir::new().unwrap();
        let stream = crafted(&[
            (EntryType::Directory, "content", ""),
            (EntryType::Regular, "content/a", "some contents"),
            (EntryType::Symlink, "content/b", "a"),
        ]);
        // The end is two blocks of zeros; one of them tells it.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a few thousand bytes")]
        let length = ((stream.len() - 1024) as f64 * cut) as usize;
        let error = unpack(&stream[..length], &place.path().join("to")).unwrap_err();
        prop_assert!(error.is_stream(), "{error:?}");
    }

    #[test]
    fn damaged_streams_never_leave_the_destination(at in 0_usize..3072, byte: u8) {
        let place = TempDir::new().unwrap();
        let outer = place.path().join("outer");
        fs::create_dir(&outer).unwrap();
        let mut stream = crafted(&[
            (EntryType::Directory, "content", ""),
            (EntryType::Symlink, "content/a", ".."),
            (EntryType::Regular, "content/b", "some contents"),
        ]);
        stream[at] = byte;
        // The header's sum is made right again, so that the damage is seen.
        let block = at / 512 * 512;
        let mut header = Header::from_byte_slice(stream[block..block + 512].try_into().unwrap()).clone();
        header.set_cksum();
        stream[block..block + 512].copy_from_slice(header.as_bytes());
        let _ = unpack(&*stream, &outer.join("to"));
        let beside: Vec<_> = fs::read_dir(place.path()).unwrap().chain(fs::read_dir(&outer).unwrap()).collect();
        prop_assert!(beside.len() <= 2, "{beside:?}");
    }
}
