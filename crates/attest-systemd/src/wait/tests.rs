//! Waits against a peer that does the worst at the worst moment.

use std::future::{IntoFuture, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use crate::error::Error;
use crate::failure::WaitEnd;
use crate::fake::{
    Fake, UNIT_NAME, World, changed, job_new, job_removed, reloaded, startup_finished, unit_new,
};
use crate::manager::Manager;
use crate::state::{ActiveState, JobResult};
use crate::wait::UnitWait;

/// How a wait ended, within any time that a test may take.
async fn ended(wait: UnitWait) -> Result<(), Error> {
    let waiting = tokio::time::timeout(Duration::from_secs(20), wait);
    waiting.await.expect("it ends")
}

async fn end_of(wait: UnitWait) -> WaitEnd {
    match ended(wait).await {
        Err(Error::Wait(failure)) => failure.end,
        other => panic!("{other:?}"),
    }
}

/// A wait that runs, until it has seen all that was sent so far and still waits.
struct Running(tokio::task::JoinHandle<Result<(), Error>>);

impl Running {
    async fn new(wait: UnitWait) -> Self {
        let running = Self(tokio::spawn(wait.into_future()));
        running.settle().await;
        running
    }

    /// On one thread, whatever can happen has happened after some turns.
    async fn settle(&self) {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }

    async fn still_waits(&mut self) {
        self.settle().await;
        let poll = once(&mut self.0).await;
        assert!(matches!(poll, Poll::Pending), "it ended: {poll:?}");
    }

    async fn ends(self) -> Result<(), Error> {
        let ended = tokio::time::timeout(Duration::from_secs(20), self.0);
        ended.await.expect("it ends").unwrap()
    }
}

/// Poll it once.
async fn once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context))).await
}

#[tokio::test]
async fn an_active_unit_needs_one_call() {
    let (manager, fake) = Fake::manager(World::new("active", &[])).await;
    ended(manager.wait_for_unit("x")).await.unwrap();
    assert_eq!(fake.calls(), ["Get", "Get", "Get", "GetAll"]);
}

#[tokio::test]
async fn a_change_between_listening_and_reading_is_not_lost() {
    // It becomes active right after its state was read; only the signal says so.
    let after = |method: &str, world: &mut World| {
        if method != "GetAll" {
            return Vec::new();
        }
        world.active = "active";
        vec![changed(world)]
    };
    let (manager, _fake) = Fake::racing(World::new("activating", &[]), Box::new(after)).await;
    ended(manager.wait_for_unit("x")).await.unwrap();
}

#[tokio::test]
async fn failed_ends_it_unless_something_will_try_again() {
    let (manager, fake) = Fake::manager(World::new("failed", &[])).await;
    assert_eq!(end_of(manager.wait_for_unit("x")).await, WaitEnd::Failed);

    fake.change(|world| world.job = 3);
    let mut running = Running::new(manager.wait_for_unit("x")).await;
    running.still_waits().await;
    fake.change(|world| (world.job, world.sub) = (0, "failed-before-auto-restart"));
    fake.tell().await;
    running.still_waits().await;
    fake.change(|world| (world.active, world.sub) = ("activating", "auto-restart"));
    fake.tell().await;
    running.still_waits().await;
    fake.change(|world| world.active = "active");
    fake.tell().await;
    running.ends().await.unwrap();
}

#[tokio::test]
async fn inactive_ends_it_only_when_no_job_is_left_anywhere() {
    let (manager, fake) = Fake::manager(World::new("inactive", &[])).await;
    assert_eq!(
        end_of(manager.wait_for_unit("x")).await,
        WaitEnd::NothingQueued
    );

    fake.change(|world| world.jobs = vec![1, 2]);
    let mut running = Running::new(manager.wait_for_unit("x")).await;
    running.still_waits().await;
    // One ends, and queues another before: as a program does that starts a unit.
    fake.send(&job_new(3)).await;
    fake.send(&job_removed(1, "y.service", "done")).await;
    fake.send(&job_removed(2, "y.service", "done")).await;
    running.still_waits().await;
    fake.change(|world| world.jobs = vec![]);
    fake.send(&job_removed(3, "y.service", "done")).await;
    match running.ends().await {
        Err(Error::Wait(failure)) => assert_eq!(failure.end, WaitEnd::NothingQueued),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        fake.calls()
            .iter()
            .filter(|call| *call == "ListJobs")
            .count(),
        3
    );
}

