//! A launcher whose programs are tasks of the test, and what such a program has of its host.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use attest_lab::{Directory, LabError, ProcessExit};
use attest_vmm::{BoxFuture, Launched, Launcher, Program};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// A program. What it starts as tasks ends with it.
pub(crate) trait Fake: Debug + Send + Sync {
    /// Its whole life, up to its exit code.
    fn run(&self, own: Own) -> BoxFuture<'static, i32>;
}

/// Starts fakes, and knows what became of them.
#[derive(Debug)]
pub(crate) struct Fakes<F> {
    fake: F,
    started: Mutex<Vec<Arc<Seen>>>,
}

impl<F: Fake> Fakes<F> {
    pub(crate) fn new(fake: F) -> Self {
        Self {
            fake,
            started: Mutex::default(),
        }
    }

    /// How many were started.
    pub(crate) fn started(&self) -> usize {
        self.started.lock().unwrap().len()
    }

    /// The last one that was started.
    pub(crate) fn last(&self) -> Arc<Seen> {
        Arc::clone(
            self.started
                .lock()
                .unwrap()
                .last()
                .expect("one was started"),
        )
    }
}

/// What was seen of a program from outside.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Its arguments.
    pub(crate) args: Vec<String>,
    calls: Mutex<Vec<Call>>,
    signal: watch::Sender<Option<i32>>,
    exit: watch::Receiver<Option<ProcessExit>>,
}

/// A call of its API.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    /// As `PUT /actions`.
    pub(crate) what: String,
    /// Null when there was none, or no JSON.
    pub(crate) body: Value,
}

impl Seen {
    /// The calls that came, in order.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// The bodies of the calls of this kind.
    pub(crate) fn bodies(&self, what: &str) -> Vec<Value> {
        let calls = self.calls();
        let calls = calls.into_iter().filter(|call| call.what == what);
        calls.map(|call| call.body).collect()
    }

    /// Somebody sends it a signal.
    pub(crate) fn signal(&self, signal: i32) {
        send(&self.signal, signal);
    }

    /// How it ended.
    pub(crate) async fn exited(&self) -> ProcessExit {
        exited(self.exit.clone()).await
    }
}

async fn exited(mut exit: watch::Receiver<Option<ProcessExit>>) -> ProcessExit {
    let exit = exit.wait_for(Option::is_some).await;
    (*exit.expect("no task of the fake panicked")).expect("waited for")
}

/// What a program has of its host.
pub(crate) struct Own {
    pub(crate) args: Vec<String>,
    /// Where it is started.
    pub(crate) directory: PathBuf,
    /// stdin, stdout and stderr.
    input: Mutex<Option<OwnedFd>>,
    pub(crate) output: OwnedFd,
    pub(crate) errors: File,
    /// From the number 3 on.
    fds: Vec<OwnedFd>,
    pub(crate) tasks: Tasks,
    seen: Arc<Seen>,
}

impl Own {
    /// Open a file by the name that the program knows it by. A link to one of its descriptors is one to that of the
    /// test with the same file.
    pub(crate) fn open(&self, name: &str, options: &OpenOptions) -> io::Result<File> {
        let path = self.path(name);
        let number = std::fs::read_link(&path).ok().and_then(|link| {
            let number = link.to_str()?.strip_prefix("/proc/self/fd/")?;
            number.parse::<usize>().ok()
        });
        let Some(number) = number else {
            return options.open(path);
        };
        let fd = self.fd(number)?;
        options.open(format!("/proc/self/fd/{}", fd.as_raw_fd()))
    }

    /// The path of a name that is its own.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// One of its descriptors, by its number.
    pub(crate) fn fd(&self, number: usize) -> io::Result<OwnedFd> {
        let fd = number.checked_sub(3).and_then(|index| self.fds.get(index));
        fd.ok_or(io::ErrorKind::NotFound)?.try_clone()
    }

    /// Its stdin, for who reads it first.
    pub(crate) fn take_input(&self) -> Option<OwnedFd> {
        self.input.lock().unwrap().take()
    }

    /// Its last words.
    pub(crate) fn complain(&self, words: &str) {
        // Nobody reads any more: there is nobody to be told.
        let _ = (&self.errors).write_all(words.as_bytes());
    }

