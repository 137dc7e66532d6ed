//! What all runs took together: medians with their spread, and ratios pair by pair.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::header::Header;
use super::suite::Image;
use super::times::{Counted, Own, Part, Times};
use super::variant::{State, Variant};
use crate::figure::quantile;

/// attest's own share of a run may be this much of it, or this long, whichever is more.
const OWN_PART: f64 = 0.03;
const OWN_MS: f64 = 50.0;

/// All of it, as it is written down.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) header: Header,
    pub(crate) rows: Vec<Row>,
    pub(crate) skipped: Vec<Skipped>,
    /// Of those, what should have worked.
    #[serde(skip)]
    pub(crate) broken: Vec<String>,
}

/// A way to run a suite, and what it took.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) suite: &'static str,
    pub(crate) variant: String,
    pub(crate) n: usize,
    pub(crate) total_ms: Spread,
    /// Medians. What is not among them cannot be seen from outside, and counts to the one before it.
    pub(crate) parts_ms: BTreeMap<&'static str, f64>,
    /// How many times as fast as the NixOS test driver on its start scripts, with the same image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) faster: Option<Spread>,
    /// The same, with the image that the distribution would start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) faster_than_stock: Option<Spread>,
    /// That this should be at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) own: Option<OwnShare>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) counted: Option<Counted>,
    /// What is not as it is with attest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<&'static str>,
}

/// A way that was not tried, or did not work.
#[derive(Debug, Serialize)]
pub(crate) struct Skipped {
    pub(crate) suite: &'static str,
    pub(crate) variant: String,
    pub(crate) reason: String,
}

/// The median, the least and the most.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// attest's own share: medians, in milliseconds.
#[derive(Debug, Serialize)]
pub(crate) struct OwnShare {
    pub(crate) ms: f64,
    /// What the run waits for; the rest are processors that are used beside the guests.
    pub(crate) waited_ms: f64,
    pub(crate) percent: f64,
    pub(crate) budget_ms: f64,
    /// By name, the largest first.
    pub(crate) parts_ms: Vec<(String, f64)>,
}

impl OwnShare {
    pub(crate) fn is_met(&self) -> bool {
        self.ms <= self.budget_ms
    }
}

impl Spread {
    fn of(samples: &[f64]) -> Self {
        Self {
            median: quantile(samples, 0.5),
            min: quantile(samples, 0.0),
            max: quantile(samples, 1.0),
        }
    }
}

/// The runs of one way, by their rounds.
#[derive(Debug)]
pub(crate) struct Runs {
    pub(crate) variant: Variant,
    pub(crate) rounds: BTreeMap<usize, Times>,
    pub(crate) notes: Vec<&'static str>,
    pub(crate) failures: Failures,
}

/// Runs of one way that did not end well: why, by their rounds.
#[derive(Debug, Default)]
pub(crate) struct Failures(BTreeMap<usize, String>);

impl Failures {
    pub(crate) fn add(&mut self, round: usize, error: &str) {
        self.0.insert(round, error.to_owned());
    }

    /// Which failed and why, in one line: whole logs are for the terminal. `None` where all went well.
    pub(crate) fn told(&self) -> Option<String> {
        let (_, last) = self.0.last_key_value()?;
        let rounds: Vec<String> = self.0.keys().map(|round| (round + 1).to_string()).collect();
        let mut lines = last.lines();
        let first = lines.next().unwrap_or_default().trim_end_matches(':');
        // So both drivers mark what ended a script.
        let cause = lines.rev().find_map(|line| line.strip_prefix("!!! "));
        let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
        Some(format!(
            "failed in round {}; the last: {first}{cause}",
            rounds.join(", ")
        ))
    }
}

/// What a way is compared with: the NixOS test driver on these images.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nixos<'a> {
    pub(crate) lean: Option<&'a Runs>,
    pub(crate) stock: Option<&'a Runs>,
}

impl<'a> Nixos<'a> {
    pub(crate) fn among(all: &'a [Runs]) -> Self {
        let with = |image| {
            all.iter()
                .find(|runs| runs.variant == Variant::Nixos(image))
        };
        Self {
            lean: with(Image::Lean),
            stock: with(Image::Stock),
        }
    }
}

/// The row of one way.
pub(crate) fn row(suite: &'static str, runs: &Runs, nixos: Nixos<'_>) -> Option<Row> {
    let times: Vec<&Times> = runs.rounds.values().collect();
    let last = *times.last()?;
    let totals: Vec<f64> = times.iter().map(|times| ms(times.total)).collect();
    let total_ms = Spread::of(&totals);
    let than = |nixos: Option<&Runs>| nixos.and_then(|nixos| faster(runs, nixos));
    let faster = than(nixos.lean);
    Some(Row {
        suite,
        variant: runs.variant.to_string(),
        n: times.len(),
        parts_ms: parts(&times),
        target: faster.and_then(|_| target(suite, &runs.variant)),
        faster,
        faster_than_stock: than(nixos.stock),
        own: own(&times, total_ms.median),
        counted: last.counted,
        notes: runs.notes.clone(),
        total_ms,
    })
}

/// Pair by pair: both of a round had the same neighbours on the host.
fn faster(runs: &Runs, nixos: &Runs) -> Option<Spread> {
    let pairs = runs.rounds.iter().filter_map(|(round, ours)| {
        let theirs = nixos.rounds.get(round)?;
        Some(theirs.total.as_secs_f64() / ours.total.as_secs_f64())
    });
    let ratios: Vec<f64> = pairs.collect();
    (!ratios.is_empty()).then(|| Spread::of(&ratios))
}