#[tokio::test]
async fn patience_outlasts_an_empty_queue() {
    let (manager, fake) = Fake::manager(World::new("inactive", &[])).await;
    let mut running = Running::new(manager.wait_for_unit("x").patient()).await;
    running.still_waits().await;
    fake.change(|world| world.active = "active");
    fake.tell().await;
    running.ends().await.unwrap();
}

#[tokio::test]
async fn a_unit_that_flaps_between_two_reads_is_not_at_its_end() {
    // Inactive at the first read; it runs and stops again while the jobs are listed. At no
    // instant that was seen both was it inactive and the queue empty.
    let mut reads = 0;
    let after = move |method: &str, world: &mut World| {
        if method == "GetAll" {
            reads += 1;
            if reads <= 2 {
                world.left_inactive += 1;
            }
        }
        Vec::new()
    };
    let (manager, fake) = Fake::racing(World::new("inactive", &[]), Box::new(after)).await;
    assert_eq!(
        end_of(manager.wait_for_unit("x")).await,
        WaitEnd::NothingQueued
    );
    // The first read, one that found it changed, one that found it changed once more, and the
    // one that found it as before.
    assert_eq!(
        fake.calls().iter().filter(|call| *call == "GetAll").count(),
        4
    );
}

#[tokio::test]
async fn a_start_between_the_reads_is_seen() {
    // The jobs are found empty; then one for the unit is queued.
    let after = |method: &str, world: &mut World| {
        if method == "ListJobs" {
            (world.job, world.jobs) = (9, vec![9]);
        }
        Vec::new()
    };
    let (manager, fake) = Fake::racing(World::new("inactive", &[]), Box::new(after)).await;
    let mut running = Running::new(manager.wait_for_unit("x")).await;
    running.still_waits().await;
    fake.change(|world| (world.active, world.job) = ("active", 0));
    fake.tell().await;
    running.ends().await.unwrap();
}

