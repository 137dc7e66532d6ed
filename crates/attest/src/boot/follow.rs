//! Follows a machine that runs: its agent over all boots, and its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use attest_events::{EventKind, MachineEnding, Part, Phase, nanoseconds};
use attest_manifest::ImagePlan;
use attest_protocol::link::{Channel, HostLink, Incoming, LinkError};
use attest_protocol::message::{Condition, Hello, Request, Setup, Wait};
use attest_vmm::{EndingKind, Running, Told};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::ports::Ports;
use super::wake;
use crate::copy;
use crate::error::Error;
use crate::recorder::Recorder;
use crate::session::{Ready, Session, State};
use crate::setup;

/// How a machine begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// Its guest boots.
    Boots,
    /// It goes on from where it was saved, and its agent with it.
    GoesOn,
}

/// Follows one agent over all boots of its machine.
pub(super) struct Follower {
    pub(super) ports: Ports,
    /// Of its first session.
    pub(super) begin: Begin,
    /// Of the boot of its last session.
    pub(super) boot_id: Option<String>,
    pub(super) session: Arc<Session>,
    pub(super) recorder: Recorder,
    pub(super) setup: Setup,
    /// Otherwise its clock and entropy are the host's, and are left alone.
    pub(super) has_own_clock: bool,
    pub(super) files: Vec<attest_manifest::FilePlan>,
    /// What its system does once commands can run.
    pub(super) ready: Option<Wait>,
    pub(super) booting_since: Instant,
}

impl Follower {
    pub(super) async fn follow(mut self) {
        // The stream ends with the VMM; how that ended, the watcher of the VMM says.
        while let Ok((link, hello)) = self.ports.accept().await {
            let mut begin = std::mem::replace(&mut self.begin, Begin::Boots);
            // An agent that only lost its stream has nothing to be told again. Where streams stay, only boots begin one.
            let is_same_boot = self.boot_id.as_ref() == Some(&hello.boot_id) && !hello.waits;
            let has_lost_stream = is_same_boot && self.ports.come_and_go();
            if self.session.goes_on.swap(false, Ordering::SeqCst) || has_lost_stream {
                begin = Begin::GoesOn;
            }
            self.boot_id = Some(hello.boot_id.clone());
            if begin == Begin::Boots {
                self.has_booted(&hello);
            }
            let up = Instant::now();
            self.session.state.send_if_modified(|state| {
                let State::Booting(since) = *state else {
                    return false;
                };
                *state = State::Up(since);
                true
            });
            let name = &self.session.machine;
            self.recorder.machine_part(
                name,
                match begin {
                    Begin::Boots => Part::MachineSetUp,
                    Begin::GoesOn => Part::Wake,
                },
            );
            let done = match begin {
                Begin::Boots => self.becomes_ready(&link, &hello, up).await,
                Begin::GoesOn => wake::up(&link, &self.session),
            };
            let state = match done {
                Ok(()) => State::Ready(Arc::new(Ready {
                    link: link.clone(),
                    hello,
                    goes_on: begin == Begin::GoesOn,
                })),
                Err(Some(error)) => State::Broken(Arc::new(error)),
                Err(None) => State::Booting(self.booting_since),
            };
            self.recorder.record_machine(name, EventKind::PartsEnded);
            self.become_state(state);
            tokio::select! {
                _ = link.ended() => {}
                () = self.ports.superseded() => {}
            }
            if self.session.goes_on.load(Ordering::SeqCst) {
                self.ports.let_go();
            }
            self.booting_since = Instant::now();
            self.become_state(State::Booting(self.booting_since));
        }
    }

    fn has_booted(&self, hello: &Hello) {
        let name = &self.session.machine;
        self.recorder
            .machine_phase(name, Phase::Boot, self.booting_since.elapsed());
        self.recorder.record_machine(
            name,
            EventKind::AgentUp {
                version: hello.version.clone(),
                generation: hello.generation,
            },
        );
    }

    /// An end that was seen meanwhile stays.
    fn become_state(&self, next: State) {
        self.session.state.send_if_modified(|state| {
            let goes_on = !matches!(state, State::Off | State::Ended(..));
            if goes_on {
                *state = next;
            }
            goes_on
        });
    }

