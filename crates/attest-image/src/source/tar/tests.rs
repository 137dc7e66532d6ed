use proptest::prelude::*;
use tar::Builder;

use super::pax::tests::record;
use super::*;
use crate::tree::{Kind, Tree, shown};

fn read(archive: &[u8]) -> Result<Tree, TarError> {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = Spool::new(directory.path()).unwrap();
    let mut tree = Tree::new();
    unpack(archive, &mut Plain(&mut tree), &mut spool)?;
    Ok(tree)
}

/// The error for an archive, with its causes.
fn refused(archive: &[u8]) -> String {
    let error = read(archive).unwrap_err();
    match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn text(tree: &Tree, path: &str) -> String {
    let contents = tree.get(path).unwrap().contents().unwrap();
    String::from_utf8(contents.read(100_000).unwrap()).unwrap()
}

fn paths(tree: &Tree) -> Vec<String> {
    tree.walk()
        .skip(1)
        .map(|visit| shown(&visit.path))
        .collect()
}

fn header(kind: u8, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::new(kind));
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(7);
    header.set_size(size);
    header
}

/// An entry as it stands, whatever its name: the crate's builder refuses what is hostile.
fn raw(kind: u8, name: &str, link: &str, data: &[u8]) -> Vec<u8> {
    let mut header = header(kind, data.len() as u64);
    let old = header.as_old_mut();
    old.name[..name.len()].copy_from_slice(name.as_bytes());
    old.linkname[..link.len()].copy_from_slice(link.as_bytes());
    sealed(header, data)
}

fn sealed(mut header: Header, data: &[u8]) -> Vec<u8> {
    header.set_cksum();
    let mut bytes = [header.as_bytes(), data].concat();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    [entries.concat(), vec![0; 1024]].concat()
}

fn extended(records: &[(&str, &[u8])], entry: Vec<u8>) -> Vec<u8> {
    let data: Vec<u8> = records
        .iter()
        .flat_map(|(key, value)| record(key, value))
        .collect();
    [raw(b'x', "PaxHeaders/x", "", &data), entry].concat()
}

#[test]
fn an_archive_becomes_a_tree() {
    let mut builder = Builder::new(Vec::new());
    let mut put = |kind: u8, name: &str, link: &str, data: &str| {
        let mut header = header(kind, data.len() as u64);
        header.set_mode(0o4751);
        header.set_uid(3_000_000);
        header.set_gid(4);
        if link.is_empty() {
            builder
                .append_data(&mut header, name, data.as_bytes())
                .unwrap();
        } else {
            builder.append_link(&mut header, name, link).unwrap();
        }
    };
    let long = "long/".repeat(60) + "name";
    put(b'5', "./", "", "");
    put(b'5', "etc/", "", "");
    put(b'0', "./etc/passwd", "", "root");
    put(b'0', &long, "", "deep");
    put(b'2', "bin", &("x/".repeat(100) + "y"), "");
    put(b'1', "again", "./etc/passwd", "");
    put(b'6', "pipe", "", "");
    let tree = read(&builder.into_inner().unwrap()).unwrap();
    assert_eq!(text(&tree, "etc/passwd"), "root");
    assert_eq!(text(&tree, &long), "deep");
    assert_eq!(
        tree.find("again").unwrap(),
        tree.find("etc/passwd").unwrap()
    );
    let attributes = &tree.get("again").unwrap().attributes;
    assert_eq!(
        (attributes.mode, attributes.uid, attributes.gid),
        (0o4751, 3_000_000, 4)
    );
    assert_eq!(attributes.modified.seconds, 7);
    assert_eq!(tree.get("").unwrap().attributes.uid, 3_000_000);
    let link = tree.node(tree.find("bin").unwrap().unwrap());
    assert!(matches!(&link.kind, Kind::Symlink(target) if target.len() == 201));
    assert!(matches!(tree.get("pipe").unwrap().kind, Kind::Pipe));
}

