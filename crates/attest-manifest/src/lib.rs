//! The file that declares a lab: types, schema, checks, and errors that point at the text.
//!
//! A manifest is TOML (`attest.toml`), or JSON of the same schema. [`Manifest::load`] reads it,
//! [`Manifest::plan`] checks everything and fills in every default. The same values can be made
//! in code: [`ManifestFile`].
//!
//! ```
//! let text = "[machines.server]\nmemory = \"128M\"\n";
//! let plan = text.parse::<attest_manifest::Manifest>()?.plan()?;
//! assert_eq!(plan.machines[0].memory, 128 << 20);
//! # Ok::<(), attest_manifest::ManifestError>(())
//! ```

mod error;
mod manifest;
mod model;
mod plan;
mod problem;
mod render;
mod source;

pub use indexmap::IndexMap;

pub use error::{Diagnostic, Invalid, ManifestError, Position, Related};
pub use manifest::{DEFAULT_NAME, Manifest, schema};
pub use model::{
    Accelerator, Backend, Copy, CopyOnWrite, Debian, Defaults, Disk, FileEntry, FileSource, Image,
    ImageDefinition, ImageFiles, Isolation, Jailer, Kernel, Machine, MachineNetwork,
    MachineNetworkSettings, MachineType, ManifestFile, Network, OneOrMany, Profile, Rate,
    RootFormat, RustTest, Setup, Size, SizeError, Ssh, Step, Test, TimeSpan, TimeSpanError,
    Timeouts, UnitAction, Units, User, Wait,
};
pub use plan::{
    ActionPlan, CardPlan, CommandPlan, DebianPlan, DiskContent, DiskPlan, ExpectedStatus,
    FileContent, FilePlan, ImagePlan, KernelPlan, LabPlan, MachineGroup, MachinePlan, MachineUse,
    NetworkPlan, ProgramPlan, RatePlan, RustTestPlan, RustTestSource, ScriptPlan, SetupKind,
    SetupPlan, SourcePlan, SshPlan, StepPlan, Subnet, SubnetError, SystemPlan, TestKind, TestPlan,
    TimeoutPlan, UnitPlan, UnitVerb, WaitPlan, WaitTarget,
};