    /// Let the test know of a call.
    pub(crate) fn called(&self, call: Call) -> usize {
        let mut calls = self.seen.calls.lock().unwrap();
        calls.push(call);
        calls.len()
    }
}

/// Starts tasks that end with the program.
#[derive(Clone)]
pub(crate) struct Tasks(mpsc::UnboundedSender<BoxFuture<'static, ()>>);

impl Tasks {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // A program that ends starts nothing any more.
        let _ = self.0.send(Box::pin(task));
    }
}

impl<F: Fake> Launcher for Fakes<F> {
    fn launch(&self, program: Program) -> BoxFuture<'_, Result<Arc<dyn Launched>, LabError>> {
        let (exit, exited) = watch::channel(None);
        let (signal, signals) = watch::channel(None);
        let (tasks, started) = mpsc::unbounded_channel();
        let args = program.args.into_iter();
        let args: Vec<String> = args.map(|arg| arg.into_string().unwrap()).collect();
        let seen = Arc::new(Seen {
            args: args.clone(),
            calls: Mutex::default(),
            signal: signal.clone(),
            exit: exited.clone(),
        });
        self.started.lock().unwrap().push(Arc::clone(&seen));
        let own = Own {
            args,
            directory: program.directory.expect("a VMM has a place"),
            input: Mutex::new(program.input),
            errors: match program.errors {
                Some(errors) => errors.into(),
                None => program.output.try_clone().unwrap().into(),
            },
            output: program.output,
            fds: program.fds,
            tasks: Tasks(tasks),
            seen,
        };
        tokio::spawn(supervise(self.fake.run(own), started, signals, exit));
        let launched: Arc<dyn Launched> = Arc::new(Process {
            // Beyond what Linux gives processes: nobody is hit who is sent a signal by mistake.
            pid: (1 << 22) + NEXT.fetch_add(1, Ordering::Relaxed),
            signal,
            exit: exited,
        });
        Box::pin(async { Ok(launched) })
    }

    fn show<'a>(
        &'a self,
        _: &'a Directory,
        _: &'a str,
        _: BorrowedFd<'a>,
    ) -> BoxFuture<'a, Result<(), LabError>> {
        panic!("there are no jails without a lab")
    }
}

static NEXT: AtomicU32 = AtomicU32::new(1);

/// As a kernel does: what a process has is closed when it ends, and only then its end is known.
async fn supervise(
    mut main: BoxFuture<'static, i32>,
    mut started: mpsc::UnboundedReceiver<BoxFuture<'static, ()>>,
    mut signals: watch::Receiver<Option<i32>>,
    exit: watch::Sender<Option<ProcessExit>>,
) {
    let mut tasks = JoinSet::new();
    let ended = loop {
        tokio::select! {
            biased;
            // Nobody can send one any more when this fails.
            Ok(signal) = signals.wait_for(Option::is_some) => {
                break ProcessExit::Signal(signal.expect("waited for"));
            }
            code = &mut main => break ProcessExit::Code(code),
            Some(task) = started.recv() => drop(tasks.spawn(task)),
            Some(task) = tasks.join_next() => task.expect("no task of the fake panics"),
        }
    };
    tasks.shutdown().await;
    drop((main, started));
    exit.send_replace(Some(ended));
}

/// The first one counts. Fact: SIGTERM and SIGINT just kill it.
fn send(to: &watch::Sender<Option<i32>>, signal: i32) {
    to.send_if_modified(|sent| {
        let first = sent.is_none();
        sent.get_or_insert(signal);
        first
    });
}

#[derive(Debug)]
struct Process {
    pid: u32,
    signal: watch::Sender<Option<i32>>,
    exit: watch::Receiver<Option<ProcessExit>>,
}

impl Launched for Process {
    fn pid(&self) -> u32 {
        self.pid
    }

    fn exited(&self) -> BoxFuture<'_, ProcessExit> {
        Box::pin(exited(self.exit.clone()))
    }

    fn signal(&self, signal: i32) {
        send(&self.signal, signal);
    }

    fn signal_group(&self, signal: i32) {
        self.signal(signal);
    }
}

/// Whether somebody may have left something in a directory beside these.
pub(crate) fn names_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