#[test]
fn devices_are_kept() {
    let mut header = header(b'3', 0);
    header.set_path("dev/null").unwrap();
    header.set_device_major(1).unwrap();
    header.set_device_minor(3).unwrap();
    let tree = read(&archive(&[sealed(header, b"")])).unwrap();
    let Kind::Character(device) = tree.get("dev/null").unwrap().kind else {
        panic!()
    };
    assert_eq!((device.major, device.minor), (1, 3));
}

#[test]
fn extended_headers_count() {
    let long = "d/".repeat(200) + "file";
    let value = b"\x01\0\n\n=5 ";
    let entry = raw(b'0', "short", "", b"0123456789");
    let records: [(&str, &[u8]); 7] = [
        ("path", long.as_bytes()),
        ("mtime", b"1700000000.25"),
        ("uid", b"4000000"),
        ("size", b"10"),
        ("SCHILY.xattr.security.capability", value),
        ("SCHILY.xattr.com.apple.what", b"x"),
        ("atime", b"1"),
    ];
    let tree = read(&archive(&[
        extended(&records, entry),
        raw(b'0', "next", "", b"x"),
    ]))
    .unwrap();
    assert_eq!(text(&tree, &long), "0123456789");
    let attributes = &tree.get(&long).unwrap().attributes;
    assert_eq!(attributes.uid, 4_000_000);
    assert_eq!(
        (attributes.modified.seconds, attributes.modified.nanoseconds),
        (1_700_000_000, 250_000_000)
    );
    let xattrs: Vec<_> = attributes.xattrs.iter().collect();
    assert_eq!(xattrs.len(), 1);
    assert_eq!(
        (&**xattrs[0].0, &**xattrs[0].1),
        (&b"security.capability"[..], &value[..])
    );
    assert_eq!(
        tree.get("next").unwrap().attributes.uid,
        0,
        "headers are for one entry"
    );
}

#[test]
fn global_headers_are_for_all_that_follow() {
    let global = raw(
        b'g',
        "pax_global_header",
        "",
        &[record("comment", b"x"), record("uid", b"9")].concat(),
    );
    let local = extended(&[("uid", b"8")], raw(b'0', "b", "", b""));
    let tree = read(&archive(&[
        raw(b'0', "first", "", b""),
        global,
        raw(b'0', "a", "", b""),
        local,
    ]))
    .unwrap();
    let uid = |path: &str| tree.get(path).unwrap().attributes.uid;
    assert_eq!((uid("first"), uid("a"), uid("b")), (0, 9, 8));
}

#[test]
fn names_stay_in_the_tree() {
    let tree = read(&archive(&[raw(b'0', "/etc/./passwd", "", b"x")])).unwrap();
    assert_eq!(
        paths(&tree),
        ["etc", "etc/passwd"],
        "absolute names are relative to the top"
    );
    for name in ["../x", "a/../../x", "a/..", "/.."] {
        let error = refused(&archive(&[raw(b'0', name, "", b"x")]));
        assert!(
            error.contains(&format!("`{name}`")) && error.contains("out of the tree"),
            "{error}"
        );
    }
}

#[test]
fn links_do_not_lead_out() {
    let out = || raw(b'2', "out", "../../etc", b"");
    assert!(read(&archive(&[out()])).is_ok(), "who boots it follows it");
    let through = refused(&archive(&[out(), raw(b'0', "out/passwd", "", b"x")]));
    assert!(
        through.contains("`out/passwd`") && through.contains("out of the tree"),
        "{through}"
    );
    let hard = refused(&archive(&[raw(b'1', "x", "../../etc/passwd", b"")]));
    assert!(
        hard.contains("`x`") && hard.contains("out of the tree"),
        "{hard}"
    );
    let hard = refused(&archive(&[out(), raw(b'1', "x", "out/passwd", b"")]));
    assert!(hard.contains("out of the tree"), "{hard}");
    let missing = refused(&archive(&[raw(b'1', "x", "none", b"")]));
    assert!(
        missing.contains("`x`") && missing.contains("`none`: it is not there"),
        "{missing}"
    );
    // An absolute link is relative to the top of the tree.
    let entries = [
        raw(b'5', "usr/bin", "", b""),
        raw(b'2', "bin", "/usr/bin", b""),
        raw(b'0', "bin/sh", "", b"x"),
    ];
    assert_eq!(
        paths(&read(&archive(&entries)).unwrap()),
        ["bin", "usr", "usr/bin", "usr/bin/sh"]
    );
}

