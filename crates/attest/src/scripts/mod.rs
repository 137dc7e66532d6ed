//! Labs of start scripts: machines that others made, as NixOS does (`run-NAME-vm`), on VLANs of
//! `vde_switch`. What is declared is only how they are started; no image, no network and no set-up of
//! attest's takes part, so that unmodified scripts find what the NixOS test driver gives them.

mod cards;
mod directories;
mod name;
mod vlan;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use attest_events::Phase;
use attest_lab::{LabContent, LabProcess, Scripts};
use attest_manifest::{Backend, Isolation, LabPlan, MachinePlan, ScriptPlan, TimeoutPlan};
use attest_vmm::probe::{KvmProbe, kvm};

use crate::boot;
use crate::error::Result;
use crate::lab::{self, Lab, LabContext, Shared};
use crate::machine::Machine;
use crate::runtime::wait_all;

pub use directories::{shared_directory, state_directory};
pub use vlan::Vlan;
pub(crate) use vlan::{probe_cards_of_containers, probe_vlans};

/// What a lab of start scripts is made of.
#[derive(Debug, Clone)]
pub struct ScriptsPlan {
    /// In order.
    pub machines: Vec<ScriptMachine>,
    /// Their numbers; one that is there twice is the same VLAN.
    pub vlans: Vec<u32>,
    /// Where directories of machines, what they share, and sockets of VLANs go. Made when it is
    /// missing.
    pub base: PathBuf,
    /// Whether what machines wrote in earlier runs stays.
    pub keep_state: bool,
    /// Whether attest's agent is put into the guests.
    pub agent: AgentUse,
    /// How long things may take.
    pub timeouts: TimeoutPlan,
    /// The scripts' environment. Sockets of VLANs are added to it.
    pub environment: Vec<(OsString, OsString)>,
}

impl ScriptsPlan {
    /// Of no machines yet, below this directory, with attest's own environment and time-outs.
    pub fn new(base: impl Into<PathBuf>) -> Self {
        Self {
            machines: Vec::new(),
            vlans: Vec::new(),
            base: base.into(),
            keep_state: false,
            agent: AgentUse::Auto,
            timeouts: TimeoutPlan::default(),
            environment: std::env::vars_os().collect(),
        }
    }
}

/// A machine by a start script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptMachine {
    /// Its name for attest; the guest has its own.
    pub name: String,
    /// A program with its arguments, for `sh -c`.
    pub command: String,
    /// What it starts.
    pub kind: ScriptKind,
}

/// What a start script starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptKind {
    /// A virtual machine.
    Vm,
    /// A container.
    Container,
}

/// Whether attest's agent is put into guests, through their root shell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AgentUse {
    /// Where it is possible. Waits are events then, and commands run side by side.
    #[default]
    Auto,
    /// Guests are left as they are.
    Never,
}

