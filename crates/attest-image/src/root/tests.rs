use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

struct Place {
    directory: tempfile::TempDir,
    cache: Cache,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(&directory.path().join("cache")).unwrap();
        let root = directory.path().join("root");
        for path in ["etc", "usr/lib/systemd", "sbin"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        fs::write(root.join("etc/os-release"), "PRETTY_NAME=\"Testing 1\"\n").unwrap();
        let init = root.join("usr/lib/systemd/systemd");
        fs::write(&init, crate::elf::tests::elf(crate::elf::NOTE, b"")).unwrap();
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).unwrap();
        symlink("../usr/lib/systemd/systemd", root.join("sbin/init")).unwrap();
        Self { directory, cache }
    }

    fn spec(&self) -> RootSpec {
        spec(RootSource::Directory(self.directory.path().join("root")))
    }

    fn build(&self, spec: &RootSpec) -> Result<RootImage, ImageError> {
        build_root(&self.cache, spec, &mut |_| {})
    }
}

fn spec(source: RootSource) -> RootSpec {
    RootSpec::new("web", source)
}

#[test]
fn a_directory_becomes_an_image_once() {
    let place = Place::new();
    let image = place.build(&place.spec()).unwrap();
    let tree = erofs::read(&image.path).unwrap();
    assert!(tree.get("sbin/init").is_some());
    assert_eq!(image.facts.system.as_deref(), Some("Testing 1"));
    assert_eq!(image.facts.init.as_deref(), Some("/sbin/init"));
    let entry = &place.cache.ls().unwrap()[0];
    assert!(entry.in_use && entry.kind == KIND);
    assert!(
        entry
            .about
            .as_deref()
            .unwrap()
            .starts_with("web: Testing 1, the directory ")
    );
    let again = build_root(&place.cache, &place.spec(), &mut |step| panic!("{step}"));
    assert_eq!(again.unwrap(), image);
}

#[test]
fn an_archive_becomes_the_same() {
    let place = Place::new();
    let archive = place.directory.path().join("root.tar");
    let mut builder = tar::Builder::new(fs::File::create(&archive).unwrap());
    builder.follow_symlinks(false);
    builder
        .append_dir_all(".", place.directory.path().join("root"))
        .unwrap();
    builder.finish().unwrap();
    let image = place.build(&spec(RootSource::Tar(archive))).unwrap();
    assert_eq!(image.facts.init.as_deref(), Some("/sbin/init"));
}

#[test]
fn all_that_goes_in_is_in_the_key() {
    let place = Place::new();
    let first = place.spec();
    let mut known = vec![key::key(&first).unwrap()];
    let mut differs = |change: &dyn Fn(&mut RootSpec)| {
        let mut spec = first.clone();
        change(&mut spec);
        let key = key::key(&spec).unwrap();
        assert!(!known.contains(&key), "{spec:?}");
        known.push(key);
    };
    differs(&|spec| spec.profile = Profile::Lean);
    differs(&|spec| spec.format = RootFormat::Ext4);
    differs(&|spec| spec.kernel = OwnKernel::BroughtOut);
    differs(&|spec| spec.init = Some("/init".to_owned()));
    differs(&|spec| spec.run = vec!["a".to_owned()]);
    differs(&|spec| spec.units.enable = vec!["a".to_owned()]);
    differs(&|spec| spec.units.mask = vec!["a".to_owned()]);
    differs(&|spec| spec.users = vec![NewUser::default()]);
    let user = |uid| NewUser {
        uid,
        ..NewUser::default()
    };
    differs(&|spec| spec.users = vec![user(Some(0))]);
    let file = |content, mode| NewFile {
        path: "/a".to_owned(),
        content,
        mode,
    };
    differs(&|spec| spec.files = vec![file(NewContent::Text("a".to_owned()), None)]);
    differs(&|spec| spec.files = vec![file(NewContent::Text("a".to_owned()), Some(0))]);
    let host = place.directory.path().join("root/etc/os-release");
    differs(&|spec| spec.files = vec![file(NewContent::Host(host.clone()), None)]);
    let mut renamed = first.clone();
    renamed.name = "other".to_owned();
    assert_eq!(key::key(&renamed).unwrap(), known[0]);
}

#[test]
fn a_source_that_is_not_there_leaves_nothing() {
    let place = Place::new();
    let source = RootSource::Directory(place.directory.path().join("none"));
    let error = place.build(&spec(source)).unwrap_err();
    assert!(error.to_string().contains("none"), "{error}");
    assert!(place.cache.ls().unwrap().is_empty());
}

/// The host's shell and what it needs, so that commands can be run in the root.
fn add_shell(root: &Path) {
    let listed = std::process::Command::new("ldd")
        .arg("/bin/sh")
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let libraries = listed
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    for path in libraries.chain(["/bin/sh"]) {
        let place = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(path, place).unwrap();
    }
}

fn without_root() -> bool {
    let without = !crate::sandbox::is_root();
    if without {
        eprintln!("skipped: this needs root");
    }
    without
}

fn read(tree: &Tree, path: &str) -> Option<String> {
    let contents = tree.get(path)?.contents()?;
    Some(String::from_utf8(contents.read(1000).unwrap()).unwrap())
}