#[test]
fn the_last_of_equal_names_counts() {
    let entries = [
        raw(b'0', "a", "", b"first"),
        raw(b'2', "b", "a", b""),
        raw(b'0', "d/x", "", b""),
        raw(b'5', "d", "", b""),
        raw(b'0', "a", "", b"last"),
        raw(b'0', "b", "", b"no link"),
    ];
    let tree = read(&archive(&entries)).unwrap();
    assert_eq!(
        (text(&tree, "a"), text(&tree, "b")),
        ("last".to_owned(), "no link".to_owned())
    );
    assert!(tree.get("d/x").is_some());
}

#[test]
fn an_entry_beneath_a_file_is_refused() {
    let error = refused(&archive(&[
        raw(b'0', "a", "", b"x"),
        raw(b'0', "a/b", "", b"x"),
    ]));
    assert_eq!(error, "the entry `a/b`: `a/b`: `a` is not a directory");
}

#[test]
fn every_cut_is_an_error() {
    let whole = archive(&[
        raw(b'0', "first", "", b"x"),
        extended(&[("path", b"second")], raw(b'0', "x", "", &[7; 600])),
    ]);
    assert!(read(&whole).is_ok());
    for length in 0..whole.len() - 1023 {
        let error = read(&whole[..length]).unwrap_err();
        assert!(
            matches!(error, TarError::Truncated { .. }),
            "{length}: {error}"
        );
    }
    let error = refused(&whole[..512 * 6]);
    assert_eq!(error, "it is cut short, after `second`");
}

#[test]
fn every_changed_header_is_an_error_or_harmless() {
    let entry = raw(b'0', "name", "", b"x");
    for at in 0..512 {
        let mut changed = archive(&[raw(b'0', "before", "", b""), entry.clone()]);
        changed[512 + at] ^= 0x04;
        // The end of the sum's own field says nothing.
        if let Err(error) = read(&changed) {
            assert!(
                error.to_string().contains("after `before`"),
                "{at}: {error}"
            );
        } else {
            assert!((148..156).contains(&at), "{at}");
        }
    }
    assert!(refused(b"PK\x03\x04".repeat(300).as_slice()).starts_with("it is no tar archive"));
}

#[test]
fn lies_about_sizes_are_found() {
    let mut lie = header(b'0', 1 << 40);
    lie.set_path("huge").unwrap();
    assert_eq!(
        refused(&archive(&[sealed(lie, b"x")])),
        "it is cut short, after `huge`"
    );
    let mut lie = header(b'x', 1 << 40);
    lie.set_path("x").unwrap();
    assert!(refused(&archive(&[sealed(lie, b"x")])).contains("too long"));
    // Types without data have none, whatever is said: what stands there must be a header.
    let directory = raw(b'5', "dir", "", &[b'x'; 512]);
    assert!(refused(&archive(&[directory])).contains("after `dir`"));
}

#[test]
fn what_is_not_known_is_named() {
    let error = refused(&archive(&[raw(b'M', "part", "", b"")]));
    assert!(error.contains("`part`") && error.contains("`M`"), "{error}");
    assert!(read(&archive(&[raw(b'V', "label", "", b"")])).is_ok());
    let error = refused(&archive(&[extended(
        &[("uid", b"4294967296")],
        raw(b'0', "x", "", b""),
    )]));
    assert!(error.contains("`x`") && error.contains("owner"), "{error}");
    let error = refused(&archive(&[
        raw(b'0', &"x".repeat(100), "", b""),
        raw(b'2', "l", "", b""),
    ]));
    assert!(
        error.contains("`l`") && error.contains("nowhere"),
        "{error}"
    );
    let long = "x".repeat(256);
    let error = refused(&archive(&[extended(
        &[("path", long.as_bytes())],
        raw(b'0', "x", "", b""),
    )]));
    assert!(error.contains("255 bytes"), "{error}");
}

