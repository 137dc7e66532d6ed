//! Processes of labs, with their networks and cards, that are started before anybody waits for them: next to nothing of it
//! is work, but the kernel takes its time where the networks of the lab before are just going.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use attest_lab::{LabContent, LabError, LabProcess, NetworkSpec};
use attest_manifest::{Backend, LabPlan, MachinePlan, NetworkPlan};
use futures_util::FutureExt;
use tokio::task::JoinHandle;

use super::{Backends, Wires, unpack_agent};

/// The next process for labs of one plan.
#[derive(Debug, Default)]
pub(crate) struct Ahead(Mutex<Next>);

#[derive(Debug, Default)]
struct Next {
    /// How many more labs are going to be made.
    expected: usize,
    starting: Option<JoinHandle<Result<Taken, LabError>>>,
}

/// The process of a lab.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) process: LabProcess,
    /// Of those of its machines that are connected already.
    pub(crate) wires: Wires,
    /// What it had used of the processors before anybody waited for it.
    pub(crate) used_ahead: Duration,
}

impl Ahead {
    /// So many more labs are going to be made.
    pub(crate) fn expect(&self, labs: usize) {
        self.next().expected += labs;
    }

    /// Start the next, where one is expected and none waits.
    pub(crate) fn fill(&self, plan: &LabPlan, backends: &Arc<Backends>) {
        let mut next = self.next();
        if next.expected > 0 && next.starting.is_none() {
            let (plan, backends) = (plan.clone(), Arc::clone(backends));
            next.starting = Some(tokio::spawn(async move {
                let mut taken = start(&plan).await?;
                taken.wires = Wires::of(&taken.process, &plan, &backends).await?;
                Ok(taken)
            }));
        }
    }

    /// That which waits, else a new one.
    ///
    /// # Errors
    /// The new one cannot be started.
    pub(crate) async fn take(&self, plan: &LabPlan) -> Result<Taken, LabError> {
        if content(plan) == LabContent::Containers {
            unpack_agent();
        }
        let starting = {
            let mut next = self.next();
            next.expected = next.expected.saturating_sub(1);
            next.starting.take()
        };
        if let Some(starting) = starting
            // Why one does not start, or has ended, is told when that happens again.
            && let Ok(Ok(mut taken)) = starting.await
            && taken.process.ended().now_or_never().is_none()
        {
            let used = crate::cpu_of_process(taken.process.pid());
            taken.used_ahead = used.unwrap_or_default();
            return Ok(taken);
        }
        start(plan).await
    }

    /// No more labs are made: what waits is ended.
    pub(crate) async fn end(&self) {
        let starting = {
            let mut next = self.next();
            next.expected = 0;
            next.starting.take()
        };
        if let Some(starting) = starting
            && let Ok(Ok(taken)) = starting.await
        {
            taken.process.end().await;
        }
    }

    fn next(&self) -> MutexGuard<'_, Next> {
        self.0.lock().expect("nobody panics with it")
    }
}

async fn start(plan: &LabPlan) -> Result<Taken, LabError> {
    let networks: Vec<_> = plan.networks.iter().map(network).collect();
    Ok(Taken {
        process: LabProcess::start(attest_embed::LAB, &networks, content(plan)).await?,
        wires: Wires::default(),
        used_ahead: Duration::ZERO,
    })
}

fn content(plan: &LabPlan) -> LabContent {
    let is_container = |machine: &MachinePlan| machine.backend == Backend::Nspawn;
    if plan.machines.iter().any(is_container) {
        LabContent::Containers
    } else {
        LabContent::Programs
    }
}

fn network(plan: &NetworkPlan) -> NetworkSpec {
    NetworkSpec {
        name: plan.name.clone(),
        mtu: plan.mtu,
        addresses: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn plan() -> LabPlan {
        crate::Lab::builder().machine("a").plan().unwrap()
    }

    fn fill(ahead: &Ahead) {
        ahead.fill(&plan(), &Arc::new(Backends::new(Path::new("/tmp"))));
    }

    async fn took(ahead: &Ahead) -> Option<u32> {
        match ahead.take(&plan()).await {
            Ok(taken) => Some(taken.process.pid()),
            Err(error) => {
                eprintln!("SKIPPED: this host has no labs: {error}");
                None
            }
        }
    }

    async fn waits(ahead: &Ahead) -> bool {
        let starting = ahead.next().starting.take();
        let Some(starting) = starting else {
            return false;
        };
        let started = starting.await.unwrap();
        ahead.next().starting = Some(tokio::spawn(async { started }));
        true
    }

    #[tokio::test]
    async fn one_waits_for_each_lab_that_is_expected() {
        let ahead = Ahead::default();
        let Some(_) = took(&ahead).await else { return };
        fill(&ahead);
        assert!(!waits(&ahead).await, "none is expected");
        ahead.expect(2);
        for _ in 0..2 {
            fill(&ahead);
            fill(&ahead);
            assert!(waits(&ahead).await);
            took(&ahead).await.unwrap();
        }
        fill(&ahead);
        assert!(!waits(&ahead).await);
    }

    #[tokio::test]
    async fn one_that_has_ended_is_nobody_s() {
        let ahead = Ahead::default();
        let Some(_) = took(&ahead).await else { return };
        ahead.expect(1);
        fill(&ahead);
        let ended = {
            let starting = ahead.next().starting.take().unwrap();
            let waiting = starting.await.unwrap().unwrap();
            waiting.process.end().await;
            waiting.process.ended().await;
            waiting
        };
        let pid = ended.process.pid();
        ahead.next().starting = Some(tokio::spawn(async { Ok(ended) }));
        assert_ne!(took(&ahead).await, Some(pid));
    }

    #[tokio::test]
    async fn what_nobody_took_is_ended() {
        let ahead = Ahead::default();
        let Some(_) = took(&ahead).await else { return };
        ahead.expect(1);
        fill(&ahead);
        ahead.end().await;
        fill(&ahead);
        assert!(!waits(&ahead).await);
    }
}
