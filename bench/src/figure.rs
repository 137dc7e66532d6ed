//! Figures: samples, their median and 90th percentile, beside a budget.

use std::time::Duration;

use serde::Serialize;

/// Prints figures as they come.
#[derive(Debug)]
pub(crate) struct Report {
    json: bool,
}

/// One figure.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    name: String,
    n: usize,
    median: f64,
    p90: f64,
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<f64>,
    better: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    compared_with: Option<Compared>,
}

/// What a figure is compared with, measured in the same run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Compared {
    pub(crate) what: &'static str,
    pub(crate) median: f64,
}

impl Report {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Durations, in milliseconds; lower is better.
    pub(crate) fn milliseconds(
        &self,
        name: &str,
        samples: &[Duration],
        budget: Option<f64>,
        compared_with: Option<Compared>,
    ) {
        let samples: Vec<f64> = samples
            .iter()
            .map(|sample| sample.as_secs_f64() * 1e3)
            .collect();
        self.figure(name, &samples, "ms", budget, "lower", compared_with);
    }

    /// How many times as long as what it is compared with; lower is better. Each sample has one
    /// of the other measured right after or before it, so that what disturbs one disturbs both.
    pub(crate) fn ratio(&self, name: &str, ours: &[Duration], other: &[Duration], budget: f64) {
        let ratios: Vec<f64> = ours
            .iter()
            .zip(other)
            .map(|(ours, other)| ours.as_secs_f64() / other.as_secs_f64())
            .collect();
        self.figure(name, &ratios, "times", Some(budget), "lower", None);
    }

    /// What this host lacks, with the reason. Not among the figures, for it is none.
    #[expect(
        clippy::unused_self,
        reason = "all that is said of a figure is said by a report"
    )]
    pub(crate) fn skipped(&self, name: &str, reason: &str) {
        eprintln!("skipped: {name}: {reason}");
    }

    /// Any samples.
    pub(crate) fn figure(
        &self,
        name: &str,
        samples: &[f64],
        unit: &'static str,
        budget: Option<f64>,
        better: &'static str,
        compared_with: Option<Compared>,
    ) {
        let figure = Figure {
            name: name.to_owned(),
            n: samples.len(),
            median: quantile(samples, 0.5),
            p90: quantile(samples, 0.9),
            unit,
            budget,
            better,
            compared_with,
        };
        if self.json {
            println!(
                "{}",
                serde_json::to_string(&figure).expect("figures are JSON")
            );
        } else {
            print!(
                "{:<34} {:>10.2} {unit:<5} p90 {:>10.2}  n {:>5}",
                figure.name, figure.median, figure.p90, figure.n
            );
            if let Some(budget) = budget {
                let met = if better == "lower" {
                    figure.median <= budget
                } else {
                    figure.median >= budget
                };
                print!(
                    "  budget {budget:>8.2} {}",
                    if met { "met" } else { "MISSED" }
                );
            }
            if let Some(compared) = &figure.compared_with {
                print!("  ({}: {:.2})", compared.what, compared.median);
            }
            println!();
        }
    }
}

/// The median of durations, in milliseconds.
pub(crate) fn median_ms(samples: &[Duration]) -> f64 {
    let samples: Vec<f64> = samples
        .iter()
        .map(|sample| sample.as_secs_f64() * 1e3)
        .collect();
    quantile(&samples, 0.5)
}

/// The sample at this part of the order; the nearest rank.
pub(crate) fn quantile(samples: &[f64], part: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank within the samples"
    )]
    let rank = (part * (sorted.len().saturating_sub(1)) as f64).round() as usize;
    sorted.get(rank).copied().unwrap_or(f64::NAN)
}