/// How many times as fast as the NixOS test driver attest's virtual machines should be.
fn target(suite: &str, variant: &Variant) -> Option<f64> {
    let Variant::Attest { backend, state, .. } = variant else {
        return None;
    };
    if !backend.is_virtual() {
        return None;
    }
    match (state, suite) {
        (State::Warm, _) => Some(3.0),
        (State::Restored, "module-smoke") => Some(15.0),
        (State::Restored, "policy-reload") => Some(20.0),
        (State::Restored, _) => Some(6.0),
        (State::Cold, _) => None,
    }
}

fn parts(times: &[&Times]) -> BTreeMap<&'static str, f64> {
    let of = |part: Part| {
        let samples: Vec<f64> = times
            .iter()
            .filter_map(|times| {
                let found = times.parts.iter().find(|(is, _)| *is == part);
                found.map(|(_, took)| ms(*took))
            })
            .collect();
        (!samples.is_empty()).then(|| (part.name(), quantile(&samples, 0.5)))
    };
    Part::ALL.into_iter().filter_map(of).collect()
}

fn own(times: &[&Times], total: f64) -> Option<OwnShare> {
    let all: Vec<&Own> = times
        .iter()
        .filter_map(|times| times.own.as_ref())
        .collect();
    if all.is_empty() {
        return None;
    }
    let shares: Vec<f64> = all.iter().map(|own| ms(own.share)).collect();
    let waited: Vec<f64> = all.iter().map(|own| ms(own.waited)).collect();
    let mut by_name: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (name, took) in all.iter().flat_map(|own| &own.parts) {
        by_name.entry(name).or_default().push(ms(*took));
    }
    let mut parts_ms: Vec<(String, f64)> = by_name
        .into_iter()
        .map(|(name, samples)| (name.to_owned(), quantile(&samples, 0.5)))
        .collect();
    parts_ms.sort_by(|one, other| other.1.total_cmp(&one.1));
    let ms = quantile(&shares, 0.5);
    Some(OwnShare {
        ms,
        waited_ms: quantile(&waited, 0.5),
        percent: 100.0 * ms / total,
        budget_ms: OWN_MS.max(OWN_PART * total),
        parts_ms,
    })
}

fn ms(duration: Duration) -> f64 {
    // More digits say nothing.
    (duration.as_secs_f64() * 1e5).round() / 1e2
}

#[cfg(test)]
pub(super) mod tests {
    use attest::Backend;

    use super::*;
    use crate::suites::variant::Surface;

    pub(crate) fn runs(variant: Variant, totals: &[u64]) -> Runs {
        let rounds = totals.iter().enumerate().map(|(round, ms)| {
            let total = Duration::from_millis(*ms);
            let mut times = Times::new(
                total,
                vec![(Part::Boot, total / 2), (Part::Test, total / 2)],
            );
            if matches!(variant, Variant::Attest { .. }) {
                times.own = Some(Own {
                    share: Duration::from_millis(60),
                    waited: Duration::from_millis(40),
                    parts: vec![("plan".to_owned(), Duration::from_millis(40))],
                });
            }
            (round, times)
        });
        Runs {
            rounds: rounds.collect(),
            variant,
            notes: Vec::new(),
            failures: Failures::default(),
        }
    }

    const NOTHING: Nixos<'_> = Nixos {
        lean: None,
        stock: None,
    };

    fn lean(runs: &Runs) -> Nixos<'_> {
        Nixos {
            lean: Some(runs),
            ..NOTHING
        }
    }

    pub(crate) fn restored() -> Variant {
        Variant::Attest {
            surface: Surface::Python,
            backend: Backend::Qemu,
            state: State::Restored,
            jobs: 2,
        }
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let nixos = runs(Variant::Nixos(Image::Lean), &[20_000, 40_000, 30_000]);
        // The second round was a busy one, for both.
        let ours = runs(restored(), &[1000, 2000, 1000]);
        let row = row("policy-reload", &ours, lean(&nixos)).unwrap();
        let faster = row.faster.unwrap();
        assert_eq!((faster.min, faster.median, faster.max), (20.0, 20.0, 30.0));
        assert_eq!(row.target, Some(20.0));
        assert!((row.total_ms.median - 1000.0).abs() < 1e-6);
    }

    #[test]
    fn the_own_share_has_the_larger_of_both_budgets() {
        let of = |total| {
            row("policy-reload", &runs(restored(), &[total]), NOTHING)
                .unwrap()
                .own
                .unwrap()
        };
        assert!(!of(1000).is_met());
        assert!(of(2100).is_met());
        assert!((of(1000).percent - 6.0).abs() < 1e-6);
    }

    #[test]
    fn failures_are_told_in_one_line() {
        let mut failures = Failures::default();
        assert_eq!(failures.told(), None);
        failures.add(0, "no such program");
        failures.add(
            3,
            "x ended with 1 on y:\nlog\n!!! Traceback:\n!!! MachineError: a: b\ncleanup",
        );
        assert_eq!(
            failures.told().unwrap(),
            "failed in round 1, 4; the last: x ended with 1 on y: MachineError: a: b"
        );
    }

    #[test]
    fn nothing_is_compared_with_nothing() {
        assert!(row("policy-reload", &runs(restored(), &[]), NOTHING).is_none());
        let row = row("policy-reload", &runs(restored(), &[5]), NOTHING).unwrap();
        assert!(row.faster.is_none() && row.target.is_none());
    }
}
