//! One machine of a lab: its life, and what can be done with it.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use attest_events::{EventKind, MachineEnding, nanoseconds};
use attest_manifest::{MachinePlan, TimeoutPlan};
use attest_protocol::message::{Condition, Request, Response, Stats};
use attest_vmm::{Ability, EndingKind, InPlace, Pause, Reboots, Running, Saves};

use crate::boot::{self, Live, Media, RootUse, Start};
use crate::command::{Command, raw};
use crate::console::Console;
use crate::copy::{Download, Upload};
use crate::error::{Error, Result};
use crate::forward::{Endpoint, Forward};
use crate::lab::Shared;
use crate::runtime::Background;
use crate::session::{Session, State};
use crate::systemd::{Journals, Managers, observe};
use crate::wait::Wait;

/// One machine of a lab. Clones are the same machine.
///
/// Requests wait until the machine is ready, within its boot time-out; any number of them run
/// at once.
#[derive(Debug, Clone)]
pub struct Machine {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) plan: MachinePlan,
    pub(crate) session: Arc<Session>,
    pub(crate) lab: Weak<Shared>,
    pub(crate) recorder: crate::recorder::Recorder,
    pub(crate) timeouts: TimeoutPlan,
    pub(crate) live: Arc<tokio::sync::Mutex<Option<Live>>>,
    /// Where the memory of its next start is to be, so that it is saved without a copy.
    pub(crate) memory: Mutex<Option<File>>,
    /// A container's, for when it boots again; a path in the lab.
    pub(crate) root: Mutex<Option<PathBuf>>,
    pub(crate) managers: Managers,
    pub(crate) journals: Journals,
    pub(crate) observer: Mutex<Option<Background>>,
    /// Whether it boots in order to be saved, and its journal is followed only after that.
    pub(crate) is_being_made: AtomicBool,
}

impl Machine {
    /// Its name, also its host name and its name in every machine's `/etc/hosts`.
    pub fn name(&self) -> &str {
        &self.inner.plan.name
    }

    /// What was planned for it: memory, addresses, disks.
    pub fn plan(&self) -> &MachinePlan {
        &self.inner.plan
    }

    /// Start it; returns when its virtual CPUs run. Nothing happens when it runs already.
    pub async fn start(&self) -> Result<()> {
        self.start_as(Start::FRESH).await.map(drop)
    }

    /// Whether it was this that started it.
    pub(crate) async fn start_as(&self, how: Start) -> Result<bool> {
        let mut live = self.inner.live.lock().await;
        if live.is_some() && !matches!(*self.inner.session.state.borrow(), State::Ended(..)) {
            return Ok(false);
        }
        let lab = self.inner.lab.upgrade().ok_or_else(|| self.off())?;
        *live = None;
        *live = Some(boot::start(&self.inner, &lab, how, Media::default()).await?);
        self.set_observer(observe(&self.inner));
        Ok(true)
    }

    /// Wait until it is ready: booted, set up, answering.
    pub async fn ready(&self) -> Result<()> {
        self.inner.session.link().await.map(drop)
    }

    /// Wait until its agent has answered.
    pub(crate) async fn up(&self) -> Result<()> {
        self.inner.session.up().await;
        Ok(())
    }

    /// The lab is going: nothing that ends from now on is a failure.
    pub(crate) fn expect_end(&self) {
        self.inner.session.state.send_replace(State::Off);
        self.set_observer(None);
    }

    /// Nothing is recorded of it after this.
    pub(crate) async fn forget(&self) {
        let was = self.inner.live.lock().await.take();
        if let Some(was) = was {
            was.unfollow().await;
        }
    }

    /// Whether it is ready now.
    pub fn is_ready(&self) -> bool {
        matches!(*self.inner.session.state.borrow(), State::Ready(_))
    }

    /// A shell command, run as by `bash -c 'set -euo pipefail; …'`.
    pub fn shell(&self, command: impl AsRef<OsStr>) -> Command {
        Command::shell(self, command)
    }

