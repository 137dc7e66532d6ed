//! Set-ups and tests of a script, on a container of the built-in guest.

use std::fs;
use std::path::Path;

use attest::manifest::Manifest;
use attest::run::{ScriptPart, ScriptRunner as _, ScriptVerdict};
use attest::{Lab, LabContext, Recorder, SnapshotUse};
use attest_script::Scripts;
use serde_json::{Value, json};

const SCRIPT: &str = r#"
import attest, helper

@attest.setup
def base(m, state):
    assert state is None
    m.succeed("echo made > /tmp/made")
    return helper.STATE

@attest.setup(after=base)
def silent(m, state):
    assert state == helper.STATE

@attest.test(setup=base)
def reads(lab, m, state):
    assert state == helper.STATE, state
    t.assertEqual(lab["m"].succeed("cat /tmp/made"), "made\n")
    return 7

def test_fails(m):
    m.succeed("exit 3")

def test_wants(colour): ...

@attest.setup
def bad(): return {1}
"#;

/// A lab whose machine is ready; `None` where this host runs no containers.
async fn lab(directory: &Path) -> Option<Lab> {
    let found = attest::doctor::examine();
    let nspawn = found.iter().find(|finding| finding.what == "nspawn");
    let nspawn = nspawn.expect("the doctor looks at it");
    if !nspawn.works {
        eprintln!("skipped: {}", nspawn.detail);
        return None;
    }
    let manifest = directory.join("attest.toml");
    fs::write(&manifest, "[machines.m]\nbackend = \"nspawn\"\n").unwrap();
    fs::create_dir(directory.join("out")).unwrap();
    let plan = Manifest::load(&manifest).unwrap().plan().unwrap();
    let context = LabContext {
        recorder: Recorder::silent(),
        output: directory.join("out"),
        cache: None,
        snapshots: SnapshotUse::Never,
    };
    let lab = Lab::create(plan, context).await.unwrap();
    lab.start_all().await.unwrap();
    Some(lab)
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_run_alone_and_hand_their_values_on() {
    let directory = tempfile::tempdir().unwrap();
    let Some(lab) = lab(directory.path()).await else {
        return;
    };
    let script = directory.path().join("script.py");
    fs::write(&script, SCRIPT).unwrap();
    let helper = "STATE = {\"a\": [1, 2.5, \"\u{fc}\", None]}\n";
    fs::write(directory.path().join("helper.py"), helper).unwrap();
    let artifacts = directory.path().join("artifacts");
    let recorder = Recorder::silent();
    let run = async |part: ScriptPart| {
        let scripts = Scripts::default();
        let ran = scripts.run(&lab, &recorder, &script, &part, &artifacts);
        ran.await.unwrap()
    };
    let passed = |verdict: ScriptVerdict| match verdict {
        ScriptVerdict::Passed(value) => value,
        other => panic!("{other:?}"),
    };
    let failed = |verdict: ScriptVerdict| match verdict {
        ScriptVerdict::Failed(detail) => detail.message,
        other => panic!("{other:?}"),
    };
    let setup = |name: &str, value: Value| ScriptPart::Setup {
        name: name.to_owned(),
        value,
    };
    let test = |name: &str, value: Value| ScriptPart::Test {
        name: name.to_owned(),
        value,
    };

    let state = passed(run(setup("base", Value::Null)).await);
    assert_eq!(state, json!({ "a": [1, 2.5, "\u{fc}", null] }));
    let silent = passed(run(setup("silent", state.clone())).await);
    assert_eq!(silent, Value::Null);
    // What a test returns is nobody's.
    assert_eq!(passed(run(test("reads", state)).await), Value::Null);

    let message = failed(run(test("test_fails", Value::Null)).await);
    assert!(message.contains("in test_fails\n"), "{message}");
    assert!(message.contains("command `exit 3` failed"), "{message}");
    let message = failed(run(test("test_wants", Value::Null)).await);
    assert!(
        message.ends_with("takes `colour`, which is none of `m`, `machine`, `lab`, `state`"),
        "{message}"
    );
    let message = failed(run(setup("bad", Value::Null)).await);
    assert!(message.contains("`bad` returned is no state"), "{message}");
    lab.shutdown().await;
}
