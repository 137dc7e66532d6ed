//! What is run by `outside`, with an environment for it. What runs is written to a file of the host's.

use std::io::Write;

use attest::{Lab, LabBuilder, Machine, Result, Run, Snapshot};
use serde::{Deserialize, Serialize};

/// Names the file.
pub(crate) const RAN: &str = "ATTEST_TEST_RAN";

fn ran(setup: &str) {
    let path = std::env::var_os(RAN).expect("it is run by `outside`");
    let file = std::fs::File::options()
        .append(true)
        .create(true)
        .open(path);
    writeln!(file.unwrap(), "{setup}").unwrap();
}

fn one() -> LabBuilder {
    Lab::builder().machine("a")
}

async fn lines(a: &Machine) -> Result<String> {
    Ok(a.shell("cat /tmp/lines").await?.text())
}

#[derive(Debug, Serialize, Deserialize)]
struct Written {
    path: String,
    lines: u32,
}

#[attest::setup(lab = one())]
async fn written(lab: &Lab) -> Result<Written> {
    ran("written");
    let path = "/tmp/lines".to_owned();
    lab.machine("a")?
        .shell(format!("echo one > {path}"))
        .await?;
    Ok(Written { path, lines: 1 })
}

#[attest::setup(after = written)]
fn more(lab: Lab, before: &Written) -> Result<u32> {
    ran("more");
    let Written { path, lines } = before;
    let a = lab.machine("a")?;
    a.shell(format!("echo two >> {path}")).run()?;
    Ok(lines + 1)
}

/// Set-ups are named by their paths.
mod elsewhere {
    use super::{Lab, Result, ran};

    #[attest::setup(after = super::more)]
    pub(super) async fn failing(lab: &Lab, lines: u32) -> Result<()> {
        ran("failing");
        let a = lab.machine("a")?;
        a.shell("echo soon over > /dev/console").await?;
        a.wait_for_console_text("soon over").await?;
        a.shell(format!("echo no line {} >&2; exit 3", lines + 1))
            .await?;
        Ok(())
    }

    #[attest::setup(after = super::written)]
    pub(super) fn panicking(_: &Lab) {
        let rows = 7;
        assert_eq!(rows, 8, "of rows");
    }
}

#[attest::test(setup = written)]
#[ignore = "it is run by `outside`"]
async fn has_one_line(lab: &Lab, state: Written) -> Result<()> {
    let a = lab.machine("a")?;
    assert_eq!(state.lines, 1);
    assert_eq!(lines(&a).await?, "one\n");
    a.shell(format!("echo spoilt > {}", state.path)).await?;
    Ok(())
}

#[attest::test(setup = written)]
#[ignore = "it is run by `outside`"]
async fn has_one_line_in_forks(lab: Lab) -> Result<()> {
    let fork = lab.fork().await?;
    let (a, b) = (lab.machine("a")?, fork.machine("a")?);
    a.shell("echo spoilt > /tmp/lines").await?;
    assert_eq!(lines(&b).await?, "one\n");
    fork.shutdown().await;
    Ok(())
}

#[attest::test(setup = more)]
#[ignore = "it is run by `outside`"]
fn has_two_lines(lab: &Lab, count: u32) {
    assert_eq!(count, 2);
    let a = lab.machine("a").unwrap();
    assert_eq!(lines(&a).run().unwrap(), "one\ntwo\n");
}

#[attest::test(setup = more, snapshots = "never")]
#[ignore = "it is run by `outside`"]
async fn has_two_lines_on_a_lab_that_boots(lab: Lab) -> Result<()> {
    assert_eq!(lines(&lab.machine("a")?).await?, "one\ntwo\n");
    Ok(())
}

#[attest::test(setup = elsewhere::failing)]
#[ignore = "it is run by `outside`"]
fn has_a_set_up_that_fails(_: Lab) {
    unreachable!("it never begins");
}

#[attest::test(setup = elsewhere::panicking)]
#[ignore = "it is run by `outside`"]
fn has_a_set_up_that_panics(_: Lab) {
    unreachable!("it never begins");
}

#[attest::test(lab = one())]
#[ignore = "it is run by `outside`"]
fn has_no_set_up(_: Lab) {}

#[attest::test(lab = one())]
#[ignore = "it is run by `outside`"]
async fn panics_after_writing(lab: Lab) {
    let written = async { lab.machine("a")?.shell("echo left > /tmp/lines").await };
    written.await.unwrap();
    panic!("lines are left");
}

#[attest::test(lab = one(), snapshots = "never")]
#[ignore = "it is run by `outside`"]
async fn ends_with_an_error_of_its_own(lab: Lab) -> Result<(), std::fmt::Error> {
    let written = async { lab.machine("a")?.shell("echo left > /tmp/lines").await };
    written.await.unwrap();
    Err(std::fmt::Error)
}

/// Names a lab that was kept.
pub(crate) const KEPT: &str = "ATTEST_TEST_KEPT";

/// Not a test of attest's: it brings its lab itself.
#[test]
#[ignore = "it is run by `outside`"]
fn goes_on_from_what_was_kept() {
    let output = tempfile::tempdir().unwrap();
    let context = attest::LabContext {
        recorder: attest::Recorder::silent(),
        output: output.path().to_owned(),
        cache: None,
        snapshots: attest::SnapshotUse::Auto,
    };
    let name = std::env::var(KEPT).expect("it is run by `outside`");
    let read = async {
        let lab = Snapshot::of_failed(&name, context).await?.fork().await?;
        let left = lines(&lab.machine("a")?).await;
        lab.shutdown().await;
        left
    };
    assert_eq!(read.run().unwrap(), "left\n");
}
