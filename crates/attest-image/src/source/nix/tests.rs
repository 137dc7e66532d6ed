use std::error::Error;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;

use super::*;
use crate::tree::shown;

/// A store that is made up, somewhere else than a store is.
struct Store {
    directory: tempfile::TempDir,
}

/// A name for the store; the letters tell the hashes apart.
fn name(letter: char, rest: &str) -> String {
    format!("{}-{rest}", letter.to_string().repeat(32))
}

fn path_of(name: &str) -> String {
    format!("{STORE}/{name}")
}

impl Store {
    /// A system that needs systemd, which needs a library, and something that nobody needs.
    fn new() -> Self {
        let store = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        let (top, systemd) = (
            name('0', "nixos-system-test-24.11"),
            name('1', "systemd-256"),
        );
        let (library, etc) = (name('2', "glibc-2.40"), name('3', "etc"));
        store.write(
            &format!("{top}/init"),
            &format!("#!{}/bin/sh\n", path_of(&name('4', "bash"))),
        );
        store.link(&format!("{top}/systemd"), &path_of(&systemd));
        store.link(&format!("{top}/etc"), &format!("{}/etc", path_of(&etc)));
        store.write(&format!("{etc}/etc/os-release"), "ID=nixos\n");
        store.write(
            &format!("{systemd}/lib/systemd/systemd"),
            &format!("\0RPATH{}/lib\0", path_of(&library)),
        );
        // A reference to itself, and one in the other's name only.
        store.write(&format!("{library}/lib/libc.so.6"), &path_of(&library));
        store.write(
            &format!("{}/bin/{}", name('4', "bash"), name('5', "named")),
            "",
        );
        store.write(&name('5', "named"), "a file by itself");
        store.write(&name('6', "nobody-needs-it"), &path_of(&top));
        fs::create_dir(store.store().join(".links")).unwrap();
        store
    }