/// The file of the tests of holes: 100 zeros, `abc`, zeros up to 5000, `de`, zeros up to 6000.
fn assert_holes(tree: &Tree) {
    let contents = tree.get("sparse").unwrap().contents().unwrap();
    let data: Vec<_> = contents.data().collect();
    assert_eq!((contents.len(), data), (6000, vec![100..103, 5000..5002]));
    let bytes = contents.read(6000).unwrap();
    assert_eq!(
        (&bytes[99..104], &bytes[4999..5003]),
        (&b"\0abc\0"[..], &b"\0de\0"[..])
    );
    assert_eq!(text(tree, "next"), "x");
}

#[test]
fn every_form_of_holes_is_understood() {
    let next = || raw(b'0', "next", "", b"x");
    let data = || raw(b'0', "GNUSparseFile.0/sparse", "", b"abcde");
    let first: [(&str, &[u8]); 7] = [
        ("GNU.sparse.name", b"sparse"),
        ("GNU.sparse.size", b"6000"),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.offset", b"100"),
        ("GNU.sparse.numbytes", b"3"),
        ("GNU.sparse.offset", b"5000"),
        ("GNU.sparse.numbytes", b"2"),
    ];
    assert_holes(&read(&archive(&[extended(&first, data()), next()])).unwrap());
    let second: [(&str, &[u8]); 4] = [
        ("GNU.sparse.name", b"sparse"),
        ("GNU.sparse.size", b"6000"),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.map", b"100,3,5000,2"),
    ];
    assert_holes(&read(&archive(&[extended(&second, data()), next()])).unwrap());
    let third: [(&str, &[u8]); 4] = [
        ("GNU.sparse.name", b"sparse"),
        ("GNU.sparse.realsize", b"6000"),
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
    ];
    let mut mapped = b"2\n100\n3\n5000\n2\n".to_vec();
    mapped.resize(512, 0);
    mapped.extend_from_slice(b"abcde");
    let entry = raw(b'0', "GNUSparseFile.0/sparse", "", &mapped);
    assert_holes(&read(&archive(&[extended(&third, entry), next()])).unwrap());
}

/// An entry of GNU's old form, with these parts in the header and these behind it.
fn old_form(parts: &[(u64, u64)], behind: &[(u64, u64)], size: u64, data: &[u8]) -> Vec<u8> {
    let mut header = header(b'S', data.len() as u64);
    header.set_path("sparse").unwrap();
    let gnu = header.as_gnu_mut().unwrap();
    gnu.set_real_size(size);
    for (at, part) in parts.iter().enumerate() {
        gnu.sparse[at].set_offset(part.0);
        gnu.sparse[at].set_length(part.1);
    }
    gnu.set_is_extended(!behind.is_empty());
    let mut more = tar::GnuExtSparseHeader::new();
    for (at, part) in behind.iter().enumerate() {
        more.sparse[at].set_offset(part.0);
        more.sparse[at].set_length(part.1);
    }
    let more = if behind.is_empty() {
        &[][..]
    } else {
        more.as_bytes()
    };
    let whole = sealed(header, data);
    [&whole[..512], more, &whole[512..]].concat()
}

#[test]
fn the_old_form_of_holes_is_understood() {
    let next = || raw(b'0', "next", "", b"x");
    let parts = [(100, 3), (5000, 2), (6000, 0)];
    assert_holes(&read(&archive(&[old_form(&parts, &[], 6000, b"abcde"), next()])).unwrap());
    assert_holes(
        &read(&archive(&[
            old_form(&parts[..1], &parts[1..], 6000, b"abcde"),
            next(),
        ]))
        .unwrap(),
    );
}

