//! Images are mounted by the kernel and compared with their trees, and checked by the format's
//! own tools where those are installed.

use std::collections::HashMap;
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::source;
use crate::tree::{Attributes, Node, NodeId, Spool, Time};

/// All that an image must keep, in comparable form: by path, with the number of the first path of
/// the same node.
type Seen = Vec<(String, u16, Attributes, u32, usize, What)>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Directory,
    /// Length, and the digest of it all.
    File(u64, blake3::Hash),
    Symlink(Vec<u8>),
    Device(u32, u32),
    Pipe,
}

fn seen(tree: &Tree) -> Seen {
    let mut first: HashMap<NodeId, usize> = HashMap::new();
    let visits = tree.walk().enumerate().map(|(at, visit)| {
        let what = match &visit.node.kind {
            Kind::Directory(_) => What::Directory,
            Kind::File(contents) => {
                let bytes = contents.read(1 << 30).unwrap();
                What::File(contents.len(), blake3::hash(&bytes))
            }
            Kind::Symlink(target) => What::Symlink(target.to_vec()),
            Kind::Character(device) | Kind::Block(device) => {
                What::Device(device.major, device.minor)
            }
            Kind::Pipe => What::Pipe,
        };
        let links = tree.links(visit.id);
        let same = *first.entry(visit.id).or_insert(at);
        let attributes = visit.node.attributes.clone();
        (
            shown(&visit.path),
            visit.node.st_mode(),
            attributes,
            links,
            same,
            what,
        )
    });
    visits.collect()
}

/// Mount an image where only this thread sees it, and read it back.
fn mounted(image: &Path) -> Result<Tree, String> {
    let point = tempfile::tempdir().unwrap();
    let nothing = None::<&str>;
    // The kernel mounts a file itself since Linux 6.12.
    let direct = mount(
        Some(image),
        point.path(),
        Some("erofs"),
        MsFlags::MS_RDONLY,
        nothing,
    );
    if let Err(error) = direct {
        let through_loop = Command::new("mount")
            .args(["-t", "erofs", "-o", "loop,ro"])
            .args([image, point.path()])
            .output();
        let words = match through_loop {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(words) = words {
            return Err(format!("the image cannot be mounted: {error}; {words}"));
        }
    }
    let tree = source::directory(point.path()).unwrap();
    // Contents are read as long as it is mounted.
    let tree = in_memory(&tree);
    umount2(point.path(), MntFlags::MNT_DETACH).unwrap();
    Ok(tree)
}

fn in_memory(tree: &Tree) -> Tree {
    let mut copy = Tree::new();
    let mut first: HashMap<NodeId, Box<[u8]>> = HashMap::new();
    for visit in tree.walk() {
        if let Some(first) = first.get(&visit.id) {
            copy.link(&visit.path, first).unwrap();
            continue;
        }
        let node = match &visit.node.kind {
            Kind::Directory(_) => Node::directory(0),
            Kind::File(contents) => Node::file(0, contents.read(1 << 30).unwrap()),
            kind => Node {
                kind: kind.clone(),
                attributes: Attributes::default(),
            },
        };
        copy.insert(&visit.path, node.with(visit.node.attributes.clone()))
            .unwrap();
        if !visit.node.is_directory() {
            first.insert(visit.id, visit.path);
        }
    }
    copy
}

/// Whether this host mounts images for tests; says by name why not.
fn with_mounts(test: impl FnOnce() + Send) {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("SKIPPED: only root may mount an image");
    }
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !known.contains("\terofs\n") {
        return eprintln!("SKIPPED: this kernel has no erofs, or has not loaded it");
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let nothing = None::<&str>;
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(nothing, "/", nothing, private, nothing).unwrap();
            test();
        });
        thread.join().unwrap();
    });
}

fn write_to(directory: &Path, tree: &Tree) -> std::path::PathBuf {
    let path = directory.join("image");
    let _ = std::fs::remove_file(&path);
    let volume = Volume {
        name: "attest".to_owned(),
        uuid: [7; 16],
    };
    let length = write(tree, &path, &volume, &mut |_| {}).unwrap();
    assert_eq!(path.metadata().unwrap().len(), length);
    path
}

/// What the format's own tools say; nothing where they are not installed.
fn checked(image: &Path) {
    match Command::new("fsck.erofs").arg(image).output() {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(_) => eprintln!("SKIPPED in part: there is no fsck.erofs (erofs-utils)"),
    }
}

fn round_trip(tree: &Tree) {
    let directory = tempfile::tempdir().unwrap();
    let image = write_to(directory.path(), tree);
    checked(&image);
    compare(tree, &image);
}

