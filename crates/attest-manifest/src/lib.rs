//! The file that declares a lab: its types and schema, its checks, and errors that point at the
//! text.
//!
//! [`Manifest::load`] reads TOML or JSON of the same schema; [`Manifest::plan`] checks it and
//! works out what it leaves open: addresses, MACs, sizes.

mod addresses;
mod check;
mod error;
mod file;
mod load;
mod plan;
mod source;
mod steps;
mod values;

pub use error::{Diagnostic, ManifestError};
pub use file::{
    Card, Disk, FileEntry, Image, Machine, ManifestFile, Network, RustTest, Step, Test, Timeouts, Wait, schema,
};
pub use load::Manifest;
pub use plan::{
    ActionPlan, CardPlan, CommandPlan, DiskPlan, ExpectedStatus, FileContent, FilePlan, ImagePlan, LabPlan, MachinePlan,
    NetworkPlan, ProgramPlan, RustTestPlan, RustTestSource, StepPlan, TestKind, TestPlan, TimeoutPlan, WaitPlan,
    WaitTarget,
};
pub use values::{Accelerator, Backend, Mac, MachineType, Mode, Size, Time};