#[test]
fn holes_that_make_no_sense_are_refused() {
    for parts in [
        [(5000, 2), (100, 3)],
        [(100, 3), (102, 2)],
        [(100, 3), (5999, 2)],
        [(u64::MAX >> 28, 3), (0, 2)],
    ] {
        let error = refused(&archive(&[old_form(&parts, &[], 6000, b"abcde")]));
        assert!(
            error.contains("`sparse`") && error.contains("holes"),
            "{error}"
        );
    }
    let error = refused(&archive(&[old_form(&[(100, 3)], &[], 6000, b"abcde")]));
    assert!(error.contains("not that of its parts"), "{error}");
    for map in ["", "100", "100,3,5000", "100,3,5000,2,", "100,x"] {
        let records: [(&str, &[u8]); 3] = [
            ("GNU.sparse.size", b"6000"),
            ("GNU.sparse.numblocks", b"2"),
            ("GNU.sparse.map", map.as_bytes()),
        ];
        let read = read(&archive(&[extended(
            &records,
            raw(b'0', "x", "", b"abcde"),
        )]));
        assert!(read.is_err(), "{map}");
    }
    for map in ["", "9", "-1\n", "1\n2\n", "999999999\n"] {
        let records: [(&str, &[u8]); 2] =
            [("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"6000")];
        let mut data = map.as_bytes().to_vec();
        data.resize(512, 0);
        let error = refused(&archive(&[extended(&records, raw(b'0', "x", "", &data))]));
        assert!(error.contains("holes"), "{map}: {error}");
    }
}

#[test]
fn a_hole_of_a_terabyte_takes_no_time() {
    let records: [(&str, &[u8]); 3] = [
        ("GNU.sparse.size", b"1099511627776"),
        ("GNU.sparse.numblocks", b"1"),
        ("GNU.sparse.map", b"1099511627775,1"),
    ];
    let tree = read(&archive(&[extended(&records, raw(b'0', "x", "", b"z"))])).unwrap();
    assert_eq!(tree.bytes(), 1 << 40);
}

#[test]
fn archives_of_gnu_tar_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::create_dir(at("root")).unwrap();
    let long = "n".repeat(200);
    std::fs::write(at("root").join(&long), "long").unwrap();
    let sparse = std::fs::File::create(at("root/sparse")).unwrap();
    sparse.set_len(1 << 22).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"abc", 1 << 21).unwrap();
    std::os::unix::fs::symlink("t".repeat(200), at("root/link")).unwrap();
    std::fs::hard_link(at("root").join(&long), at("root/again")).unwrap();
    for format in ["gnu", "posix"] {
        let output = std::process::Command::new("tar")
            .args(["-c", "-S", "--format", format, "-C"])
            .arg(at("root"))
            .arg(".")
            .output();
        let Ok(output) = output else {
            return eprintln!("SKIPPED: there is no tar");
        };
        assert!(output.status.success(), "{output:?}");
        let tree = read(&output.stdout).unwrap();
        assert_eq!(text(&tree, &long), "long");
        assert_eq!(tree.find("again").unwrap(), tree.find(&long).unwrap());
        let contents = tree.get("sparse").unwrap().contents().unwrap();
        assert_eq!((contents.len(), tree.count()), (1 << 22, 4));
        assert_eq!(&contents.read(1 << 22).unwrap()[1 << 21..][..4], b"abc\0");
    }
}

proptest! {
    #[test]
    fn no_archive_makes_it_panic_or_leave(flips in prop::collection::vec((0_usize..4096, any::<u8>()), 1..12)) {
        let mut bytes = archive(&[
            raw(b'5', "dir", "", b""),
            extended(&[("path", b"dir/file"), ("mtime", b"1.5")], raw(b'0', "x", "", b"text")),
            raw(b'2', "link", "dir", b""),
            raw(b'1', "hard", "dir/file", b""),
        ]);
        for (at, value) in flips {
            let at = at % bytes.len();
            bytes[at] = value;
            // Sums are made right again, so that what is behind them is reached.
            let start = at / 512 * 512;
            if bytes.len() - start >= 512 && bytes[start + 257..].starts_with(b"ustar") {
                let mut header = Header::from_byte_slice(&bytes[start..start + 512]).clone();
                header.set_cksum();
                bytes[start..start + 512].copy_from_slice(header.as_bytes());
            }
        }
        let _ = read(&bytes);
    }
}