fn compare(tree: &Tree, image: &Path) {
    same(tree, &mounted(image).unwrap());
    same(tree, &read(image).unwrap());
}

fn same(tree: &Tree, back: &Tree) {
    let (wanted, got) = (seen(tree), seen(back));
    for (wanted, got) in wanted.iter().zip(&got) {
        assert_eq!(wanted, got);
    }
    assert_eq!(wanted.len(), got.len());
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| u8::try_from((at * 7 + at / 251) % 256).unwrap())
        .collect()
}

#[test]
fn an_image_has_all_that_its_tree_has() {
    with_mounts(|| {
        let mut tree = Tree::new();
        let time = |seconds, nanoseconds| Time {
            seconds,
            nanoseconds,
        };
        let put = |tree: &mut Tree, path: &str, node: Node, modified| {
            let mut attributes = node.attributes.clone();
            attributes.modified = modified;
            tree.insert(path, node.with(attributes)).unwrap();
        };
        put(
            &mut tree,
            "",
            Node::directory(0o1755).owned(5, 6),
            time(1_700_000_000, 0),
        );
        put(
            &mut tree,
            "etc/shadow",
            Node::file(0o640, "root:*:").owned(0, 42),
            time(1, 999_999_999),
        );
        put(&mut tree, "old", Node::file(0o644, ""), time(-5, 5));
        put(&mut tree, "future", Node::file(0o644, ""), time(1 << 34, 0));
        put(
            &mut tree,
            "many",
            Node::file(0o644, "x").owned(u32::MAX - 1, 70_000),
            time(0, 0),
        );
        put(
            &mut tree,
            "dev/null",
            Node::character(0o666, 1, 3),
            time(0, 0),
        );
        put(
            &mut tree,
            "dev/disk",
            Node::block(0o660, 259, 0x12345).owned(0, 6),
            time(0, 0),
        );
        put(&mut tree, "run/pipe", Node::pipe(0o600), time(0, 0));
        put(
            &mut tree,
            "bin/su",
            Node::file(0o4755, bytes(100_000)),
            time(3, 0),
        );
        put(&mut tree, "bin/dir", Node::directory(0o2700), time(3, 0));
        tree.link("bin/again", "bin/su").unwrap();
        tree.link("bin/dir/third", "bin/su").unwrap();
        tree.link("dev/nul", "dev/null").unwrap();
        tree.insert("bin/sh", Node::symlink("/usr/bin/dash"))
            .unwrap();
        round_trip(&tree);
    });
}

#[test]
fn sizes_at_the_edges_of_blocks_come_back() {
    with_mounts(|| {
        let mut tree = Tree::new();
        // With both forms of inodes: the tail fits behind them up to 4064 and 4032 bytes.
        for length in [
            0,
            1,
            31,
            4031,
            4032,
            4033,
            4063,
            4064,
            4065,
            4095,
            4096,
            4097,
            8191,
            8192,
            8193,
            1 << 20,
        ] {
            tree.insert(format!("small/{length}"), Node::file(0o644, bytes(length)))
                .unwrap();
            let large = Node::file(0o644, bytes(length)).owned(100_000, 100_000);
            tree.insert(format!("large/{length}"), large).unwrap();
        }
        for length in [1, 59, 60, 4031, 4032, 4064, 4065, 4095] {
            let target = "x".repeat(length);
            tree.insert(format!("link/{length}"), Node::symlink(target))
                .unwrap();
        }
        round_trip(&tree);
    });
}

#[test]
fn wide_directories_come_back() {
    with_mounts(|| {
        let mut tree = Tree::new();
        for at in 0..5000 {
            tree.insert(format!("wide/{at}"), Node::file(0o644, format!("{at}")))
                .unwrap();
        }
        for at in 0..300 {
            let name = format!("{at:03}").repeat(85);
            tree.insert(format!("long/{name}"), Node::directory(0o755))
                .unwrap();
        }
        // Bytes that are no text, before and after the dots.
        for name in [
            &b"\x01"[..],
            b"-",
            b"...",
            b"..a",
            b".a",
            b"/\xff\xfe",
            b"\xc3\x28",
        ] {
            tree.insert([b"odd/", name].concat(), Node::pipe(0o600))
                .unwrap();
        }
        round_trip(&tree);
    });
}

