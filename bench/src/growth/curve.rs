//! What was measured at each size, what follows from it, and its pictures.

use std::fs;
use std::path::Path;

use super::PowerLaw;
use super::fit::each_adds;
use crate::Result;
use crate::figure::{Compared, Report, quantile};
use crate::plot::{Plot, Series};

/// Nothing is to grow faster than this power of how much there is.
pub(crate) const EXPONENT: f64 = 1.1;

/// Something that is measured at each size.
#[derive(Debug, PartialEq)]
pub(crate) struct Measure {
    /// In the names of figures.
    pub(crate) name: &'static str,
    /// In legends.
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
    /// Below this, it says nothing of how it grows.
    pub(crate) noise: f64,
    /// Of its exponent; none where attest takes no part in it.
    pub(crate) budget: Option<f64>,
}

impl Measure {
    /// Wall time.
    pub(crate) const fn time(name: &'static str, what: &'static str) -> Self {
        Self {
            name,
            what,
            unit: "ms",
            noise: 5.0,
            budget: Some(EXPONENT),
        }
    }

    /// Processor time.
    pub(crate) const fn cpu(name: &'static str, what: &'static str) -> Self {
        Self {
            name,
            what,
            unit: "ms",
            noise: 2.0,
            budget: Some(EXPONENT),
        }
    }

    pub(crate) const fn memory(name: &'static str, what: &'static str) -> Self {
        Self {
            name,
            what,
            unit: "MB",
            noise: 0.1,
            budget: Some(EXPONENT),
        }
    }

    /// What it is compared with.
    pub(crate) const fn without_attest(self) -> Self {
        Self {
            budget: None,
            ..self
        }
    }
}

/// What one run was measured to take.
pub(crate) type Sample = Vec<(&'static Measure, f64)>;

/// What belongs into one picture.
pub(crate) struct Picture {
    /// Of its file.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) y: &'static str,
    pub(crate) measures: &'static [&'static Measure],
}

/// All runs of one kind.
pub(crate) struct Curves {
    /// What there are more and more of, in names of figures and files.
    subject: &'static str,
    /// The same, at the axis.
    x: &'static str,
    /// Size, and the sample of each round.
    sizes: Vec<(u32, Vec<Sample>)>,
}

impl Curves {
    pub(crate) fn new(subject: &'static str, x: &'static str) -> Self {
        Self {
            subject,
            x,
            sizes: Vec::new(),
        }
    }

    /// Of a run with so many, in the order of sizes at first.
    pub(crate) fn add(&mut self, size: u32, sample: Sample) {
        match self.sizes.iter_mut().find(|(known, _)| *known == size) {
            Some((_, samples)) => samples.push(sample),
            None => self.sizes.push((size, vec![sample])),
        }
    }

    /// Of one measure, for each size.
    fn points(&self, measure: &Measure) -> Vec<(f64, Vec<f64>)> {
        let of = |sample: &Sample| {
            let found = sample.iter().find(|(known, _)| *known == measure);
            found.map(|(_, amount)| *amount)
        };
        let sizes = self.sizes.iter();
        sizes
            .map(|(size, samples)| (f64::from(*size), samples.iter().filter_map(of).collect()))
            .collect()
    }

    /// How its larger half grows: at small sizes, what is there anyway hides what grows. Each round
    /// has its own exponent. Empty where too little is above noise.
    fn exponents(points: &[(f64, Vec<f64>)], noise: f64) -> (Vec<f64>, Vec<(f64, f64)>) {
        let with_median = points[points.len() / 2..].iter();
        let with_median = with_median.map(|(x, all)| (*x, all, quantile(all, 0.5)));
        let counted: Vec<_> = with_median.filter(|of| of.2 >= noise).collect();
        let rounds = points.iter().map(|(_, all)| all.len()).min().unwrap_or(0);
        let of_round = |round: usize| {
            let of_it = counted.iter().map(|(x, all, _)| (*x, all[round]));
            PowerLaw::of(&of_it.collect::<Vec<_>>()).map(|law| law.exponent)
        };
        let exponents = (0..rounds).filter_map(of_round).collect();
        let medians = counted.iter().map(|(x, _, median)| (*x, *median));
        (exponents, medians.collect())
    }

    /// How each of these grows.
    pub(crate) fn report(&self, report: &Report, pictures: &[Picture]) {
        for measure in pictures.iter().flat_map(|picture| picture.measures) {
            let points = self.points(measure);
            if points.iter().all(|(_, samples)| samples.is_empty()) {
                continue;
            }
            let (exponents, _) = Self::exponents(&points, measure.noise);
            let name = format!("growth/{}-{}", self.subject, measure.name);
            if let Some((size, samples)) = points.last() {
                let name = format!("{name}-at-{size}");
                report.figure(&name, samples, measure.unit, None, "lower", None);
            }
            if exponents.is_empty() {
                report.skipped(&format!("{name}-exponent"), "too little is above noise");
            } else {
                let name = format!("{name}-exponent");
                report.figure(&name, &exponents, "", measure.budget, "lower", None);
            }
        }
    }

