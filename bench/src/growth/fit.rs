//! How something grows: the line through it, on logarithmic axes and on plain ones.

/// `y = factor · x^exponent`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PowerLaw {
    pub(crate) exponent: f64,
    pub(crate) factor: f64,
}

impl PowerLaw {
    /// The one with the least squares on logarithmic axes. None where fewer than two sizes are
    /// above zero, for they are on no such axis.
    pub(crate) fn of(points: &[(f64, f64)]) -> Option<Self> {
        let above = points.iter().filter(|(x, y)| *x > 0.0 && *y > 0.0);
        let logarithms: Vec<_> = above.map(|(x, y)| (x.ln(), y.ln())).collect();
        let (exponent, intercept) = line(&logarithms)?;
        Some(Self {
            exponent,
            factor: intercept.exp(),
        })
    }

    /// The one with this exponent that goes through the middle of these, all above zero.
    pub(crate) fn through(exponent: f64, points: &[(f64, f64)]) -> Self {
        let offsets = points.iter().map(|(x, y)| y.ln() - exponent * x.ln());
        #[expect(clippy::cast_precision_loss, reason = "few")]
        let number = points.len() as f64;
        Self {
            exponent,
            factor: (offsets.sum::<f64>() / number).exp(),
        }
    }

    pub(crate) fn at(self, x: f64) -> f64 {
        self.factor * x.powf(self.exponent)
    }
}

/// What each one more adds, whatever there is without any: the slope with the least squares.
pub(crate) fn each_adds(points: &[(f64, f64)]) -> Option<f64> {
    line(points).map(|(slope, _)| slope)
}

/// Slope and intercept.
fn line(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    #[expect(clippy::cast_precision_loss, reason = "few")]
    let number = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / number;
    let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
    let deviations = points.iter().map(|(x, y)| (x - mean_x, y - mean_y));
    let (both, square) = deviations.fold((0.0, 0.0), |(both, square), (dx, dy)| {
        (both + dx * dy, square + dx * dx)
    });
    // Fewer than two sizes, which no line goes through.
    (square > 0.0).then(|| (both / square, mean_y - both / square * mean_x))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(law: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        let sizes = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
        sizes.map(|x| (x, law(x))).to_vec()
    }

    fn is(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    }

    #[test]
    fn finds_the_law_that_made_the_points() {
        for (exponent, factor) in [(0.0, 3.0), (1.0, 0.25), (1.7, 12.0), (2.0, 1.0)] {
            let law = PowerLaw { exponent, factor };
            let found = PowerLaw::of(&points(|x| law.at(x))).unwrap();
            is(found.exponent, exponent);
            is(found.factor, factor);
            let through = PowerLaw::through(exponent, &points(|x| law.at(x)));
            is(through.factor, factor);
        }
    }

    #[test]
    fn noise_to_both_sides_changes_little() {
        let mut noisy = points(|x| 2.0 * x);
        for (number, point) in noisy.iter_mut().enumerate() {
            point.1 *= if number % 2 == 0 { 1.05 } else { 0.95 };
        }
        let found = PowerLaw::of(&noisy).unwrap().exponent;
        assert!((found - 1.0).abs() < 0.03, "{found}");
    }

    #[test]
    fn what_no_law_goes_through_has_none() {
        assert_eq!(PowerLaw::of(&[]), None);
        assert_eq!(PowerLaw::of(&[(1.0, 2.0)]), None);
        assert_eq!(PowerLaw::of(&[(4.0, 2.0), (4.0, 3.0)]), None);
        assert_eq!(PowerLaw::of(&[(1.0, 0.0), (2.0, 3.0)]), None);
        assert_eq!(each_adds(&[(4.0, 2.0)]), None);
    }

    #[test]
    fn what_each_adds_does_not_depend_on_what_is_there_without() {
        for fixed in [0.0, 20.0] {
            let found = each_adds(&points(|x| fixed + 1.5 * x));
            is(found.unwrap(), 1.5);
        }
    }
}
