//! Test whole systems from Rust: labs of machines, driven by events.
//!
//! A [`Lab`] is the machines and networks of one test, alive together. Declare it in a
//! manifest or in code, boot it, and drive its [`Machine`]s: run commands, wait for what
//! should happen, copy files, forward ports. Everything is `async`; [`Run::run`] on any of it
//! is the blocking face.
//!
//! ```no_run
//! use attest::{Lab, Run};
//!
//! fn main() -> attest::Result<()> {
//!     let lab = Lab::builder().network("lan").machine("server").machine("client").boot().run()?;
//!     let server = lab.machine("server")?;
//!     let client = lab.machine("client")?;
//!     server.shell("mkdir /www && echo hello > /www/index.html && httpd -h /www").run()?;
//!     server.wait_for_port(80).run()?;
//!     let page = client.shell("wget -qO- http://server/").run()?;
//!     assert_eq!(page.text(), "hello\n");
//!     lab.shutdown().run();
//!     Ok(())
//! }
//! ```
//!
//! In tests, `#[attest::test]` provides the lab and shuts it down; what several of them begin with is done once, by
//! an `#[attest::setup]`:
//!
//! ```no_run
//! #[attest::setup(manifest = "examples/web/attest.toml")]
//! async fn serving(lab: &attest::Lab) -> attest::Result<u16> {
//!     let server = lab.machine("server")?;
//!     server.shell("httpd -p 8080 -h /etc").await?;
//!     server.wait_for_port(8080).await?;
//!     Ok(8080)
//! }
//!
//! #[attest::test(setup = serving)]
//! async fn server_answers(lab: attest::Lab, port: u16) -> attest::Result<()> {
//!     lab.machine("client")?.shell(format!("wget -qO- http://server:{port}/hosts")).await?;
//!     Ok(())
//! }
//! ```

mod balloon;
mod boot;
mod command;
mod console;
mod copy;
mod cpu;
pub mod doctor;
mod error;
mod forward;
pub mod harness;
pub mod images;
mod lab;
mod life;
mod limit;
mod machine;
mod monitor;
mod pattern;
mod recorder;
pub mod run;
mod runtime;
pub mod schedule;
mod screen;
pub mod scripts;
mod session;
mod setup;
mod snapshot;
pub mod systemd;
mod wait;

pub use attest_events as events;
pub use attest_macros::{setup, test};
pub use attest_manifest as manifest;
pub use attest_manifest::{Accelerator, Backend};
pub use attest_protocol::chain;
pub use attest_protocol::message::{ExitStatus, Stats, TerminalSize};
pub use attest_screen::{Png, ScreenError, key_of};
pub use attest_vmm::BalloonStatistics;
pub use attest_vmm::qmp::QmpError;
pub use command::{Child, ChildEvent, ChildInput, Command, DEFAULT_OUTPUT_LIMIT, Output};
pub use console::ConsoleLines;
pub use copy::{Download, Upload};
pub use cpu::of_process as cpu_of_process;
pub use error::{CommandFailure, Error, Result};
pub use forward::{Endpoint, Forward};
pub use lab::{Lab, LabBuilder, LabContext, Network};
pub use life::Session;
pub use machine::Machine;
pub use recorder::{EventStream, Recorder};
pub use runtime::{Run, wait_all};
pub use snapshot::{MachineSnapshot, Snapshot, SnapshotUse, SnapshotUseError, setups_of};
pub use wait::{Met, Wait};