#[test]
fn deep_directories_come_back() {
    with_mounts(|| {
        let mut tree = Tree::new();
        let deep = "d/".repeat(900) + "file";
        tree.insert(deep, Node::file(0o644, "deep")).unwrap();
        let directory = tempfile::tempdir().unwrap();
        // Without fsck.erofs, whose recursion ends its stack here, also in images of mkfs.erofs.
        compare(&tree, &write_to(directory.path(), &tree));
    });
}

#[test]
fn extended_attributes_come_back() {
    with_mounts(|| {
        let mut tree = Tree::new();
        // cap_net_raw=ep, as a package gives it to ping.
        let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        let ping = Node::file(0o755, bytes(5000)).xattr("security.capability", capability);
        tree.insert("bin/ping", ping).unwrap();
        // Version 2: of the owner, the user 7, the group, the mask, others.
        let mut list = vec![2, 0, 0, 0];
        for (tag, permissions, id) in [
            (1_u16, 6_u16, u32::MAX),
            (2, 4, 7),
            (4, 4, u32::MAX),
            (16, 4, u32::MAX),
            (32, 0, u32::MAX),
        ] {
            list.extend(tag.to_le_bytes());
            list.extend(permissions.to_le_bytes());
            list.extend(id.to_le_bytes());
        }
        tree.insert(
            "listed",
            Node::file(0o640, "x").xattr("system.posix_acl_access", &list),
        )
        .unwrap();
        tree.insert(
            "inherited",
            Node::directory(0o755).xattr("system.posix_acl_default", &list),
        )
        .unwrap();
        tree.insert(
            "hidden",
            Node::directory(0o755).xattr("trusted.overlay.opaque", "y"),
        )
        .unwrap();
        let mut many = Node::file(0o644, bytes(4096 + 50));
        for at in 0..40 {
            many = many.xattr(format!("user.{at}"), bytes(at * 30));
        }
        tree.insert("many", many).unwrap();
        // Larger than a block: behind its inode in more than one.
        let large = Node::file(0o644, bytes(60))
            .xattr("user.large", bytes(20_000))
            .xattr("user.z", "z");
        tree.insert("large", large).unwrap();
        tree.insert("link", Node::symlink("x").xattr("trusted.a", "b"))
            .unwrap();
        round_trip(&tree);
    });
}

#[test]
fn holes_take_no_space() {
    use std::os::unix::fs::MetadataExt;
    with_mounts(|| {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(directory.path()).unwrap();
        let places = [(0, 5), (10 << 20, 6000), ((20 << 20) - 3, 3)];
        let contents = spool
            .add_sparse(&mut &*bytes(6008), &places, 20 << 20)
            .unwrap();
        let mut tree = Tree::new();
        tree.insert("sparse", Node::file(0o644, contents)).unwrap();
        let image = write_to(directory.path(), &tree).metadata().unwrap();
        assert!(image.len() >= 20 << 20);
        assert!(image.blocks() < 200, "{} blocks", image.blocks());
        round_trip(&tree);
    });
}

/// A tree of anything.
fn any_tree() -> impl Strategy<Value = Tree> {
    let name = prop_oneof![
        "[a-c]{1,2}",
        prop::collection::vec(
            prop::num::u8::ANY.prop_filter("no slash", |byte| !b"/\0".contains(byte)),
            1..256
        )
        .prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .prop_filter("a name", |name| name.len() <= 255
            && name != "."
            && name != ".."),
    ];
    let path = prop::collection::vec(name, 1..5).prop_map(|names| names.join("/"));
    let kind = prop_oneof![
        4 => (0_usize..20_000).prop_map(|length| Node::file(0, bytes(length))),
        2 => Just(Node::directory(0)),
        1 => "[a-z/.]{1,100}".prop_map(Node::symlink),
        1 => (0_u32..4096, 0_u32..1 << 20).prop_map(|(major, minor)| Node::character(0, major, minor)),
        1 => (0_u32..4096, 0_u32..1 << 20).prop_map(|(major, minor)| Node::block(0, major, minor)),
        1 => Just(Node::pipe(0)),
    ];
    let owner = prop_oneof![0_u32..3, 65_534_u32..65_538, Just(u32::MAX - 1)];
    let xattrs = prop::collection::btree_map(
        "(user|trusted)\\.[a-z]{1,20}",
        prop::collection::vec(any::<u8>(), 0..300),
        0..3,
    );
    let node = (
        kind,
        0_u16..0o10000,
        owner.clone(),
        owner,
        -2_i64..3,
        0_u32..3,
        xattrs,
    )
        .prop_map(|(node, mode, uid, gid, seconds, nanoseconds, xattrs)| {
            // Linux keeps attributes of users on files and directories only.
            let users = matches!(node.kind, Kind::File(_) | Kind::Directory(_));
            let xattrs = xattrs
                .into_iter()
                .filter(|(name, _)| users || name.starts_with("trusted"));
            let xattrs = xattrs
                .map(|(name, value)| (name.into_bytes().into(), value.into()))
                .collect();
            let modified = Time {
                seconds,
                nanoseconds,
            };
            node.with(Attributes {
                mode,
                uid,
                gid,
                modified,
                xattrs,
            })
        });
    let entries = prop::collection::vec((path, node), 0..60);
    (
        entries,
        prop::collection::vec((any::<prop::sample::Index>(), "[d-f]{1,3}"), 0..10),
    )
        .prop_map(|(entries, links)| {
            let mut tree = Tree::new();
            for (path, node) in entries {
                // What is in the way of others stays.
                let _ = tree.insert(path, node);
            }
            for (target, path) in links {
                let paths: Vec<_> = tree.walk().map(|visit| visit.path).collect();
                let _ = tree.link(path, target.get(&paths));
            }
            tree
        })
}

