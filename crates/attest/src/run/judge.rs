//! How a test ended, and what there is to show for it.

use std::time::Duration;

use attest_events::{ConsoleTail, FailureDetail, MachineEnding, Verdict};

use crate::error::Error;
use crate::lab::Lab;
use crate::machine::Machine;
use crate::systemd::journal_tails;

/// Lines of each console that a failure shows.
const TAIL: usize = 20;

/// How a test ended, and what of its time was its own.
#[derive(Debug, Clone)]
pub(crate) struct Judged {
    pub(crate) verdict: Verdict,
    pub(crate) failure: Option<FailureDetail>,
    pub(crate) duration: Duration,
}

impl Judged {
    pub(crate) fn passed(duration: Duration) -> Self {
        Self {
            verdict: Verdict::Passed,
            failure: None,
            duration,
        }
    }

    /// It began, and did not pass on this lab.
    pub(crate) fn not_passed(
        error: &Error,
        mut failure: FailureDetail,
        duration: Duration,
        lab: Option<&Lab>,
    ) -> Self {
        let mut verdict = error.verdict();
        let is_of_test = matches!(verdict, Verdict::Failed | Verdict::TimedOut);
        if let Some(crash) = lab.filter(|_| is_of_test).and_then(crash) {
            verdict = Verdict::Infrastructure;
            let (crash, failed) = (crash.chain(), failure.message);
            failure.message = format!("{crash}; the test failed without it: {failed}");
        }
        Self {
            verdict,
            failure: Some(failure),
            duration,
        }
    }

    /// It did not begin, with why.
    pub(crate) fn not_begun(verdict: Verdict, message: String) -> Self {
        let failure = FailureDetail {
            message,
            ..FailureDetail::default()
        };
        Self {
            verdict,
            failure: Some(failure),
            duration: Duration::ZERO,
        }
    }
}

/// A machine that was lost beneath the test: what the others then fail at is not the test's fault.
fn crash(lab: &Lab) -> Option<Error> {
    let mut endings = lab.machines().iter().filter_map(Machine::ending);
    endings.find(|ending| {
        matches!(
            ending,
            Error::MachineEnded {
                ending: MachineEnding::VmmCrashed,
                ..
            }
        )
    })
}

/// What is known of an error that happened on a lab, with what the machines said last.
pub(crate) async fn detail_on(lab: &Lab, error: &Error) -> FailureDetail {
    let mut detail = error.detail();
    if matches!(error, Error::Interrupted) {
        // Whoever interrupts a run does not want to wait for guests.
        detail.consoles = console_tails(lab, None);
    } else {
        add_tails(&mut detail, lab).await;
    }
    detail
}

/// Add what the machines said last.
async fn add_tails(detail: &mut FailureDetail, lab: &Lab) {
    detail.consoles = console_tails(lab, detail.machine.as_deref());
    let journals = journal_tails(lab, &detail.journals).await;
    detail.journals.extend(journals);
}

/// The ends of the consoles that matter: the machine's own, or all when it is nobody's.
fn console_tails(lab: &Lab, machine: Option<&str>) -> Vec<ConsoleTail> {
    let concerned = lab
        .machines()
        .iter()
        .filter(|each| machine.is_none_or(|name| name == each.name()));
    // One that never started has printed nothing, and has no file.
    concerned
        .map(|machine| (machine, machine.console().tail()))
        .filter(|(_, lines)| !lines.is_empty())
        .map(|(machine, lines)| ConsoleTail {
            machine: machine.name().to_owned(),
            lines: lines[lines.len().saturating_sub(TAIL)..].to_vec(),
            file: machine.console_file().display().to_string(),
        })
        .collect()
}