    fn store(&self) -> PathBuf {
        self.directory.path().join("nix/store")
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.store().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.store().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    fn read(&self, path: &Path) -> Result<NixSystem, ImageError> {
        nix(path, &self.store(), &mut |_| {})
    }

    fn top(&self) -> PathBuf {
        self.store().join(name('0', "nixos-system-test-24.11"))
    }

    /// As `closureInfo` makes it.
    fn info(&self, lines: &[String]) -> PathBuf {
        let info = self.directory.path().join("info");
        fs::create_dir_all(&info).unwrap();
        fs::write(info.join("store-paths"), lines.join("\n") + "\n").unwrap();
        fs::write(info.join("registration"), "registered").unwrap();
        info
    }

    fn refused(&self, path: &Path) -> String {
        let error = self.read(path).unwrap_err();
        error.source().unwrap().to_string()
    }
}

fn names(tree: &Tree) -> Vec<char> {
    let store = tree.get("nix/store").unwrap().entries().unwrap();
    store.iter().map(|(name, _)| char::from(name[0])).collect()
}

#[test]
fn all_that_a_system_needs_is_found() {
    let store = Store::new();
    let system = store.read(&store.top()).unwrap();
    assert_eq!(names(&system.tree), ['0', '1', '2', '3', '4', '5']);
    assert_eq!(system.paths, 6);
    assert_eq!(
        system.init,
        path_of(&name('0', "nixos-system-test-24.11/init"))
    );
    let (_, init) = system.tree.follow("/sbin/init").unwrap();
    assert_eq!(format!("/{}", shown(&init)), system.init);
    let release = system
        .tree
        .get("etc/os-release")
        .unwrap()
        .contents()
        .unwrap();
    assert_eq!(release.read(20).unwrap(), b"ID=nixos\n");
    assert_eq!(system.tree.get("tmp").unwrap().attributes.mode, 0o1777);
    assert!(system.tree.get("nix-path-registration").is_none());
}

#[test]
fn every_way_to_the_system_leads_there() {
    let store = Store::new();
    let at = |name: &str| store.directory.path().join(name);
    let logical = path_of(&name('0', "nixos-system-test-24.11"));
    symlink(&logical, at("result")).unwrap();
    symlink("result", at("again")).unwrap();
    symlink("nix/store", at("other")).unwrap();
    for path in [
        PathBuf::from(&logical),
        at("result"),
        at("again"),
        at("other").join(name('0', "nixos-system-test-24.11")),
    ] {
        assert_eq!(store.read(&path).unwrap().paths, 6, "{}", path.display());
    }
}

#[test]
fn a_closure_that_is_listed_is_taken_as_it_is() {
    let store = Store::new();
    let top = path_of(&name('0', "nixos-system-test-24.11"));
    let info = store.info(&[path_of(&name('4', "bash")), top.clone()]);
    let system = store.read(&info).unwrap();
    assert_eq!(names(&system.tree), ['0', '4']);
    let registration = system.tree.get("nix-path-registration").unwrap();
    assert_eq!(
        registration.contents().unwrap().read(20).unwrap(),
        b"registered"
    );
    for (lines, cause) in [
        (vec![path_of(&name('4', "bash"))], "0 systems"),
        (
            vec![top.clone(), path_of(&name('7', "nixos-system-x"))],
            "2 systems",
        ),
        (
            vec![top.clone(), path_of(&name('8', "gone"))],
            "8-gone`, which is not in the store",
        ),
        (
            vec![top.clone(), path_of("../../etc/passwd")],
            "../../etc/passwd`, which is no path",
        ),
        (
            vec![top, "/etc/passwd".to_owned()],
            "`/etc/passwd`, which is no path",
        ),
    ] {
        let error = store.refused(&store.info(&lines));
        assert!(error.contains(cause), "{cause}: {error}");
    }
}

#[test]
fn what_is_no_system_is_named() {
    let store = Store::new();
    let error = store.refused(store.directory.path());
    assert!(error.contains("does not lead into the store"), "{error}");
    let error = store.refused(&store.top().join("init"));
    assert!(error.contains("does not lead into the store"), "{error}");
    let error = store.refused(&store.store().join(name('1', "systemd-256")));
    assert!(error.contains("is no NixOS"), "{error}");
    let error = store.refused(&store.store().join(name('9', "gone")));
    assert!(
        error.contains("9-gone`, which is not in the store"),
        "{error}"
    );
    let error = store.refused(Path::new("/nowhere"));
    assert!(error.contains("does not lead into the store"), "{error}");
}

#[test]
fn everything_is_roots_and_files_of_many_names_are_one() {
    let store = Store::new();
    let file = store.store().join(name('5', "named"));
    let again = store.store().join(name('2', "glibc-2.40/again"));
    fs::hard_link(&file, &again).unwrap();
    if ::nix::unistd::geteuid().is_root() {
        std::os::unix::fs::lchown(&file, Some(1234), Some(1234)).unwrap();
        assert_eq!(file.metadata().unwrap().uid(), 1234);
    }
    let system = store.read(&store.top()).unwrap();
    let id = |path: &str| system.tree.find(path_of(path)).unwrap().unwrap();
    let (one, other) = (id(&name('5', "named")), id(&name('2', "glibc-2.40/again")));
    assert_eq!(one, other);
    assert!(
        system
            .tree
            .walk()
            .all(|visit| visit.node.attributes.uid == 0 && visit.node.attributes.gid == 0)
    );
}

#[test]
fn nix_may_link_files_while_they_are_read() {
    let store = Store::new();
    let file = name('5', "named");
    let info = store.info(&[path_of(&file)]);
    let whole = nix_store(&[info], &store.store()).unwrap();
    assert_eq!(whole.paths, 1);
    // As it does for a sandbox.
    let link = store.directory.path().join("in-a-sandbox");
    fs::hard_link(store.store().join(&file), link).unwrap();
    let node = whole.tree.get(path_of(&file)).unwrap();
    let crate::tree::Kind::File(contents) = &node.kind else {
        panic!("it is a file");
    };
    assert_eq!(contents.read(100).unwrap(), b"a file by itself");
}
