//! A unit's state, as far as people want to know it.

use std::fmt;

use crate::properties::Properties;
use crate::show;
use crate::state::{ActiveState, LoadState, UnitState, short};
use crate::value::{Value, quoted};

/// A unit's state and how it came to it, all of one instant.
///
/// [`Display`](fmt::Display) is one line, as
/// `failed (SubState=failed, Result=exit-code, ExecMainCode=exited, ExecMainStatus=3)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitStatus {
    /// Its name; for an alias, the unit behind it.
    pub unit: String,
    /// Whether its configuration is known.
    pub load: LoadState,
    /// What it does.
    pub active: ActiveState,
    /// The same in the words of its type.
    pub sub: String,
    /// The number of its job, if it has one.
    pub job: Option<u32>,
    /// `success`, or why it failed: `exit-code`, `signal`, `timeout`, `start-limit-hit`, ….
    /// Empty for units that cannot fail.
    pub result: String,
    /// How its main process ended, if it has.
    pub main_exit: Option<MainExit>,
    /// What a service says of itself (`sd_notify`).
    pub status_text: String,
    /// Why its configuration is not known.
    pub load_error: String,
    /// `Type=` of a service.
    pub kind: String,
    /// `RemainAfterExit=` of a service.
    pub remains: bool,
    /// Whether a `Condition…=` did not hold at the last start.
    pub condition_failed: bool,
    /// How often `Restart=` started it again.
    pub restarts: u64,
    /// Units that start it when something happens: sockets, timers, paths.
    pub triggered_by: Vec<String>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MainExit {
    /// The `si_code` of SIGCHLD: 1 exited, 2 killed, 3 dumped core.
    pub code: i64,
    /// The exit code, or the signal.
    pub status: i64,
}

impl UnitStatus {
    pub(crate) fn new(properties: &Properties) -> Self {
        let number = |name| {
            properties
                .get(name)
                .and_then(Value::as_i64)
                .unwrap_or_default()
        };
        let main_exit = MainExit {
            code: number("ExecMainCode"),
            status: number("ExecMainStatus"),
        };
        let condition_failed = properties.u64("ConditionTimestampMonotonic") != 0
            && properties.get("ConditionResult") == Some(&Value::Bool(false));
        let load_error = properties.text("LoadError").unwrap_or_default();
        let state = UnitState::of_properties(properties);
        Self {
            unit: properties.str("Id").to_owned(),
            load: LoadState::of(properties.str("LoadState")),
            active: state.active,
            sub: state.sub,
            job: (state.job != 0).then_some(state.job),
            result: properties.str("Result").to_owned(),
            main_exit: (main_exit.code != 0).then_some(main_exit),
            status_text: properties.str("StatusText").to_owned(),
            load_error,
            kind: properties.str("Type").to_owned(),
            remains: properties.get("RemainAfterExit") == Some(&Value::Bool(true)),
            condition_failed,
            restarts: properties.u64("NRestarts"),
            triggered_by: properties.texts("TriggeredBy"),
        }
    }
}

impl UnitState {
    pub(crate) fn of_properties(properties: &Properties) -> Self {
        let job = properties.get("Job").and_then(Value::items);
        let job = job
            .and_then(|job| job.first()?.as_u64())
            .unwrap_or_default();
        Self {
            active: ActiveState::of(properties.str("ActiveState")),
            sub: short(properties.str("SubState")),
            job: u32::try_from(job).unwrap_or_default(),
            left_inactive: properties.u64("InactiveExitTimestampMonotonic"),
        }
    }
}

impl fmt::Display for UnitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SubState={}", self.active, self.sub)?;
        if self.load != LoadState::Loaded {
            write!(f, ", LoadState={}", self.load)?;
        }
        if !self.load_error.is_empty() {
            write!(f, ", LoadError={}", self.load_error)?;
        }
        if let Some(job) = self.job {
            write!(f, ", Job={job}")?;
        }
        if !self.result.is_empty() {
            write!(f, ", Result={}", self.result)?;
        }
        if let Some(exit) = self.main_exit {
            let MainExit { code, status } = exit;
            write!(f, ", ExecMainCode={}", show::exit_code_name(code))?;
            write!(f, ", ExecMainStatus={status}")?;
            if code != 1 {
                write!(f, "/{}", show::signal_name(Some(status)))?;
            }
        }
        if self.restarts > 0 {
            write!(f, ", NRestarts={}", self.restarts)?;
        }
        if self.condition_failed {
            f.write_str(", ConditionResult=no")?;
        }
        if !self.status_text.is_empty() {
            write!(f, ", StatusText={}", quoted(&self.status_text))?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_in_a_line_what_happened() {
        let pairs = vec![
            ("Id".into(), "x.service".into()),
            ("LoadState".into(), "loaded".into()),
            ("ActiveState".into(), "failed".into()),
            ("SubState".into(), "failed".into()),
            ("Result".into(), "signal".into()),
            ("ExecMainCode".into(), Value::I32(2)),
            ("ExecMainStatus".into(), Value::I32(9)),
            ("StatusText".into(), "half done".into()),
            ("NRestarts".into(), Value::U32(2)),
        ];
        let status = UnitStatus::new(&Properties::new("x.service", pairs).unwrap());
        assert_eq!(
            status.to_string(),
            "failed (SubState=failed, Result=signal, ExecMainCode=killed, \
             ExecMainStatus=9/KILL, NRestarts=2, StatusText=\"half done\")"
        );
    }

    #[test]
    fn what_a_unit_lacks_is_left_out() {
        let pairs = vec![
            ("LoadState".into(), "not-found".into()),
            ("ActiveState".into(), "inactive".into()),
            ("SubState".into(), "dead".into()),
        ];
        let status = UnitStatus::new(&Properties::new("x.mount", pairs).unwrap());
        assert_eq!(
            status.to_string(),
            "inactive (SubState=dead, LoadState=not-found)"
        );
    }
}
