//! The lab process: owns the namespaces of one lab and everything that runs in them.
//!
//! A lab is one process in its own mount, pid, net, ipc and uts namespaces (and a user
//! namespace when the caller is not root). It is PID 1 there: when it dies, however it dies,
//! the kernel ends every process of the lab and removes its TAPs, bridges and mounts. It ends
//! by itself when its control socket closes, so the death of the driver ends it too.
//!
//! This library is the driver's side; the binary `attest-lab` is the process, carried inside
//! attest as bytes and run from memory, so that it needs no file. What the binary runs is in
//! [`inside`].

mod cgroup;
mod driver;
mod error;
pub mod inside;
mod launch;
mod named;
mod place;
pub mod probe;
mod process;
mod reader;
mod socket;
mod spec;
mod wire;
mod words;

pub use driver::LabProcess;
pub use error::{LabEnd, LabError};
pub use place::{Directory, LastingTap};
pub use process::{Process, ProcessExit};
pub use spec::{LabContent, NetworkSpec, Scripts, Spawn};
