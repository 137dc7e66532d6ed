//! Copies: files and trees, both ways, as they are.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use attest::manifest::FileEntry;
use attest::{Error, Lab, Result};

use crate::support::{failed, one, text};

/// A tree with all that a copy must keep.
fn tree(root: &Path) {
    fs::create_dir_all(root.join("sub/empty")).unwrap();
    fs::write(root.join("plain"), "text\n").unwrap();
    fs::write(root.join("sub/run"), "#!/bin/sh\necho ran\n").unwrap();
    fs::set_permissions(root.join("sub/run"), fs::Permissions::from_mode(0o4750)).unwrap();
    fs::set_permissions(root.join("sub/empty"), fs::Permissions::from_mode(0o700)).unwrap();
    symlink("sub/run", root.join("link")).unwrap();
    symlink("/nowhere/at all", root.join("dangling")).unwrap();
    fs::hard_link(root.join("plain"), root.join("same")).unwrap();
    fs::write(root.join("odd \n né"), [0, 255, 10]).unwrap();
    let mut sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.seek(SeekFrom::Start(300 << 20)).unwrap();
    sparse.write_all(b"end").unwrap();
    fs::write(root.join("large"), vec![7; 5 << 20]).unwrap();
}

fn compare(one: &Path, two: &Path) {
    let names = |root: &Path| {
        let mut names: Vec<_> = fs::read_dir(root)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(one), names(two), "in {}", one.display());
    for name in names(one) {
        let (a, b) = (one.join(&name), two.join(&name));
        let (meta, other) = (
            fs::symlink_metadata(&a).unwrap(),
            fs::symlink_metadata(&b).unwrap(),
        );
        assert_eq!(meta.mode(), other.mode(), "{}", name.display());
        if meta.is_dir() {
            compare(&a, &b);
        } else if meta.is_symlink() {
            assert_eq!(fs::read_link(&a).unwrap(), fs::read_link(&b).unwrap());
        } else {
            assert_eq!(
                (meta.len(), meta.mtime(), meta.nlink()),
                (other.len(), other.mtime(), other.nlink()),
                "{}",
                name.display()
            );
            assert!(
                fs::read(&a).unwrap() == fs::read(&b).unwrap(),
                "{}",
                name.display()
            );
        }
    }
}

#[attest::test(lab = one())]
async fn a_tree_comes_back_as_it_went(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    let host = tempfile::tempdir().unwrap();
    let (from, to) = (host.path().join("from"), host.path().join("to"));
    tree(&from);
    a.upload(&from, "/tmp/tree").await?;
    let seen = text(&a, "cd /tmp/tree; ./link; readlink dangling; stat -c '%a %h' sub/run plain sub/empty; du -k sparse | cut -f1").await?;
    let lines: Vec<_> = seen.lines().collect();
    assert_eq!(
        lines[..5],
        ["ran", "/nowhere/at all", "4750 1", "644 2", "700 2"]
    );
    assert!(
        lines[5].parse::<u32>().unwrap() <= 64,
        "the hole was filled: {seen}"
    );
    a.download("/tmp/tree", &to).await?;
    compare(&from, &to);
    let kept = fs::metadata(to.join("sparse")).unwrap();
    assert!(
        kept.blocks() * 512 < 1 << 20,
        "the hole was filled: {} blocks",
        kept.blocks()
    );
    Ok(())
}

#[attest::test(lab = one())]
async fn a_copy_that_fails_says_where_and_why(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    let host = tempfile::tempdir().unwrap();
    let file = host.path().join("file");
    fs::write(&file, vec![1; 3 << 20]).unwrap();
    let missing = failed(a.upload(host.path().join("none"), "/tmp/x").await);
    assert!(matches!(missing, Error::Copy { .. }), "{missing:?}");
    assert!(
        missing.chain().contains("No such file"),
        "{}",
        missing.chain()
    );
    let missing = failed(a.download("/none", host.path().join("x")).await);
    assert!(missing.chain().contains("/none"), "{}", missing.chain());
    assert!(!host.path().join("x").exists());
    // A full disk in the guest.
    a.shell("mkdir /small; mount -t tmpfs -o size=1M none /small")
        .await?;
    let full = failed(a.upload(&file, "/small/file").await);
    assert!(full.chain().contains("No space left"), "{}", full.chain());
    // The machine is none the worse for it.
    a.upload(&file, "/tmp/file").await?;
    assert_eq!(text(&a, "stat -c %s /tmp/file").await?, "3145728\n");
    Ok(())
}

fn with_files() -> attest::LabBuilder {
    Lab::builder().machine_with("a", |machine| {
        let text = FileEntry::Text("made up\n".into());
        machine.files.insert("/etc/made/up".into(), text);
        let source = attest::manifest::FileSource {
            source: Some(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guest").into()),
            ..Default::default()
        };
        machine
            .files
            .insert("/src".into(), FileEntry::Table(source));
        machine
            .environment
            .insert("GREETING".into(), "hello".into());
    })
}

#[attest::test(lab = with_files())]
async fn files_and_environment_are_there_from_the_first_command_on(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    let seen = text(&a, "cat /etc/made/up; echo $GREETING; cat /src/copies.rs").await?;
    assert_eq!(
        seen,
        format!("made up\nhello\n{}", include_str!("copies.rs"))
    );
    // And again after a boot that lost them.
    a.reboot().await?;
    assert_eq!(
        text(&a, "cat /etc/made/up; echo $GREETING").await?,
        "made up\nhello\n"
    );
    Ok(())
}