/// What can be wrong with a lab of start scripts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptsError {
    /// Two machines have one name.
    #[error(
        "there are two machines `{0}`; give one of them another name, or end the first before the second begins"
    )]
    SameName(String),
    /// A name that cannot be one of a directory.
    #[error(
        "`{0}` cannot be a machine's name: it must not be empty, and without `/` and control characters"
    )]
    Name(String),
    /// Two cards have one hardware address.
    #[error(
        "the cards of {} have the same hardware address {address}: they would take each other's packets; \
         give the machines different numbers, or different `mac=`", machines.join(" and ")
    )]
    SameAddress {
        /// The address.
        address: String,
        /// Whose; one that is there twice has two such cards.
        machines: Vec<String>,
    },
    /// A VLAN cannot be.
    #[error("VLAN {number}: {reason}")]
    Vlan {
        /// Which.
        number: u32,
        /// Why not, and what to do.
        reason: String,
    },
    /// A container for a lab that was made without.
    #[error("{0}: the lab was made for virtual machines alone, and takes no container")]
    NoContainers(String),
    /// The lab is of a manifest.
    #[error("only a lab of start scripts takes more machines, and an environment")]
    NoScripts,
    /// A directory cannot be made, or cleared.
    #[error("the directory {} cannot be made anew; another can be named in $XDG_RUNTIME_DIR", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl Lab {
    /// Make a lab of start scripts, with every machine off.
    ///
    /// # Errors
    /// Machines that cannot be in one lab, directories that cannot be made, VLANs that cannot be
    /// started.
    pub async fn of_scripts(plan: ScriptsPlan, context: LabContext) -> Result<Self> {
        let recorder = context.recorder;
        recorder.lab_started(plan.machines.iter().map(|machine| &machine.name));
        if plan.agent == AgentUse::Auto {
            boot::unpack_agent();
        }
        check(&plan.machines)?;
        cards::check(&plan.machines)?;
        let kinds = content(&plan);
        let base = directories::base(&plan.base)?;
        let numbers: BTreeSet<u32> = plan.vlans.iter().copied().collect();
        let maker = Maker {
            base: base.clone(),
            pushes_agent: plan.agent == AgentUse::Auto,
        };
        let machines = (1..).zip(&plan.machines);
        let machines =
            machines.map(|(number, machine)| maker.plan(machine, number, plan.keep_state));
        let machines = machines.collect::<Result<_>>()?;
        let lab = LabPlan {
            name: "lab".to_owned(),
            directory: None,
            networks: Vec::new(),
            images: Vec::new(),
            machines,
            isolation: Isolation::default(),
            setups: Vec::new(),
            tests: Vec::new(),
            timeouts: plan.timeouts,
        };
        let prepared = boot::nothing_to_prepare(&context.output);
        prepared.backends.check(&lab)?;
        recorder.enter(Phase::Spawn);
        let process = LabProcess::start(attest_embed::LAB, &[], LabContent::Scripts(kinds)).await?;
        let vlans = numbers
            .iter()
            .map(|number| Vlan::start(&process, &base, *number, kinds.containers));
        let vlans = wait_all(vlans).await.into_iter();
        let vlans = vlans.collect::<Result<Vec<_>>>()?;
        for vlan in &vlans {
            vlan.watch(recorder.clone());
        }
        let scripts = LabOfScripts {
            maker,
            vlans,
            content: kinds,
            environment: RwLock::default(),
        };
        scripts.set(plan.environment);
        Ok(Self::of(Shared {
            plan: lab,
            process: Arc::new(process),
            waited_ns: std::sync::atomic::AtomicU64::new(0),
            used_ahead: std::time::Duration::ZERO,
            wires: boot::Wires::default(),
            images: prepared.images,
            backends: prepared.backends,
            ahead: prepared.ahead,
            agent: tokio::sync::OnceCell::new(),
            scripts: Some(scripts),
            recorder,
            kept: std::sync::Mutex::new(None),
            output: context.output,
        }))
    }

    /// The VLANs of a lab of start scripts, by their numbers.
    pub fn vlans(&self) -> &[Vlan] {
        let scripts = self.shared.scripts.as_ref();
        scripts.map_or(&[], |scripts| scripts.vlans.as_slice())
    }

    /// The directory that machines of a lab of start scripts share with the host.
    pub fn shared_dir(&self) -> Option<PathBuf> {
        let scripts = self.shared.scripts.as_ref();
        scripts.map(|scripts| directories::shared_directory(&scripts.maker.base))
    }

    /// The environment of scripts that start from now on, in the place of that of the plan. Sockets of
    /// VLANs are added to it.
    ///
    /// # Errors
    /// The lab is none of start scripts.
    pub fn set_environment(&self, environment: Vec<(OsString, OsString)>) -> Result<()> {
        let scripts = self.shared.scripts.as_ref();
        scripts.ok_or(ScriptsError::NoScripts)?.set(environment);
        Ok(())
    }

    /// Add a machine to a lab of start scripts; it is off. What it wrote in earlier runs stays where
    /// `keep_state`. It takes the place of one of its name that does not run. Containers can be added
    /// only to labs that were made with some.
    ///
    /// # Errors
    /// One of its name runs, its directory cannot be made, or the lab takes none such.
    pub fn add_script_machine(&self, machine: &ScriptMachine, keep_state: bool) -> Result<Machine> {
        let Some(scripts) = &self.shared.scripts else {
            return Err(ScriptsError::NoScripts.into());
        };
        if machine.kind == ScriptKind::Container && !scripts.content.containers {
            return Err(ScriptsError::NoContainers(machine.name.clone()).into());
        }
        name(&machine.name)?;
        let before = self.machine(&machine.name);
        if before.is_ok_and(|before| before.is_running()) {
            return Err(ScriptsError::SameName(machine.name.clone()).into());
        }
        let mut added = self.added.write().expect("not poisoned");
        let number = self.machines().len() + added.len() + 1;
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let plan = scripts.maker.plan(machine, number, keep_state)?;
        let machine = lab::machine(&self.shared, &plan);
        added.retain(|known| known.name() != machine.name());
        added.push(machine.clone());
        Ok(machine)
    }
}

