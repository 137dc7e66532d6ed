//! Watches the systemd of a machine for the events, over all its boots: how the boot went, and
//! what the journal says from then on.
//!
//! The journal is read when the boot is finished: a program that reads it while an emulated
//! machine boots would make that boot longer, and what was written until then comes all the same.
//! To listen for that end costs less than boots differ among themselves.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use attest_events::{BootTimes, EventKind, UnitTime};
use attest_manifest::Backend;
use attest_systemd::journal::{Entry, Parser, Since, follow};
use attest_systemd::{BootBreakdown, Startup};

use super::connect::FOREVER;
use super::{Whose, journal};
use crate::command::ChildEvent;
use crate::machine::{Inner, Machine};
use crate::runtime::Background;
use crate::session::{Session, State};
use crate::setup;

/// How long a machine that goes on is left alone before its journal is followed, so that short tests do not pay for
/// starting the program that reads it; what it wrote meanwhile comes then. A failure asks for the end of its units'
/// journals in any case.
const LATER: Duration = Duration::from_secs(1);
/// Units that a boot's event names.
const SLOWEST: usize = 10;
/// Units that failed, in the same event; a guest may have any number.
const FAILED: usize = 64;

/// Begin, if there can be something to watch. A host that runs already has booted long ago, and
/// its journal is its own.
pub(crate) fn observe(inner: &Arc<Inner>) -> Option<Background> {
    let plan = &inner.plan;
    if plan.image.system.is_none() || plan.backend == Backend::Ssh {
        return None;
    }
    let (session, inner) = (Arc::clone(&inner.session), Arc::downgrade(inner));
    Some(Background::spawn(over_boots(session, inner)))
}

/// The machine holds it, so it holds the machine only while that boots and runs.
async fn over_boots(session: Arc<Session>, inner: Weak<Inner>) {
    let mut states = session.state.subscribe();
    loop {
        // The sender lives in the session.
        let Ok(boot) = states.wait_for(is_ready).await.map(|state| state.clone()) else {
            return;
        };
        let Some(inner) = inner.upgrade() else { return };
        let machine = Machine { inner };
        let goes_on = matches!(&boot, State::Ready(ready) if ready.goes_on);
        let is_over = |state: &State| !is_same(state, &boot);
        let watching = async {
            if goes_on {
                from_here(&machine).await;
            } else {
                over_boot(&machine).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = states.wait_for(is_over) => {}
            () = watching => {}
        }
    }
}

fn is_ready(state: &State) -> bool {
    matches!(state, State::Ready(_))
}

fn is_same(one: &State, other: &State) -> bool {
    match (one, other) {
        (State::Ready(one), State::Ready(other)) => Arc::ptr_eq(one, other),
        _ => false,
    }
}

/// Returns when the guest leaves, or cannot be watched.
async fn over_boot(machine: &Machine) {
    let manager = machine.inner.managers.get(machine, &Whose::System);
    let finished = tokio::time::timeout(machine.boot_timeout(), manager.wait_for_startup()).await;
    match finished {
        Ok(Ok(startup)) => {
            if let Ok(times) = manager.boot_breakdown(SLOWEST).await {
                machine.record(event(&startup, times));
            }
        }
        // Another init, or the end of the machine: whoever asks for a unit is told.
        Ok(Err(_)) => return,
        // Its jobs go on for ever; what it writes is worth all the more.
        Err(_) => {}
    }
    // One that is about to be saved would have to begin again.
    if !machine.inner.is_being_made.load(Ordering::Relaxed) {
        follow_journal(machine, Since::Boot).await;
    }
}

/// A machine that goes on told of its boot when it booted.
async fn from_here(machine: &Machine) {
    let second = setup::wall_clock_ns() / 1_000_000_000;
    tokio::time::sleep(LATER).await;
    let was_made_here = machine.inner.is_being_made.swap(false, Ordering::Relaxed);
    let since = if was_made_here {
        Since::Boot
    } else {
        Since::Second(second)
    };
    follow_journal(machine, since).await;
}

async fn follow_journal(machine: &Machine, since: Since<'_>) {
    let command = machine.exec(follow(since)).timeout(FOREVER);
    let Ok(mut child) = command.spawn().await else {
        return;
    };
    let mut parser = Parser::new();
    while let Ok(happened) = child.next().await {
        match happened {
            ChildEvent::Stdout(bytes) => {
                for entry in parser.push(&bytes) {
                    record(machine, entry);
                }
            }
            ChildEvent::Exited(_) => return,
            ChildEvent::Started(_) | ChildEvent::Stderr(_) => {}
        }
    }
}

fn record(machine: &Machine, entry: Entry) {
    machine.inner.journals.keep(&entry);
    let message = journal::short(&entry).into_owned();
    let event = EventKind::Journal {
        unit: entry.source,
        priority: entry.priority,
        time_us: entry.realtime_us,
        message,
    };
    machine.inner.recorder.record_line(machine.name(), event);
}

fn event(startup: &Startup, times: BootBreakdown) -> EventKind {
    let ns = |us: u64| us.saturating_mul(1000);
    let slowest = times.slowest.into_iter().map(|unit| UnitTime {
        began_ns: ns(unit.began_us),
        took_ns: ns(unit.took_us),
        unit: unit.unit,
    });
    let failed = startup.failed.iter().take(FAILED);
    EventKind::SystemUp {
        state: startup.state.name().to_owned(),
        failed: failed.map(|unit| unit.unit.clone()).collect(),
        times: BootTimes {
            firmware_ns: times.firmware_us.map(ns),
            loader_ns: times.loader_us.map(ns),
            kernel_ns: times.kernel_us.map(ns),
            initrd_ns: times.initrd_us.map(ns),
            userspace_ns: times.userspace_us.map(ns),
            slowest: slowest.collect(),
        },
    }
}