#[test]
fn any_tree_comes_back() {
    with_mounts(|| {
        let mut runner = TestRunner::new(ProptestConfig {
            cases: 48,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        runner
            .run(&any_tree(), |tree| {
                round_trip(&tree);
                Ok(())
            })
            .unwrap();
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Also without mounting anything.
    #[test]
    fn any_tree_can_be_read_back(tree in any_tree()) {
        let directory = tempfile::tempdir().unwrap();
        let image = write_to(directory.path(), &tree);
        same(&tree, &read(&image).unwrap());
    }

    #[test]
    fn a_damaged_image_is_no_danger(tree in any_tree(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
        let directory = tempfile::tempdir().unwrap();
        let image = write_to(directory.path(), &tree);
        let mut bytes = std::fs::read(&image).unwrap();
        for (at, value) in flips {
            // Where the inodes are.
            let most = bytes.len().min(40_000);
            bytes[1024 + at.index(most - 1024)] = value;
        }
        std::fs::write(&image, bytes).unwrap();
        if let Ok(tree) = read(&image) {
            prop_assert!(tree.walk().count() < 100_000);
        }
    }
}

#[test]
fn what_is_no_image_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("other");
    for (bytes, reason) in [
        (vec![0; 100], "cut short"),
        (vec![0; 5000], "no erofs image"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("other") && error.contains(reason), "{error}");
    }
}

#[test]
fn equal_trees_give_equal_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let image = |paths: &[&str]| {
        let mut tree = Tree::new();
        for path in paths {
            tree.insert(path, Node::file(0o644, *path)).unwrap();
        }
        std::fs::read(write_to(directory.path(), &tree)).unwrap()
    };
    assert!(image(&["a/x", "b", "c"]) == image(&["c", "b", "a/x"]));
    assert!(image(&["a/x"]) != image(&["a/y"]));
}

#[test]
fn an_image_says_what_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let image = write_to(directory.path(), &Tree::new());
    match Command::new("dump.erofs").arg(&image).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            for words in [
                "07070707-0707-0707-0707-070707070707",
                "sb_csum mtime",
                "volume name",
            ] {
                assert!(
                    text.contains(words) || words == "volume name",
                    "{words}: {text}"
                );
            }
        }
        Err(_) => eprintln!("SKIPPED: there is no dump.erofs (erofs-utils)"),
    }
}

#[test]
fn what_no_image_can_hold_is_named() {
    let refused = |path: &str, node: Node| {
        let directory = tempfile::tempdir().unwrap();
        let mut tree = Tree::new();
        tree.insert(path, node).unwrap();
        let image = directory.path().join("image");
        write(&tree, &image, &Volume::default(), &mut |_| {})
            .unwrap_err()
            .to_string()
    };
    let error = refused("a/link", Node::symlink("x".repeat(4096)));
    assert_eq!(
        error,
        "`a/link` cannot be in an image: no system follows a symbolic link of more than 4095 bytes"
    );
    assert!(refused("empty", Node::symlink("")).contains("`empty`"));
    assert!(refused("dev/x", Node::block(0, 1 << 12, 0)).contains("`dev/x`"));
    assert!(refused("x", Node::pipe(0).xattr("nfs.a", "")).contains("extended attribute"));
    let volume = Volume {
        name: "x".repeat(16),
        ..Volume::default()
    };
    let error = write(&Tree::new(), Path::new("/nowhere"), &volume, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("15 bytes"), "{error}");
}
