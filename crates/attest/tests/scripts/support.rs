//! What these tests share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use attest::events::EventKind;
use attest::scripts::{AgentUse, ScriptKind, ScriptMachine, ScriptsPlan};
use attest::{EventStream, Lab, LabContext, Recorder, Result, SnapshotUse};
use attest_fixture::{Fixture, Node};

/// A lab of start scripts and the directories that it has.
pub(crate) struct Scene {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) plan: ScriptsPlan,
    pub(crate) context: LabContext,
    pub(crate) events: EventStream,
}

impl Scene {
    /// Of no machines.
    pub(crate) fn empty() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("out");
        std::fs::create_dir(&output).unwrap();
        let mut plan = ScriptsPlan::new(directory.path().join("base"));
        plan.timeouts.boot = Duration::from_mins(2);
        plan.agent = AgentUse::Never;
        plan.environment
            .retain(|(name, _)| name != "DISPLAY" && name != "WAYLAND_DISPLAY");
        let (recorder, events) = Recorder::new(std::time::Instant::now());
        Self {
            directory,
            plan,
            context: LabContext {
                recorder,
                output,
                cache: None,
                snapshots: SnapshotUse::Never,
            },
            events,
        }
    }

    /// Of these nodes, or `None` with the reason told.
    pub(crate) fn of(nodes: &[Node]) -> Option<Self> {
        let written = |scene: &Scene| Fixture::new()?.write_all(scene.directory.path(), nodes);
        let mut scene = Self::empty();
        match written(&scene) {
            Ok(scripts) => {
                for (node, script) in nodes.iter().zip(scripts) {
                    scene.add(&node.name, &script);
                }
                Some(scene)
            }
            Err(error) => {
                eprintln!("SKIPPED: {error}: {:?}", std::error::Error::source(&error));
                None
            }
        }
    }

    pub(crate) fn add(&mut self, name: &str, script: &Path) {
        self.plan.machines.push(ScriptMachine {
            name: name.to_owned(),
            command: script.display().to_string(),
            kind: ScriptKind::Vm,
        });
    }

    /// One machine, `a`, with a start script of this text.
    pub(crate) fn of_script(text: &str) -> Self {
        let mut scene = Self::empty();
        let path = scene.directory.path().join("run-a-vm");
        attest_fixture::write_script(&path, text).unwrap();
        scene.add("a", &path);
        scene
    }

    pub(crate) async fn lab(&self) -> Result<Lab> {
        Lab::of_scripts(self.plan.clone(), self.context.clone()).await
    }

    /// Whether there was such a warning, of labs that are gone.
    pub(crate) async fn warned(mut self, text: &str) -> bool {
        self.context.recorder = Recorder::silent();
        let mut warned = false;
        while let Some(event) = self.events.next().await {
            warned |= matches!(&event.kind, EventKind::Warning { message } if message == text);
        }
        warned
    }

    pub(crate) fn base(&self) -> PathBuf {
        self.plan.base.clone()
    }
}