/// What only a lab of start scripts has.
#[derive(Debug)]
pub(crate) struct LabOfScripts {
    maker: Maker,
    vlans: Vec<Vlan>,
    content: Scripts,
    environment: RwLock<Environment>,
}

/// Names and values.
type Environment = Vec<(OsString, OsString)>;

impl LabOfScripts {
    /// Of a script that starts now.
    pub(crate) fn environment(&self) -> Environment {
        self.environment.read().expect("not poisoned").clone()
    }

    fn set(&self, mut environment: Environment) {
        environment.extend(self.vlans.iter().map(Vlan::variable));
        *self.environment.write().expect("not poisoned") = environment;
    }

    /// Remove the sockets of a lab that has ended, which would outlive it: what machines wrote
    /// stays.
    pub(crate) fn clear(&self, machines: &[Machine]) {
        for vlan in &self.vlans {
            // Whoever comes next can do without this.
            let _ = std::fs::remove_dir_all(vlan.socket_dir());
        }
        for state in machines.iter().filter_map(Machine::state_dir) {
            directories::remove_sockets(state);
        }
    }
}

/// Makes machines.
#[derive(Debug)]
struct Maker {
    base: PathBuf,
    pushes_agent: bool,
}

impl Maker {
    fn plan(&self, machine: &ScriptMachine, number: u32, keep_state: bool) -> Result<MachinePlan> {
        let script = ScriptPlan {
            command: machine.command.clone(),
            state: directories::state(&self.base, &machine.name, keep_state)?,
            shared: directories::shared_directory(&self.base),
            pushes_agent: self.pushes_agent,
        };
        let backend = match machine.kind {
            ScriptKind::Vm => Backend::VmScript,
            ScriptKind::Container => Backend::ContainerScript,
        };
        Ok(MachinePlan::of_script(
            &machine.name,
            number,
            backend,
            script,
        ))
    }
}

fn content(plan: &ScriptsPlan) -> Scripts {
    let is_container = |machine: &ScriptMachine| machine.kind == ScriptKind::Container;
    Scripts {
        containers: plan.machines.iter().any(is_container),
        // Scripts take KVM where it opens, and fall back where it does not.
        without_kvm: matches!(kvm(), KvmProbe::Doubtful(_)),
    }
}

fn check(machines: &[ScriptMachine]) -> Result<(), ScriptsError> {
    let mut names = BTreeSet::new();
    for machine in machines {
        name(&machine.name)?;
        if !names.insert(&machine.name) {
            return Err(ScriptsError::SameName(machine.name.clone()));
        }
    }
    Ok(())
}

/// Whether it can be a part of paths.
fn name(name: &str) -> Result<(), ScriptsError> {
    let is_good = !name.is_empty() && !name.contains(|c: char| c == '/' || c.is_control());
    is_good
        .then_some(())
        .ok_or_else(|| ScriptsError::Name(name.to_owned()))
}
