use std::os::unix::fs::symlink;

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
        fs::write(root.join("usr/lib/systemd/systemd"), "#!\n").unwrap();
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
    RootSpec {
        name: "web".to_owned(),
        source,
        profile: Profile::Full,
        users: Vec::new(),
        files: Vec::new(),
        units: Units::default(),
        run: Vec::new(),
        format: RootFormat::Erofs,
        init: None,
        kernel: OwnKernel::Ignored,
    }
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