#[test]
fn commands_are_run_in_the_root() {
    if without_root() {
        return;
    }
    let place = Place::new();
    add_shell(&place.directory.path().join("root"));
    let mut spec = place.spec();
    spec.run = [
        "echo $$ $HOME $(echo /*) > /made; : > /dev/null; : > /run/gone; : > /dev/gone",
        "read first rest < /made; test $first = 1; test -r /proc/self/status",
        // What stays in the background ends with the shell.
        "while :; do :; done & read host < /etc/resolv.conf; echo $host > /resolver",
    ]
    .map(str::to_owned)
    .to_vec();
    let image = place.build(&spec).unwrap();
    let tree = erofs::read(&image.path).unwrap();
    let made = read(&tree, "made").unwrap();
    assert!(
        made.starts_with("1 /root /") && !made.contains("/home"),
        "{made}"
    );
    assert!(read(&tree, "resolver").is_some_and(|text| text.len() > 1));
    for path in ["run/gone", "dev/gone", "dev/null", "etc/resolv.conf"] {
        assert!(tree.get(path).is_none(), "{path}");
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(place.directory.path().to_str().unwrap()));
}

#[test]
fn a_command_that_fails_is_shown_with_its_last_words() {
    if without_root() {
        return;
    }
    let place = Place::new();
    add_shell(&place.directory.path().join("root"));
    let mut spec = place.spec();
    spec.run = vec![
        "echo first; false; echo never".to_owned(),
        "never".to_owned(),
    ];
    let error = place.build(&spec).unwrap_err().to_string();
    assert!(
        error.starts_with("the command `echo first; false"),
        "{error}"
    );
    assert!(
        error.contains("exit status: 1; its last words:\n  first"),
        "{error}"
    );
    assert!(place.cache.ls().unwrap().is_empty());
    let left = fs::read_dir(place.cache.directory()).unwrap().count();
    // The lock is removed by the next who opens the cache, if at all.
    assert!(left <= 1);
}

#[test]
fn a_root_is_written_as_ext4() {
    if without_root() {
        return;
    }
    let place = Place::new();
    let mut spec = place.spec();
    spec.format = RootFormat::Ext4;
    let image = match place.build(&spec) {
        Err(ImageError::FileSystem { reason, .. }) if reason.contains("not installed") => {
            eprintln!("skipped: {reason}");
            return;
        }
        image => image.unwrap(),
    };
    let debugfs = std::process::Command::new("debugfs")
        .args(["-R", "cat /etc/os-release"])
        .arg(&image.path)
        .output();
    match debugfs {
        Ok(output) => assert_eq!(output.stdout, b"PRETTY_NAME=\"Testing 1\"\n"),
        Err(error) => eprintln!("not looked into: debugfs: {error}"),
    }
    let checked = std::process::Command::new("e2fsck")
        .arg("-fn")
        .arg(&image.path)
        .output();
    assert!(checked.is_ok_and(|output| output.status.success()));
    let left = fs::read_dir(image.lease.entry()).unwrap().count();
    assert_eq!(left, 4, "the image, its facts, a line and the digests");
}

#[test]
fn what_is_declared_is_done_in_its_order() {
    let place = Place::new();
    let unit = "[Install]\nWantedBy=multi-user.target\n";
    let mut spec = place.spec();
    spec.users = vec![NewUser {
        name: "alice".to_owned(),
        ..NewUser::default()
    }];
    let text = |path: &str, text: &str| NewFile {
        path: path.to_owned(),
        content: NewContent::Text(text.to_owned()),
        mode: None,
    };
    spec.files = vec![
        text("/home/alice/note", "hello"),
        text("/etc/systemd/system/own.service", unit),
    ];
    spec.units.enable = vec!["own".to_owned()];
    spec.profile = Profile::Lean;
    let image = place.build(&spec).unwrap();
    assert_eq!(image.facts.enabled, ["own.service"]);
    let tree = erofs::read(&image.path).unwrap();
    assert_eq!(read(&tree, "home/alice/note").as_deref(), Some("hello"));
    assert_eq!(tree.get("home/alice").unwrap().attributes.uid, 1000);
    assert_eq!(read(&tree, "etc/machine-id").as_deref(), Some(""));
    let link = "etc/systemd/system/multi-user.target.wants/own.service";
    assert!(tree.find(link).unwrap().is_some());
}

#[test]
fn a_system_that_cannot_be_started_is_not_built() {
    let place = Place::new();
    let init = place.directory.path().join("root/usr/lib/systemd/systemd");
    fs::set_permissions(&init, fs::Permissions::from_mode(0o644)).unwrap();
    let error = place.build(&place.spec()).unwrap_err();
    assert_eq!(error.to_string(), "the image `web` cannot be started");
    fs::remove_file(&init).unwrap();
    let error = place.build(&place.spec()).unwrap_err();
    assert!(matches!(error, ImageError::Init { .. }), "{error}");
    assert_eq!(place.cache.ls().unwrap(), []);
}

#[test]
fn an_own_kernel_comes_with_the_root() {
    let place = Place::new();
    let root = place.directory.path().join("root");
    let mut spec = place.spec();
    spec.kernel = OwnKernel::BroughtOut;
    assert!(matches!(
        place.build(&spec),
        Err(ImageError::NoOwnKernel { .. })
    ));
    fs::create_dir_all(root.join("boot")).unwrap();
    fs::create_dir_all(root.join("usr/lib/modules/6.1.0-x")).unwrap();
    fs::write(root.join("usr/lib/modules/6.1.0-x/modules.order"), "").unwrap();
    let kernel = crate::vmlinux::tests::bzimage_of("6.1.0-x", b"");
    fs::write(root.join("boot/vmlinuz"), kernel).unwrap();
    let image = place.build(&spec).unwrap();
    assert_eq!(image.kernel.unwrap().release, "6.1.0-x");
}
