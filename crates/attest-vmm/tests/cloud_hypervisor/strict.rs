//! The fake is as strict as what it stands for: its answers are those of a Cloud Hypervisor 53, which is asked the same
//! where there is one.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use attest_lab::ProcessExit;
use attest_vmm::{Launched, Launcher, Program, cloud_hypervisor, find_program_in};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::children::Children;
use crate::common::host::alone;
use crate::common::program::Fakes;
use crate::common::raw::Raw;
use crate::support::CloudHypervisor;

/// A Cloud Hypervisor without attest's client.
struct Alone {
    place: TempDir,
    launched: Arc<dyn Launched>,
    /// Its end of what it tells.
    _events: std::io::PipeReader,
}

/// The real one, if it is of the version whose words are known here, and can start.
fn real() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let program = find_program_in(Path::new(cloud_hypervisor::PROGRAM), &path)?;
    let memo = tempfile::tempdir().unwrap();
    let found = cloud_hypervisor::find(&program, memo.path()).ok()?;
    let kvm = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm");
    (found.version.major == 53 && kvm.is_ok()).then_some(program)
}

impl Alone {
    /// The fake, and the real one.
    async fn each() -> Vec<Self> {
        let fakes = Fakes::new(CloudHypervisor::default());
        let mut each = vec![Self::start("cloud-hypervisor".into(), &fakes).await];
        match real() {
            Some(program) => each.push(Self::start(program, &Children).await),
            None => {
                eprintln!("SKIPPED: there is no Cloud Hypervisor 53 to compare the fake with");
            }
        }
        each
    }

    async fn start(path: PathBuf, launcher: &dyn Launcher) -> Self {
        let place = tempfile::tempdir().unwrap();
        let null = || -> OwnedFd {
            let mut options = std::fs::OpenOptions::new();
            options.write(true).open("/dev/null").unwrap().into()
        };
        let (events, happened) = std::io::pipe().unwrap();
        let mut program = Program {
            path,
            args: Vec::new(),
            environment: Vec::new(),
            directory: Some(place.path().to_owned()),
            input: None,
            output: null(),
            errors: None,
            fds: Vec::new(),
            listens: false,
            on_host_network: false,
            own_group: false,
        };
        let listener = UnixListener::bind(place.path().join("api")).unwrap();
        let (api, happened) = (program.pass(listener.into()), program.pass(happened.into()));
        let (api, happened) = (format!("fd={api}"), format!("fd={happened}"));
        let args = ["--api-socket", &api, "--event-monitor", &happened];
        program.args = args.map(Into::into).into();
        let start = {
            let _alone = alone();
            launcher.launch(program)
        };
        Self {
            place,
            launched: start.await.unwrap(),
            _events: events,
        }
    }
}

/// Call after call; each answer begins so, and is this.
async fn each(raw: &mut Raw, calls: &[(&str, Value, u16, &[&str])]) {
    for (what, body, status, chain) in calls {
        let what = what.replace(' ', " /api/v1/");
        let (answered, text) = raw.call(&what, body.clone()).await;
        assert_eq!(answered, *status, "{what} {body}: {text}");
        if *status >= 400 {
            let expected = if chain.is_empty() {
                String::new()
            } else {
                json!(chain).to_string()
            };
            assert_eq!(text, expected, "{what} {body}");
        }
    }
}

