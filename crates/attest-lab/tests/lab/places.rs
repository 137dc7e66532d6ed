//! What a lab has for one program.

use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;

use crate::common::{lab, network, run, shell};

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_program_has_a_directory_that_goes_with_whoever_holds_it() {
    let Some(lab) = lab(&[]).await else { return };
    let directory = lab.directory("web", None).await.unwrap();
    std::fs::write(directory.entry("told"), "by the driver\n").unwrap();
    let mut spawn = shell("cat told; echo by the program > answer");
    spawn.directory = Some(directory.path().to_owned());
    assert_eq!(run(&lab, spawn).await, "by the driver\n");
    let answer = std::fs::read_to_string(directory.entry("answer")).unwrap();
    assert_eq!(answer, "by the program\n");
    assert_eq!(names(&directory.entry(".")), ["answer", "told"]);
    // Nobody outside has it, and sockets in it have short names.
    assert!(!directory.path().exists());
    assert!(directory.path().as_os_str().len() < 40);
    let (path, held) = (
        directory.path().to_owned(),
        directory.as_fd().try_clone_to_owned(),
    );
    drop(directory);
    let gone = shell(&format!("test -e {} || echo gone", path.display()));
    assert_eq!(run(&lab, gone).await, "gone\n");
    drop(held);
}

#[tokio::test]
async fn files_without_a_name_are_shown_in_a_directory() {
    let Some(lab) = lab(&[]).await else { return };
    let directory = lab.directory("web", None).await.unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"no name\n").unwrap();
    let shown = lab.show(&directory, "disk0", file.as_fd()).await;
    if let Err(error) = shown {
        // Only root of the host may.
        assert!(!rustix::process::getuid().is_root(), "{error:?}");
        return;
    }
    let mut spawn = shell("cat disk0");
    spawn.directory = Some(directory.path().to_owned());
    assert_eq!(run(&lab, spawn).await, "no name\n");
}

#[tokio::test]
async fn a_lasting_tap_is_there_for_a_program_and_goes_with_its_holder() {
    let Some(lab) = lab(&[network("lan")]).await else {
        return;
    };
    let tap = lab.lasting_tap("lan", None).await.unwrap();
    let name = tap.name().to_owned();
    let devices = run(&lab, shell("cat /proc/self/net/dev")).await;
    assert!(devices.contains(&name), "{devices}");
    drop(tap);
    let devices = run(&lab, shell("cat /proc/self/net/dev")).await;
    assert!(!devices.contains(&name), "{devices}");
}
