//! Why a wait for a unit ended without it, in words that help.

use std::fmt;

use crate::error::near_text;
use crate::state::{JobResult, LoadState};
use crate::status::UnitStatus;
use crate::wait::Wanted;

/// A wait for a unit that ended because what it waits for will not come.
#[derive(Debug, Clone)]
pub struct WaitFailure {
    /// The unit, by the completed name that was waited for.
    pub unit: String,
    pub(crate) wanted: Wanted,
    /// What ended the wait.
    pub end: WaitEnd,
    /// What was last seen of it.
    pub status: UnitStatus,
    /// When there is no such unit: names of units that look like it.
    pub near: Vec<String>,
}

/// What ends a wait for a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitEnd {
    /// The unit failed, and nothing will start it again.
    Failed,
    /// The unit is inactive, and no job is left in the whole system that could start it.
    NothingQueued,
    /// The unit is inactive, and its own job ended like this.
    Job(JobResult),
}

impl fmt::Display for WaitFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unit, status, .. } = self;
        match status.load {
            LoadState::NotFound => {
                return write!(f, "there is no unit {unit}{}", near_text(&self.near));
            }
            LoadState::Masked => {
                return write!(
                    f,
                    "{unit} is masked, so nothing can start it; unmask it first"
                );
            }
            _ => {}
        }
        match self.end {
            WaitEnd::Failed => write!(f, "{unit} failed")?,
            WaitEnd::NothingQueued => {
                write!(
                    f,
                    "{unit} is {}, and nothing is queued that could start it",
                    status.active
                )?;
            }
            WaitEnd::Job(result) => {
                write!(
                    f,
                    "{unit} is {}, for its job ended with `{result}`",
                    status.active
                )?;
            }
        }
        match self.wanted {
            Wanted::State(wanted) => write!(f, ", while {wanted} was waited for")?,
            Wanted::Stopped => write!(f, ", while its stop was waited for")?,
        }
        write!(f, "; last seen: {status}")?;
        f.write_str(self.advice())?;
        if self.end == WaitEnd::NothingQueued && !status.triggered_by.is_empty() {
            write!(f, "; it is started by {}", status.triggered_by.join(", "))?;
        }
        Ok(())
    }
}

impl WaitFailure {
    fn advice(&self) -> &'static str {
        let status = &self.status;
        if self.end != WaitEnd::NothingQueued {
            return match self.end {
                WaitEnd::Job(JobResult::Dependency) => "; look for a failed unit that it needs",
                _ => "",
            };
        }
        if status.load != LoadState::Loaded {
            return "; its file cannot be used";
        }
        if status.condition_failed {
            return "; a condition of its file did not hold, so it was skipped";
        }
        let ran = status.result == "success" && status.main_exit.is_some();
        match (status.kind.as_str(), ran, status.remains) {
            ("oneshot", true, false) => {
                "; it ran to its end, and without RemainAfterExit=yes a oneshot is inactive then"
            }
            (_, true, _) => "; it ran to its end",
            _ => "; start it, or enable it to have it started at boot",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::properties::Properties;
    use crate::state::ActiveState;
    use crate::value::Value;

    fn failure(end: WaitEnd, more: &[(&str, Value)]) -> WaitFailure {
        let text = |name: &str, value: &str| (Value::from(name), Value::from(value));
        let mut pairs = vec![
            text("Id", "x.service"),
            text("LoadState", "loaded"),
            text("ActiveState", "inactive"),
            text("SubState", "dead"),
            text("Result", "success"),
        ];
        pairs.extend(
            more.iter()
                .map(|(name, value)| ((*name).into(), value.clone())),
        );
        WaitFailure {
            unit: "x.service".to_owned(),
            wanted: Wanted::State(ActiveState::Active),
            end,
            status: UnitStatus::new(&Properties::new("x.service", pairs).unwrap()),
            near: vec!["y.service".to_owned()],
        }
    }

    #[test]
    fn it_says_what_to_do() {
        let never = failure(
            WaitEnd::NothingQueued,
            &[("TriggeredBy", Value::Array(vec!["x.timer".into()]))],
        );
        assert_eq!(
            never.to_string(),
            "x.service is inactive, and nothing is queued that could start it, while active was \
             waited for; last seen: inactive (SubState=dead, Result=success); start it, or enable \
             it to have it started at boot; it is started by x.timer"
        );
        let ran = failure(
            WaitEnd::NothingQueued,
            &[("Type", "oneshot".into()), ("ExecMainCode", Value::I32(1))],
        );
        assert!(
            ran.to_string().ends_with("a oneshot is inactive then"),
            "{ran}"
        );
        let missing = failure(WaitEnd::NothingQueued, &[("LoadState", "not-found".into())]);
        assert_eq!(
            missing.to_string(),
            "there is no unit x.service; near it: y.service"
        );
        let masked = failure(WaitEnd::NothingQueued, &[("LoadState", "masked".into())]);
        assert!(masked.to_string().contains("masked"), "{masked}");
        let job = failure(WaitEnd::Job(JobResult::Dependency), &[]);
        assert!(
            job.to_string().contains("its job ended with `dependency`"),
            "{job}"
        );
    }
}