    /// What each of the largest takes, beside each of the least; where one takes it so many times.
    pub(crate) fn report_each(&self, report: &Report, name: &str, measure: &Measure, times: u32) {
        let points = self.points(measure);
        let (Some(few), Some(many)) = (points.first(), points.last()) else {
            return;
        };
        let each = |(size, samples): &(f64, Vec<f64>)| {
            let all = samples.iter().map(|all| all / size / f64::from(times));
            all.collect::<Vec<_>>()
        };
        let compared = Compared {
            what: "with one",
            median: quantile(&each(few), 0.5),
        };
        let name = format!("growth/{}-{name}", self.subject);
        let (each, unit) = (each(many), measure.unit);
        report.figure(&name, &each, unit, None, "lower", Some(compared));
    }

    /// What one more adds to all of these together, in each round.
    pub(crate) fn report_one_more(
        &self,
        report: &Report,
        name: &str,
        measures: &[&Measure],
        budget: Option<f64>,
    ) {
        let all: Vec<_> = measures.iter().map(|of| self.points(of)).collect();
        let (Some(first), Some(unit)) = (all.first(), measures.first().map(|of| of.unit)) else {
            return;
        };
        let rounds = first.iter().map(|(_, of)| of.len()).min().unwrap_or(0);
        let of_round = |round: usize| {
            let sizes = first.iter().enumerate();
            let sums = sizes.map(|(size, (x, _))| {
                let sum = all.iter().map(|points| points[size].1[round]);
                (*x, sum.sum::<f64>())
            });
            each_adds(&sums.collect::<Vec<_>>())
        };
        let samples: Vec<_> = (0..rounds).filter_map(of_round).collect();
        let name = format!("growth/{}-{name}", self.subject);
        report.figure(&name, &samples, unit, budget, "lower", None);
    }

    /// One file each, `growth-SUBJECT-NAME.svg`.
    pub(crate) fn draw(&self, directory: &Path, pictures: &[Picture]) -> Result<()> {
        fs::create_dir_all(directory)?;
        for picture in pictures {
            let series = picture.measures.iter().map(|measure| self.series(measure));
            // What took nothing is not worth a line of the legend.
            let is_something = |series: &Series| {
                let mut samples = series.points.iter().flat_map(|(_, samples)| samples);
                samples.any(|sample| *sample > 0.0)
            };
            let plot = Plot {
                title: picture.title.to_owned(),
                x: self.x,
                y: picture.y.to_owned(),
                series: series.filter(is_something).collect(),
            };
            let file = format!("growth-{}-{}.svg", self.subject, picture.name);
            fs::write(directory.join(file), plot.svg())?;
        }
        Ok(())
    }

    fn series(&self, measure: &Measure) -> Series {
        let points = self.points(measure);
        let (exponents, medians) = Self::exponents(&points, measure.noise);
        let span = medians.first().zip(medians.last());
        let fit = span.filter(|_| !exponents.is_empty()).map(|(from, to)| {
            let law = PowerLaw::through(quantile(&exponents, 0.5), &medians);
            (law, from.0, to.0)
        });
        Series {
            name: measure.what.to_owned(),
            points,
            fit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(law: impl Fn(f64) -> f64) -> Vec<(f64, Vec<f64>)> {
        let sizes = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
        let rounds = |x: f64| vec![law(x), 1.1 * law(x), 0.9 * law(x)];
        sizes.map(|x| (x, rounds(x))).to_vec()
    }

    #[test]
    fn what_is_worse_than_linear_shows_in_the_larger_half() {
        let of = |law: &dyn Fn(f64) -> f64| Curves::exponents(&points(law), 1.0).0;
        let linear = of(&|x| 50.0 + 10.0 * x);
        assert!(linear.len() == 3 && linear.iter().all(|found| *found < 1.0));
        // Unseen by a line through all of it, for it begins at 50.
        let square = of(&|x| 50.0 + x * x);
        assert!(square.iter().all(|found| *found > EXPONENT), "{square:?}");
    }

    #[test]
    fn what_is_below_noise_says_nothing() {
        let (exponents, medians) = Curves::exponents(&points(|x| x * x / 1000.0), 1.0);
        assert!(exponents.is_empty() && medians.len() == 1);
    }

    #[test]
    fn rounds_of_all_sizes_are_needed() {
        static TIME: Measure = Measure::time("took", "the whole");
        let mut curves = Curves::new("tests", "tests");
        for size in [1, 2, 4, 8] {
            curves.add(size, vec![(&TIME, 10.0 * f64::from(size))]);
        }
        curves.add(1, vec![(&TIME, 12.0)]);
        let points = curves.points(&TIME);
        assert_eq!(points[0], (1.0, vec![10.0, 12.0]));
        assert_eq!(Curves::exponents(&points, 1.0).0.len(), 1);
    }
}