#[tokio::test]
async fn calls_that_are_none() {
    for alone in Alone::each().await {
        let mut raw = Raw::connect(alone.place.path()).await;
        let key = "key must be a string at line 1 column 2";
        each(
            &mut raw,
            &[
                ("GET vmm.ping", Value::Null, 200, &[]),
                ("GET nothing", Value::Null, 404, &["Not Found"]),
                ("GET vm.boot", Value::Null, 400, &["Bad Request"]),
                ("PUT vm.create", Value::Null, 400, &[]),
                (
                    "PUT vm.create",
                    json!("{nonsense"),
                    400,
                    &["Failed to deserialize JSON", key],
                ),
                ("GET vmm.ping", Value::Null, 200, &[]),
            ],
        )
        .await;
        raw.send("POST /api/v1/vm.boot HTTP/1.1\r\n\r\n").await;
        let (status, text) = raw.answer().await;
        assert_eq!(status, 400);
        assert!(
            text.starts_with("{ \"error\": \"Invalid HTTP Method"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn each_state_allows_its_own_calls() {
    const API: &str = "Error from API";
    for alone in Alone::each().await {
        let mut raw = Raw::connect(alone.place.path()).await;
        let file = |name: &str| json!({ name: "file://snapshot" });
        let absent = "Destination is not a directory: \"snapshot\"";
        let sends = "Failed to send migratable component snapshot";
        let no_url = "Could not extract path from URL: snapshot";
        let restored = "The VM could not be restored";
        let paused = [API, "The VM could not be paused", "VM is not running"];
        let resumed = [API, "The VM could not resume", "VM is not running"];
        let snapshot = [API, "The VM could not be snapshotted", "VM is not running"];
        let created = [API, "The VM could not be created", "VM is already created"];
        each(
            &mut raw,
            &[
                (
                    "GET vm.info",
                    Value::Null,
                    404,
                    &[API, "The VM info is not available", "VM is not created"],
                ),
                (
                    "PUT vm.boot",
                    Value::Null,
                    404,
                    &[API, "The VM could not boot", "VM config is missing"],
                ),
                (
                    "PUT vm.resize",
                    json!({ "desired_balloon": 0 }),
                    404,
                    &[API, "The VM could not be resized", "VM is not created"],
                ),
                ("PUT vm.pause", Value::Null, 500, &paused),
                ("PUT vm.resume", Value::Null, 500, &resumed),
                ("PUT vm.snapshot", file("destination_url"), 500, &snapshot),
                (
                    "PUT vm.restore",
                    file("source_url"),
                    500,
                    &[API, restored, "Cannot restore VM", sends, absent],
                ),
                (
                    "PUT vm.restore",
                    json!({ "source_url": "snapshot" }),
                    500,
                    &[API, restored, "Cannot restore VM", sends, no_url],
                ),
                (
                    "PUT vm.create",
                    json!({ "rng": { "src": "/dev/urandom" } }),
                    204,
                    &[],
                ),
                ("PUT vm.create", json!({}), 500, &created),
                ("GET vm.info", Value::Null, 200, &[]),
                (
                    "PUT vm.restore",
                    file("source_url"),
                    500,
                    &[API, restored, "VM is already created"],
                ),
                ("PUT vm.pause", Value::Null, 500, &paused),
                (
                    "PUT vm.boot",
                    Value::Null,
                    500,
                    &[
                        API,
                        "The VM could not boot",
                        "Failed to validate config",
                        "Payload configuration is not bootable",
                        "No bootitem provided: neither firmware nor kernel",
                    ],
                ),
            ],
        )
        .await;
    }
}

#[tokio::test]
async fn what_is_broken_is_not_restored_and_nothing_ends() {
    for alone in Alone::each().await {
        let mut raw = Raw::connect(alone.place.path()).await;
        let snapshot = alone.place.path().join("snapshot");
        std::fs::create_dir(&snapshot).unwrap();
        std::fs::write(snapshot.join("config.json"), "{").unwrap();
        std::fs::write(snapshot.join("state.json"), "{").unwrap();
        let source = json!({ "source_url": "file://snapshot" });
        let chain = [
            "Error from API",
            "The VM could not be restored",
            "Cannot restore VM",
            "Failed to receive migratable component snapshot",
            "Error deserialising VM config snapshot",
            "EOF while parsing an object at line 1 column 1",
        ];
        each(
            &mut raw,
            &[
                ("PUT vm.restore", source, 500, &chain),
                ("GET vmm.ping", Value::Null, 200, &[]),
            ],
        )
        .await;
        alone.launched.signal(9);
        assert_eq!(alone.launched.exited().await, ProcessExit::Signal(9));
    }
}