#[tokio::test]
async fn during_the_boot_nothing_is_asked_and_nothing_ends() {
    let mut world = World::new("inactive", &[]);
    (world.finished, world.load) = (false, "not-found");
    let (manager, fake) = Fake::manager(world).await;
    let mut running = Running::new(manager.wait_for_unit("x")).await;
    for id in 1..50 {
        fake.send(&job_new(id)).await;
        fake.send(&job_removed(id, "y.service", "done")).await;
    }
    running.still_waits().await;
    assert_eq!(fake.calls(), ["Get", "Get", "Get", "GetAll"]);
    fake.send(&startup_finished()).await;
    match running.ends().await {
        Err(Error::Wait(failure)) => {
            assert_eq!(failure.to_string(), "there is no unit x.service");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_job_that_a_dependency_failed_ends_it_at_once() {
    let mut world = World::new("inactive", &[4, 5]);
    world.job = 4;
    let (manager, fake) = Fake::manager(world).await;
    let mut running = Running::new(manager.wait_for_unit("x")).await;
    fake.send(&job_removed(4, UNIT_NAME, "dependency")).await;
    running.still_waits().await;
    fake.change(|world| (world.job, world.jobs) = (0, vec![5]));
    fake.tell().await;
    match running.ends().await {
        Err(Error::Wait(failure)) => {
            assert_eq!(failure.end, WaitEnd::Job(JobResult::Dependency));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_unit_that_is_loaded_active_is_found() {
    // As a mount point that somebody mounts: no job, no change, only a new unit.
    let (manager, fake) = Fake::manager(World::new("inactive", &[1])).await;
    let mut running = Running::new(manager.wait_for_unit("x")).await;
    running.still_waits().await;
    fake.change(|world| world.active = "active");
    fake.send(&unit_new()).await;
    running.ends().await.unwrap();
    assert_eq!(fake.calls().last().unwrap(), "ListUnitsByPatterns");
}

#[tokio::test]
async fn a_reload_has_all_read_anew() {
    let (manager, fake) = Fake::manager(World::new("inactive", &[1])).await;
    let running = Running::new(manager.wait_for_unit("x")).await;
    fake.change(|world| world.active = "active");
    fake.send(&reloaded()).await;
    running.ends().await.unwrap();
}

#[tokio::test]
async fn missed_signals_have_all_read_anew() {
    let (manager, fake) = Fake::manager(World::new("activating", &[1])).await;
    let wait = manager.wait_for_unit("x");
    let seen = wait.seen();
    let mut wait = std::pin::pin!(wait.into_future());
    // Until it has read the state; from then on nobody polls it.
    while seen.to_string().contains("no answer") {
        assert!(once(&mut wait).await.is_pending());
        tokio::task::yield_now().await;
    }
    fake.change(|world| world.active = "active");
    fake.tell().await;
    for _ in 0..5000 {
        fake.send(&job_new(1)).await;
    }
    // The change itself is among those that were dropped.
    let calls = fake.calls().len();
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(fake.calls().len(), calls + 1);
}

#[tokio::test]
async fn other_states_can_be_waited_for() {
    let (manager, fake) = Fake::manager(World::new("active", &[])).await;
    let inactive = Running::new(manager.wait_for_unit_state("x", ActiveState::Inactive)).await;
    let stopped = Running::new(manager.wait_for_unit_stop("x")).await;
    let failed = Running::new(manager.wait_for_unit_state("x", ActiveState::Failed)).await;
    fake.change(|world| world.active = "failed");
    fake.tell().await;
    assert!(matches!(inactive.ends().await, Err(Error::Wait(_))));
    stopped.ends().await.unwrap();
    failed.ends().await.unwrap();
}

#[tokio::test]
async fn what_was_seen_is_told() {
    let (manager, fake) = Fake::manager(World::new("activating", &[])).await;
    let wait = manager.wait_for_unit("x");
    let seen = wait.seen();
    assert_eq!(seen.to_string(), "no answer of systemd");
    let running = Running::new(wait).await;
    assert_eq!(
        seen.to_string(),
        "activating (SubState=some), no job of its own"
    );
    fake.change(|world| world.job = 3);
    fake.tell().await;
    running.settle().await;
    assert_eq!(
        seen.to_string(),
        "activating (SubState=some), job 3 queued or running"
    );
}

#[tokio::test]
async fn a_wait_lives_through_a_new_connection() {
    let fakes = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&fakes);
    let connect = move || {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let mut fakes = kept.lock().unwrap();
        let active = if fakes.is_empty() {
            "activating"
        } else {
            "active"
        };
        let world = World::new(active, &[]);
        fakes.push(Fake::serve(far, world, Box::new(|_, _| Vec::new())));
        std::future::ready(Ok(near))
    };
    let manager = Manager::connect_with(connect).await.unwrap();
    let running = Running::new(manager.wait_for_unit("x")).await;
    let first: Fake = fakes.lock().unwrap()[0].clone();
    first.close().await;
    running.ends().await.unwrap();
    assert_eq!(fakes.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn without_a_way_to_connect_anew_the_end_of_the_connection_ends_it() {
    let (manager, fake) = Fake::manager(World::new("activating", &[])).await;
    let running = Running::new(manager.wait_for_unit("x")).await;
    fake.close().await;
    let error = running.ends().await.unwrap_err();
    assert!(error.is_lost(), "{error}");
    assert!(manager.version().await.unwrap_err().is_lost());
}

#[tokio::test]
async fn a_peer_that_always_leaves_ends_it_after_some_tries() {
    let tries = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&tries);
    let connect = move || {
        let (near, far) = tokio::io::duplex(64 * 1024);
        // One that answers, and then only peers that hang up.
        if counted.fetch_add(1, Ordering::Relaxed) == 0 {
            let world = World::new("activating", &[]);
            let fake = Fake::serve(far, world, Box::new(|_, _| Vec::new()));
            tokio::spawn(async move {
                while !fake.calls().contains(&"GetAll".to_owned()) {
                    tokio::task::yield_now().await;
                }
                fake.close().await;
            });
        }
        std::future::ready(Ok(near))
    };
    let manager = Manager::connect_with(connect).await.unwrap();
    let error = ended(manager.wait_for_unit("x")).await.unwrap_err();
    assert!(error.is_lost(), "{error}");
    assert!(tries.load(Ordering::Relaxed) < 20);
}
