//! The script while it runs: its Python, its time, signals, and what its end means.

use std::sync::Arc;
use std::time::{Duration, Instant};

use attest::Recorder;
use attest::events::{FailureDetail, LogLevel, Verdict};
use attest_rpc::{Served, Session};
use attest_script::{Ending, ScriptProcess, ScriptSocket};
use nix::sys::signal::Signal;

use super::config::Configuration;
use super::driver::log;
use super::end;
use crate::signals::{Caught, Signals};

/// How long a script has, after it was told to end, before it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// How long Python has to end after the script has, before the machines do: its threads may wait
/// for them.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// What people who interrupt expect.
const INTERRUPTED: i32 = 130;

/// The script while it runs.
pub(super) struct ScriptRun<'a> {
    pub(super) configuration: &'a Configuration,
    pub(super) session: Arc<Session>,
    pub(super) recorder: Recorder,
    pub(super) process: ScriptProcess,
    pub(super) signals: Signals,
}

/// How it ended.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) over: Over,
    pub(super) verdict: Verdict,
    pub(super) took: Duration,
    pub(super) failure: Option<FailureDetail>,
}

/// How attest ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// With this exit code.
    Code(i32),
    /// By this signal, as those who call the NixOS test driver expect it.
    Signal(Signal),
}

/// Why waiting for the script is over.
enum Event {
    Ended(Result<Ending, attest_script::ScriptError>),
    TimedOut,
    Lingers,
    Caught(Caught),
}

impl ScriptRun<'_> {
    pub(super) async fn drive(mut self, socket: ScriptSocket) -> Done {
        let began = Instant::now();
        let serving = tokio::spawn(socket.serve(Arc::clone(&self.session)));
        let deadline = tokio::time::Instant::now() + self.configuration.timeout;
        let session = Arc::clone(&self.session);
        let lingering = async move {
            session.script_ended().await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        tokio::pin!(lingering);
        let mut lingers = false;
        let ending = loop {
            let event = tokio::select! {
                biased;
                ended = self.process.ended() => Event::Ended(ended),
                () = tokio::time::sleep_until(deadline), if !self.configuration.interactive => Event::TimedOut,
                () = &mut lingering, if !lingers => Event::Lingers,
                caught = self.signals.next() => Event::Caught(caught),
            };
            match event {
                Event::Ended(ended) => break ended,
                Event::TimedOut => return self.time_out(began).await,
                Event::Lingers => {
                    lingers = true;
                    let what = "the script has ended, and Python waits for its threads: the machines end now";
                    log(&self.recorder, LogLevel::Warning, what);
                    self.session.close().await;
                }
                Event::Caught(Caught::Interrupt { reached_all }) => {
                    if !reached_all {
                        self.process.signal(Signal::SIGINT);
                    }
                }
                Event::Caught(Caught::Terminate) => {
                    self.end_process().await;
                    let over = Over::Signal(Signal::SIGTERM);
                    return done(over, Verdict::Interrupted, began, "terminated");
                }
            }
        };
        // All that it said is heard before its end is judged.
        let served = serving.await.expect("serving does not panic");
        self.judge(ending, served, began.elapsed())
    }

    fn judge(
        &self,
        ending: Result<Ending, attest_script::ScriptError>,
        served: Served,
        took: Duration,
    ) -> Done {
        if let Served::Unreadable(error) = served {
            log_error(&self.recorder, &attest::chain(&error));
        }
        let ending = match ending {
            Ok(ending) => ending,
            Err(error) => {
                log_error(&self.recorder, &attest::chain(&error));
                Ending::Code(i32::from(end::FAILED))
            }
        };
        let told = self.session.script_end();
        let verdict = match (&told, ending) {
            (Some(told), _) => told.verdict(),
            // Somebody at the prompt, or the script, ended Python itself.
            (None, Ending::Code(0)) => Verdict::Passed,
            (None, _) => Verdict::Failed,
        };
        let failure = match (verdict, &told) {
            (Verdict::Passed, _) => None,
            (_, Some(end)) => Some(FailureDetail {
                message: end.message.clone().unwrap_or_default(),
                ..FailureDetail::default()
            }),
            (_, None) => {
                let message = ending.unexplained();
                log_error(&self.recorder, &message);
                Some(FailureDetail {
                    message,
                    ..FailureDetail::default()
                })
            }
        };
        if verdict == Verdict::Passed && !self.configuration.interactive {
            let told = format!("test script finished in {:.2}s", took.as_secs_f64());
            log(&self.recorder, LogLevel::Info, &told);
        }
        let over = match (verdict, ending) {
            (Verdict::Passed, _) => Over::Code(0),
            (Verdict::Interrupted, _) => Over::Code(INTERRUPTED),
            // What did not say why it ended is not asked for a code.
            (_, Ending::Code(code @ 1..)) if told.is_some() => Over::Code(code),
            (_, Ending::Code(_) | Ending::Signal(_)) => Over::Code(i32::from(end::FAILED)),
        };
        Done {
            over,
            verdict,
            took,
            failure,
        }
    }

    async fn time_out(mut self, began: Instant) -> Done {
        let what = "timeout reached; test terminating...";
        log(&self.recorder, LogLevel::Error, what);
        for lab in self.session.labs() {
            for machine in lab.machines() {
                machine.kill().await;
            }
        }
        self.end_process().await;
        let seconds = self.configuration.timeout.as_secs_f64();
        let message = format!("the test did not end within {seconds} s, its global time-out");
        let over = Over::Signal(Signal::SIGTERM);
        done(over, Verdict::TimedOut, began, &message)
    }

    async fn end_process(&mut self) {
        self.process.signal(Signal::SIGTERM);
        if tokio::time::timeout(GRACE, self.process.ended())
            .await
            .is_err()
        {
            self.process.signal(Signal::SIGKILL);
            let _ = self.process.ended().await;
        }
    }
}

fn done(over: Over, verdict: Verdict, began: Instant, message: &str) -> Done {
    Done {
        over,
        verdict,
        took: began.elapsed(),
        failure: Some(FailureDetail {
            message: message.to_owned(),
            ..FailureDetail::default()
        }),
    }
}

fn log_error(recorder: &Recorder, message: &str) {
    log(recorder, LogLevel::TestError, message);
}