    /// As [`Follower::set_up`], and until its system says that commands can run.
    async fn becomes_ready(
        &self,
        link: &HostLink,
        hello: &Hello,
        up: Instant,
    ) -> Result<(), Option<Error>> {
        let name = &self.session.machine;
        let done = self.set_up(link, hello).await;
        self.recorder
            .machine_phase(name, Phase::Agent, up.elapsed());
        done?;
        if let Some(ready) = &self.ready {
            self.recorder.machine_part(name, Part::System);
            let began = Instant::now();
            let done = self.request(link, &Request::Wait(ready.clone())).await;
            self.recorder
                .machine_phase(name, Phase::Boot, began.elapsed());
            done?;
        }
        Ok(())
    }

    /// `Err(None)` when the link broke: the guest boots again or has ended.
    async fn set_up(&self, link: &HostLink, hello: &Hello) -> Result<(), Option<Error>> {
        let mut setup = self.setup.clone();
        if self.has_own_clock {
            setup = setup::freshen(setup);
        }
        self.request(link, &Request::Setup(setup)).await?;
        for file in &self.files {
            let channel = begin(link, &copy::upload_request(&file.path))?;
            copy::upload(&self.session, channel, copy::Source::of(file))
                .await
                .map_err(Some)?;
        }
        // Its own init begins with everything in place.
        if hello.waits {
            self.request(link, &Request::Boot).await?;
        }
        Ok(())
    }

    async fn request(&self, link: &HostLink, request: &Request) -> Result<(), Option<Error>> {
        result_of(&self.session, begin(link, request)?).await
    }
}

/// Ask for this. `Err(None)` when the link broke.
pub(super) fn begin(link: &HostLink, request: &Request) -> Result<Channel, Option<Error>> {
    link.open(request).map_err(|_: LinkError| None)
}

/// What came of it. `Err(None)` when the link broke.
pub(super) async fn result_of(
    session: &Session,
    mut channel: Channel,
) -> Result<(), Option<Error>> {
    loop {
        let incoming = channel.receiver.next().await;
        if let Incoming::Finished(result) = incoming.map_err(|_| None)? {
            let failed = |failure| Some(session.failure("set-up", failure));
            return result.map(drop).map_err(failed);
        }
    }
}

/// Hand on what a backend tells of a machine that runs.
pub(super) async fn tell(
    mut told: mpsc::UnboundedReceiver<Told>,
    machine: String,
    recorder: Recorder,
) {
    while let Some(told) = told.recv().await {
        let event = match told {
            Told::Chosen(choice) => EventKind::Chosen {
                what: choice.what.to_owned(),
                choice: choice.choice,
                reason: choice.reason,
            },
            Told::Booted(took) => EventKind::BootMeasured {
                duration_ns: nanoseconds(took),
            },
            Told::Words(line) => EventKind::Warning { message: line },
        };
        recorder.record_machine(&machine, event);
    }
}

/// Tell the session how the VMM ended, unless attest ended it.
pub(super) async fn follow_ending(running: &dyn Running, session: &Session, recorder: &Recorder) {
    let ending = running.ended().await;
    // Whoever hears of the end may look at the console's.
    session.console.drained().await;
    let kind = match ending.kind {
        EndingKind::Killed => return,
        EndingKind::PoweredOff => MachineEnding::PoweredOff,
        EndingKind::Reset => MachineEnding::Reset,
        EndingKind::Panic => MachineEnding::Panic,
        EndingKind::TripleFault => MachineEnding::TripleFault,
        EndingKind::Disconnected => MachineEnding::Disconnected,
        EndingKind::VmmCrashed | EndingKind::LabEnded => MachineEnding::VmmCrashed,
    };
    let detail: Arc<str> = ending.detail.clone().into();
    let news = session.state.send_if_modified(|state| {
        let runs = !matches!(state, State::Off);
        if runs {
            *state = State::Ended(kind, detail);
        }
        runs
    });
    if news {
        recorder.record_machine(
            &session.machine,
            EventKind::MachineEnded {
                ending: kind,
                detail: ending.detail,
            },
        );
    }
}

/// What machines of an image are waited for.
pub(super) fn ready(image: &ImagePlan, within: Duration) -> Option<Wait> {
    let file = image.system.as_ref()?.ready.as_ref()?;
    Some(Wait {
        condition: Condition::FileExists(file.clone().into_bytes().into()),
        timeout_ms: u64::try_from(within.as_millis()).unwrap_or(u64::MAX),
    })
}
