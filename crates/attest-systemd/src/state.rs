//! The states that systemd names.

use crate::value::Value;

/// An enum of systemd's words. A word that is not known yet is not an error.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$doc])* $variant,)*
            /// A word of a systemd newer than this.
            Unknown,
        }

        impl $name {
            /// systemd's word.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                    Self::Unknown => "unknown",
                }
            }

            /// What a word of systemd's means.
            pub fn of(word: &str) -> Self {
                match word {
                    $($word => Self::$variant,)*
                    _ => Self::Unknown,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

words! {
    /// What a unit does.
    ActiveState {
        /// Started, bound, mounted, plugged in.
        Active = "active",
        /// Active, and reading its configuration anew.
        Reloading = "reloading",
        /// Active, and its mounts are being refreshed.
        Refreshing = "refreshing",
        /// Stopped, or never started.
        Inactive = "inactive",
        /// Stopped, because it failed.
        Failed = "failed",
        /// Starting, or waiting to be restarted after it ended.
        Activating = "activating",
        /// Stopping.
        Deactivating = "deactivating",
        /// Its directories are being cleaned.
        Maintenance = "maintenance",
    }
}

words! {
    /// Whether a unit's configuration is known.
    LoadState {
        /// It is.
        Loaded = "loaded",
        /// There is no file for it.
        NotFound = "not-found",
        /// Its file has a setting that makes it unusable.
        BadSetting = "bad-setting",
        /// Reading its file failed.
        Error = "error",
        /// It turned out to be another unit.
        Merged = "merged",
        /// It was linked to `/dev/null`, and cannot be started.
        Masked = "masked",
        /// Not read yet.
        Stub = "stub",
    }
}

words! {
    /// What a manager does as a whole.
    SystemState {
        /// Booting, before `basic.target`.
        Initializing = "initializing",
        /// Booting, and jobs are left.
        Starting = "starting",
        /// Up, and all is well.
        Running = "running",
        /// Up, and units have failed.
        Degraded = "degraded",
        /// `rescue.target` or `emergency.target`.
        Maintenance = "maintenance",
        /// On its way down.
        Stopping = "stopping",
    }
}

words! {
    /// How a job ended.
    JobResult {
        /// What was asked for is so.
        Done = "done",
        /// It was cancelled before its end, as by an opposite job.
        Canceled = "canceled",
        /// `JobTimeoutSec=` passed.
        Timeout = "timeout",
        /// The unit failed.
        Failed = "failed",
        /// A unit that it needs failed.
        Dependency = "dependency",
        /// It does not apply to the state in which the unit is.
        Skipped = "skipped",
        /// The unit cannot do that, as a reload.
        Invalid = "invalid",
        /// An `Assert…=` of the unit does not hold.
        Assert = "assert",
        /// This system does not support units of its type.
        Unsupported = "unsupported",
        /// The unit went away before the job ran.
        Collected = "collected",
        /// The unit may be started only once, and was.
        Once = "once",
        /// The unit is frozen.
        Frozen = "frozen",
        /// As many units as its slice may have are active already.
        Concurrency = "concurrency",
    }
}

/// Bytes of a sub-state; the longest of systemd's has 26.
const LONGEST_SUB: usize = 64;

/// As much of a unit's state as a wait needs, all of one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnitState {
    pub(crate) active: ActiveState,
    pub(crate) sub: String,
    /// Its job; 0 for none.
    pub(crate) job: u32,
    /// When it last left `inactive`, on the guest's monotonic clock. As long as it is the same,
    /// an inactive unit has been inactive all the time.
    pub(crate) left_inactive: u64,
}

impl UnitState {
    /// From the properties that a signal says have changed.
    pub(crate) fn of_changes(changes: &[(Value, Value)]) -> Option<Self> {
        let (mut active, mut sub, mut job, mut left) = (None, None, None, None);
        for (name, value) in changes {
            let Value::Variant(variant) = value else {
                continue;
            };
            let value = &variant.value;
            match name.as_str()? {
                "ActiveState" => active = value.as_str().map(ActiveState::of),
                "SubState" => sub = value.as_str(),
                "Job" => job = value.items().and_then(|job| job.first()?.as_u64()),
                "InactiveExitTimestampMonotonic" => left = value.as_u64(),
                _ => {}
            }
        }
        Some(Self {
            active: active?,
            sub: short(sub?),
            job: u32::try_from(job?).ok()?,
            left_inactive: left?,
        })
    }

    /// Inactive, nothing of its own queued, and not between two tries of `Restart=`: by itself
    /// it will not become anything else.
    pub(crate) fn is_idle(&self) -> bool {
        self.active == ActiveState::Inactive && self.rests()
    }

    /// Failed, and nothing will try it again.
    pub(crate) fn is_failed(&self) -> bool {
        self.active == ActiveState::Failed && self.rests()
    }

    fn rests(&self) -> bool {
        // Since 254 a service that will be restarted is `failed` or `inactive` for an instant.
        self.job == 0 && !self.sub.ends_with("-before-auto-restart")
    }
}

pub(crate) fn short(sub: &str) -> String {
    sub[..sub.floor_char_boundary(LONGEST_SUB)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Variant;

    fn change(name: &str, signature: &str, value: Value) -> (Value, Value) {
        let signature = signature.to_owned();
        let variant = Variant { signature, value };
        (name.into(), Value::Variant(Box::new(variant)))
    }

    fn changes(active: &str, sub: &str, job: u32) -> Vec<(Value, Value)> {
        let job = Value::Struct(vec![Value::U32(job), Value::Path("/".into())]);
        vec![
            change("ActiveState", "s", active.into()),
            change("SubState", "s", sub.into()),
            change("Job", "(uo)", job),
            change("InactiveExitTimestampMonotonic", "t", Value::U64(5)),
            change("Other", "s", "x".into()),
        ]
    }

    #[test]
    fn a_signal_says_the_state_only_when_it_says_all_of_it() {
        let all = changes("activating", "start-pre", 7);
        let state = UnitState::of_changes(&all).unwrap();
        assert_eq!(state.active, ActiveState::Activating);
        assert_eq!(
            (state.sub.as_str(), state.job, state.left_inactive),
            ("start-pre", 7, 5)
        );
        for missing in 0..4 {
            let mut some = all.clone();
            some.remove(missing);
            assert_eq!(UnitState::of_changes(&some), None, "without {missing}");
        }
    }

    #[test]
    fn only_what_rests_is_at_its_end() {
        let state = |active, sub, job| UnitState::of_changes(&changes(active, sub, job)).unwrap();
        assert!(state("inactive", "dead", 0).is_idle());
        assert!(!state("inactive", "dead", 3).is_idle());
        assert!(!state("inactive", "dead-before-auto-restart", 0).is_idle());
        assert!(state("failed", "failed", 0).is_failed());
        assert!(!state("failed", "failed", 3).is_failed());
        assert!(!state("failed", "failed-before-auto-restart", 0).is_failed());
        assert!(!state("activating", "auto-restart", 0).is_idle());
        assert!(!state("failed", "failed", 0).is_idle());
    }

    #[test]
    fn new_words_are_no_error() {
        assert_eq!(ActiveState::of("dancing"), ActiveState::Unknown);
        assert_eq!(JobResult::of("dependency").to_string(), "dependency");
        assert_eq!(short(&"é".repeat(40)).len(), 64);
    }
}