    /// A program with its arguments; no shell takes part.
    pub fn exec<I>(&self, argv: I) -> Command
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        Command::argv(self, argv)
    }

    /// Wait until a TCP port accepts connections, at `localhost` unless [`Wait::host`] is given.
    pub fn wait_for_port(&self, port: u16) -> Wait {
        Wait::guest(self, Condition::PortOpen("localhost".to_owned(), port))
    }

    /// Wait until a TCP port refuses connections.
    pub fn wait_for_closed_port(&self, port: u16) -> Wait {
        Wait::guest(self, Condition::PortClosed("localhost".to_owned(), port))
    }

    /// Wait until a path exists.
    pub fn wait_for_file(&self, path: impl AsRef<OsStr>) -> Wait {
        Wait::guest(self, Condition::FileExists(raw(path.as_ref())))
    }

    /// Wait until a path is gone.
    pub fn wait_for_no_file(&self, path: impl AsRef<OsStr>) -> Wait {
        Wait::guest(self, Condition::FileVanished(raw(path.as_ref())))
    }

    /// Wait until a file has a match of this regular expression (crate `regex`; `^` and `$` are
    /// at lines, as in all patterns of attest).
    pub fn wait_for_text_in_file(
        &self,
        path: impl AsRef<OsStr>,
        pattern: impl Into<String>,
    ) -> Wait {
        Wait::guest(
            self,
            Condition::FileMatches(raw(path.as_ref()), pattern.into()),
        )
    }

    /// Wait until a Unix socket accepts a connection.
    pub fn wait_for_unix_socket(&self, path: impl AsRef<OsStr>) -> Wait {
        Wait::guest(self, Condition::UnixSocket(raw(path.as_ref())))
    }

    /// Wait until a shell command ends with exit code 0; it is retried inside the guest.
    pub fn wait_until_succeeds(&self, command: impl AsRef<OsStr>) -> Wait {
        self.wait_for_command(self.shell(command), true)
    }

    /// Wait until a shell command ends with another exit code than 0.
    pub fn wait_until_fails(&self, command: impl AsRef<OsStr>) -> Wait {
        self.wait_for_command(self.shell(command), false)
    }

    /// As [`Machine::wait_until_succeeds`] or [`Machine::wait_until_fails`], for any command.
    /// Its own time-out bounds each try.
    pub fn wait_for_command(&self, command: Command, succeeds: bool) -> Wait {
        Wait::command(self, command, succeeds)
    }

    /// Wait until a process has a command line that matches this regular expression.
    pub fn wait_for_process(&self, pattern: impl Into<String>) -> Wait {
        Wait::guest(self, Condition::ProcessExists(pattern.into()))
    }

    /// Wait until no process has such a command line.
    pub fn wait_for_no_process(&self, pattern: impl Into<String>) -> Wait {
        Wait::guest(self, Condition::ProcessVanished(pattern.into()))
    }

    /// Wait until the console has printed a match, since the machine's first start. The last
    /// megabyte is looked at; the expression may span lines.
    pub fn wait_for_console_text(&self, pattern: impl Into<String>) -> Wait {
        Wait::console(self, pattern.into())
    }

    /// Wait until a unit of the machine's systemd is active, also while the machine boots. The
    /// name is completed as `systemctl` completes it.
    ///
    /// It fails at once, with [`Error::Systemd`], when the unit has `failed`; and as soon as it is
    /// `inactive` and nothing is queued in the whole system that could start it.
    pub fn wait_for_unit(&self, name: impl Into<String>) -> Wait {
        self.unit(name).wait()
    }

    /// All that the console printed and that is still kept: the last megabyte at least.
    pub fn console_text(&self) -> String {
        String::from_utf8_lossy(&self.console().text()).into_owned()
    }

    /// The file with all that the console ever printed.
    pub fn console_file(&self) -> &Path {
        self.console().file()
    }

    /// Type bytes at the serial console.
    pub async fn send_console(&self, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.needs(Ability::Console)?;
        self.console().send(bytes.as_ref()).await
    }

    /// Copy a file or tree of the host to this path of the machine.
    pub fn upload(&self, from: impl Into<PathBuf>, to: impl Into<PathBuf>) -> Upload {
        Upload {
            machine: self.clone(),
            from: from.into(),
            to: to.into(),
        }
    }

    /// Copy a file or tree of the machine to this path of the host.
    pub fn download(&self, from: impl Into<PathBuf>, to: impl Into<PathBuf>) -> Download {
        Download {
            machine: self.clone(),
            from: from.into(),
            to: to.into(),
        }
    }

    /// Listen on the host; each connection goes to `guest` inside the machine. Ends with the
    /// returned value.
    pub async fn forward_to_guest(&self, host: Endpoint, guest: Endpoint) -> Result<Forward> {
        Forward::to_guest(self, host, guest).await
    }

    /// Listen inside the machine; each connection goes to `host` on the host.
    pub async fn forward_to_host(&self, guest: Endpoint, host: Endpoint) -> Result<Forward> {
        Forward::to_host(self, guest, host).await
    }

    /// Set the guest's wall clock to the host's.
    pub async fn sync_clock(&self) -> Result<()> {
        self.needs(Ability::Clock)?;
        self.call(&Request::SetClock(crate::setup::wall_clock_ns()))
            .await
    }

    /// Mix these bytes into the guest's entropy pool, credited in full.
    pub async fn reseed(&self, entropy: impl Into<Vec<u8>>) -> Result<()> {
        self.needs(Ability::Clock)?;
        self.call(&Request::Reseed(entropy.into().into())).await
    }

    /// Make it another machine than all that go on from the same snapshot: it has a new token of 32 hexadecimal digits,
    /// which is returned, and which its programs find in `/run/attest/identity`. Names, addresses and `/etc/machine-id`
    /// stay as they are.
    pub async fn renew_identity(&self) -> Result<String> {
        match self.inner.session.call(&Request::Identity).await? {
            Response::Identity(token) => Ok(token),
            _ => Err(self.inner.session.unexpected("identity")),
        }
    }

    /// Write all dirty pages of all file systems of the guest.
    pub async fn sync(&self) -> Result<()> {
        self.call(&Request::Sync).await
    }

    /// Freeze file systems by their mount points: all, or none and an error.
    pub async fn freeze<I>(&self, mount_points: I) -> Result<()>
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let mount_points = mount_points
            .into_iter()
            .map(|path| raw(path.as_ref()))
            .collect();
        self.call(&Request::Freeze(mount_points)).await
    }

    /// Thaw what [`Machine::freeze`] froze.
    pub async fn thaw(&self) -> Result<()> {
        self.call(&Request::Thaw).await
    }

    /// The guest's uptime, boot times, memory and load, and the agent's own.
    pub async fn stats(&self) -> Result<Stats> {
        match self.inner.session.call(&Request::Stats).await? {
            Response::Stats(stats) => Ok(stats),
            _ => Err(self.inner.session.unexpected("stats")),
        }
    }

    /// Boot the guest again, through its own shutdown, and wait until it is ready.
    pub async fn reboot(&self) -> Result<()> {
        self.needs(Ability::Reboot)?;
        let machine = self.clone();
        self.operation("reboot", "", |_| async move { machine.reboot_now().await })
            .await
    }

    async fn reboot_now(&self) -> Result<()> {
        let running = self.running().await?;
        match running.reboots() {
            Reboots::InPlace(reboots) => self.reboot_in_place(reboots).await,
            Reboots::Anew => self.reboot_anew().await,
            Reboots::Never => self.needs(Ability::Reboot),
        }
    }

    async fn reboot_in_place(&self, reboots: &dyn InPlace) -> Result<()> {
        let session = &self.inner.session;
        let before = session.ready_where(|_| true).await?.hello.boot_id.clone();
        reboots.allow_reboot(true).await?;
        let asked = self.call_and_leave(&Request::Reboot).await;
        let again = match asked {
            Ok(()) => session
                .ready_where(|ready| ready.hello.boot_id != before)
                .await
                .map(drop),
            Err(error) => Err(error),
        };
        reboots.allow_reboot(false).await?;
        again
    }

    /// What runs the machine ends with it, and starts on what was written before.
    async fn reboot_anew(&self) -> Result<()> {
        let mut live = self.inner.live.lock().await;
        let lab = self.inner.lab.upgrade().ok_or_else(|| self.off())?;
        let Some(was) = live.as_mut() else {
            return Err(self.off());
        };
        // From here on, its end is no failure.
        was.expect_end();
        let asked = self.call_and_leave(&Request::Reboot).await;
        if let Err(error) = asked {
            was.watch_end(&self.inner);
            return Err(error);
        }
        let ended = was.running.ended().await;
        if ended.kind != EndingKind::Reset {
            was.watch_end(&self.inner);
            drop(live);
            return Err(self.ended().await);
        }
        self.set_observer(None);
        self.console().drained().await;
        let media = match live.take() {
            Some(was) => was.unfollow().await,
            None => Media::default(),
        };
        let again = Start {
            root: RootUse::Same,
            ..Start::FRESH
        };
        *live = Some(boot::start(&self.inner, &lab, again, media).await?);
        self.set_observer(observe(&self.inner));
        drop(live);
        self.ready().await
    }

    /// Switch the guest off through its own shutdown, and wait until it is off; after the lab's
    /// shutdown time-out the plug is pulled.
    pub async fn power_off(&self) -> Result<()> {
        self.needs(Ability::PowerOff)?;
        let machine = self.clone();
        self.operation("power-off", "", |_| async move {
            let running = machine.running().await?;
            machine.call_and_leave(&Request::PowerOff).await?;
            let over = tokio::time::timeout(machine.inner.timeouts.shutdown, running.ended()).await;
            machine
                .leave(over.map_or(MachineEnding::Stopped, |_| MachineEnding::PoweredOff))
                .await;
            Ok(())
        })
        .await
    }

    /// Pull the plug. Nothing happens when it is off.
    pub async fn kill(&self) {
        self.leave(MachineEnding::Stopped).await;
    }

    async fn leave(&self, ending: MachineEnding) {
        let mut live = self.inner.live.lock().await;
        let Some(was) = live.take() else { return };
        self.set_observer(None);
        // Off first, so that the end of the VMM is not taken for a failure.
        self.inner.session.state.send_replace(State::Off);
        was.running.kill().await;
        self.console().drained().await;
        was.unfollow().await;
        self.record(EventKind::MachineEnded {
            ending,
            detail: String::new(),
        });
    }

    /// Stop the virtual CPUs where the backend can: nothing answers until [`Machine::resume`].
    pub async fn pause(&self) -> Result<()> {
        self.needs(Ability::Pause)?;
        let running = self.running().await?;
        Ok(self.pauses(&*running)?.pause().await?)
    }

    /// Continue after [`Machine::pause`].
    pub async fn resume(&self) -> Result<()> {
        self.needs(Ability::Pause)?;
        let running = self.running().await?;
        Ok(self.pauses(&*running)?.resume().await?)
    }

    /// Of what runs it: what stops and continues it.
    pub(crate) fn pauses<'a>(&self, running: &'a dyn Running) -> Result<&'a dyn Pause> {
        running.pause().ok_or_else(|| self.off())
    }

    /// Of what runs it, or is to: what saves and loads what it is.
    pub(crate) fn saves<'a>(&self, running: &'a dyn Running) -> Result<&'a dyn Saves> {
        running.saves().ok_or_else(|| self.off())
    }

    pub(crate) fn set_observer(&self, observer: Option<Background>) {
        *self.inner.observer.lock().expect("not poisoned") = observer;
    }

    pub(crate) async fn running(&self) -> Result<Arc<dyn Running>> {
        let live = self.inner.live.lock().await;
        live.as_ref()
            .map(|live| Arc::clone(&live.running))
            .ok_or_else(|| self.off())
    }

    pub(crate) fn off(&self) -> Error {
        Error::MachineOff {
            machine: self.name().to_owned(),
        }
    }

    /// Refuse what its backend cannot.
    pub(crate) fn needs(&self, ability: Ability) -> Result<()> {
        let lab = self.inner.lab.upgrade().ok_or_else(|| self.off())?;
        let backend = lab.backends.of(self.inner.plan.backend);
        match backend.lacks(ability) {
            None => Ok(()),
            Some(reason) => Err(Error::Unsupported {
                machine: self.name().to_owned(),
                backend: backend.name(),
                ability: ability.name(),
                reason,
            }),
        }
    }

    async fn call(&self, request: &Request) -> Result<()> {
        self.inner.session.call(request).await.map(drop)
    }

    /// A request that ends the connection: its answer may be lost with it.
    async fn call_and_leave(&self, request: &Request) -> Result<()> {
        match self.inner.session.call_once(request).await {
            Some(result) => result,
            None => Ok(()),
        }
    }

    /// Record an operation around `work`.
    pub(crate) async fn operation<T, F>(
        &self,
        operation: &str,
        subject: &str,
        work: impl FnOnce(u64) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let id = self.inner.recorder.operation();
        let began = Instant::now();
        self.record(EventKind::OperationStarted {
            id,
            operation: operation.to_owned(),
            subject: attest_protocol::one_line(subject),
        });
        let result = work(id).await;
        self.record(EventKind::OperationEnded {
            id,
            duration_ns: nanoseconds(began.elapsed()),
            error: result.as_ref().err().map(Error::chain),
        });
        result
    }

    pub(crate) fn record(&self, kind: EventKind) {
        self.inner.recorder.record_machine(self.name(), kind);
    }

    pub(crate) fn session(&self) -> &Session {
        &self.inner.session
    }

    pub(crate) fn console(&self) -> &Console {
        &self.inner.session.console
    }

    pub(crate) fn timeouts(&self) -> &TimeoutPlan {
        &self.inner.timeouts
    }

    /// How long it may take to boot.
    pub fn boot_timeout(&self) -> Duration {
        self.inner.timeouts.boot
    }
}
