//! Plots as SVG: how something grows, on logarithmic axes.
//!
//! Written by hand, for the library that there is (`plotters`) has had no release since 2024 and
//! knows one colour for each thing: what is to be read on light and on dark pages alike needs either
//! styles, which it does not write, or colours between, which are most of what is here.

use std::fmt::Write as _;

use crate::figure::quantile;
use crate::growth::PowerLaw;

const WIDTH: f64 = 780.0;
const HEIGHT: f64 = 440.0;
/// Of the area between the axes.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 490.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 385.0;
/// Between lines of the legend.
const LINE: f64 = 36.0;
/// As far from white as from black; and so are all of these.
const INK: &str = "#767676";
const COLOURS: [&str; 7] = [
    "#2f7ed8", "#d9660a", "#2a9458", "#9d5bd2", "#c9447c", "#8a7a1f", "#178a94",
];

/// One picture.
#[derive(Debug)]
pub(crate) struct Plot {
    /// What is measured.
    pub(crate) title: String,
    /// Of what there are more to the right.
    pub(crate) x: &'static str,
    /// The unit, too.
    pub(crate) y: String,
    pub(crate) series: Vec<Series>,
}

/// What belongs together in it.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// Samples of each size.
    pub(crate) points: Vec<(f64, Vec<f64>)>,
    /// The law, and from where to where it was found.
    pub(crate) fit: Option<(PowerLaw, f64, f64)>,
}

impl Plot {
    /// The same bytes for the same samples.
    pub(crate) fn svg(&self) -> String {
        let mut svg = String::new();
        let title = escaped(&self.title);
        let _ = write!(
            svg,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" font-family="sans-serif" font-size="12" fill="{INK}">
<title>{title}</title>
<text x="{LEFT}" y="26" font-size="15" font-weight="bold">{title}</text>
"#
        );
        // Sizes and amounts of zero are on no logarithmic axis.
        let points = self.series.iter().flat_map(|series| &series.points);
        let above = points.flat_map(|(x, samples)| samples.iter().map(|y| (*x, *y)));
        let above: Vec<_> = above.filter(|(x, y)| *x > 0.0 && *y > 0.0).collect();
        if above.is_empty() {
            let _ = writeln!(svg, r#"<text x="{LEFT}" y="{TOP}">no samples</text>"#);
        } else {
            let axes = Axes::around(&above);
            self.axes(&mut svg, &axes, &above);
            for (number, (series, colour)) in
                self.series.iter().zip(COLOURS.iter().cycle()).enumerate()
            {
                series.draw(&mut svg, &axes, colour);
                series.explain(&mut svg, number, colour);
            }
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn axes(&self, svg: &mut String, axes: &Axes, points: &[(f64, f64)]) {
        let _ = writeln!(
            svg,
            r#"<g stroke="{INK}" stroke-width="0.5" stroke-opacity="0.4">"#
        );
        let mut sizes: Vec<f64> = points.iter().map(|point| point.0).collect();
        sizes.sort_by(f64::total_cmp);
        sizes.dedup();
        for size in &sizes {
            let x = axes.x(*size);
            let _ = writeln!(svg, r#"<path d="M{x:.1} {TOP}V{BOTTOM}"/>"#);
        }
        let ticks = axes.ticks();
        for tick in &ticks {
            let y = axes.y(*tick);
            let _ = writeln!(svg, r#"<path d="M{LEFT} {y:.1}H{RIGHT}"/>"#);
        }
        svg.push_str("</g>\n<g text-anchor=\"middle\">\n");
        for size in &sizes {
            let (x, y) = (axes.x(*size), BOTTOM + 17.0);
            let _ = writeln!(svg, r#"<text x="{x:.1}" y="{y:.1}">{size}</text>"#);
        }
        let (x, y) = (f64::midpoint(LEFT, RIGHT), BOTTOM + 40.0);
        let _ = writeln!(svg, r#"<text x="{x}" y="{y}">{}</text>"#, escaped(self.x));
        let y = f64::midpoint(TOP, BOTTOM);
        let _ = writeln!(
            svg,
            r#"<text transform="translate(18 {y}) rotate(-90)">{}</text>"#,
            escaped(&self.y)
        );
        svg.push_str("</g>\n<g text-anchor=\"end\">\n");
        for tick in &ticks {
            let (x, y) = (LEFT - 6.0, axes.y(*tick) + 4.0);
            let _ = writeln!(svg, r#"<text x="{x}" y="{y:.1}">{tick}</text>"#);
        }
        svg.push_str("</g>\n");
    }
}

impl Series {
    /// From the least to the greatest of each size, the median on it; a line through the medians,
    /// and a broken one where the law says that they were.
    fn draw(&self, svg: &mut String, axes: &Axes, colour: &str) {
        let _ = writeln!(
            svg,
            r#"<g stroke="{colour}" fill="none" stroke-width="1.5">"#
        );
        let mut medians = Vec::new();
        for (size, samples) in &self.points {
            let [least, median, most] = [0.0, 0.5, 1.0].map(|part| quantile(samples, part));
            if least > 0.0 && *size > 0.0 {
                let (x, low, high) = (axes.x(*size), axes.y(least), axes.y(most));
                let _ = writeln!(
                    svg,
                    r#"<path d="M{x:.1} {low:.1}V{high:.1}" stroke-width="4" stroke-opacity="0.35"/>"#
                );
                medians.push((x, axes.y(median)));
            }
        }
        let corners = medians.iter().map(|(x, y)| format!("{x:.1},{y:.1}"));
        let corners = corners.collect::<Vec<_>>().join(" ");
        let _ = writeln!(svg, r#"<polyline points="{corners}"/>"#);
        for (x, y) in &medians {
            let _ = writeln!(
                svg,
                r#"<circle cx="{x:.1}" cy="{y:.1}" r="2.5" fill="{colour}"/>"#
            );
        }
        if let Some((law, from, to)) = self.fit {
            let [(x1, y1), (x2, y2)] = [from, to].map(|x| (axes.x(x), axes.y(law.at(x))));
            let _ = writeln!(
                svg,
                r#"<path d="M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}" stroke-dasharray="5 4"/>"#
            );
        }
        svg.push_str("</g>\n");
    }

    fn explain(&self, svg: &mut String, number: usize, colour: &str) {
        #[expect(clippy::cast_precision_loss, reason = "few")]
        let y = TOP + 10.0 + LINE * number as f64;
        let (x, text) = (RIGHT + 18.0, RIGHT + 46.0);
        let _ = writeln!(
            svg,
            r#"<path d="M{x} {:.1}h20" stroke="{colour}" stroke-width="3"/>"#,
            y - 4.0
        );
        let name = escaped(&self.name);
        let _ = writeln!(svg, r#"<text x="{text}" y="{y:.1}">{name}</text>"#);
        let law = match self.fit {
            Some((law, from, to)) => format!("∝ n^{:.2} from {from} to {to}", law.exponent),
            None => "too little to tell how it grows".to_owned(),
        };
        let y = y + 14.0;
        let _ = writeln!(
            svg,
            r#"<text x="{text}" y="{y:.1}" font-size="11">{law}</text>"#
        );
    }
}

/// From what to what they go, as logarithms.
struct Axes {
    x: (f64, f64),
    y: (f64, f64),
}

impl Axes {
    /// With a little room on all sides.
    fn around(points: &[(f64, f64)]) -> Self {
        let span = |of: fn(&(f64, f64)) -> f64, room: f64| {
            let logarithms = points.iter().map(|point| of(point).log10());
            let (least, most) = logarithms.fold((f64::INFINITY, f64::NEG_INFINITY), |span, at| {
                (span.0.min(at), span.1.max(at))
            });
            (least - room, most + room)
        };
        Self {
            x: span(|point| point.0, 0.06),
            y: span(|point| point.1, 0.12),
        }
    }

    fn x(&self, size: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * (size.log10() - self.x.0) / (self.x.1 - self.x.0)
    }

    fn y(&self, amount: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * (amount.log10() - self.y.0) / (self.y.1 - self.y.0)
    }

    /// Round amounts that are on the axis: powers of ten, and 2 and 5 of them where there is room.
    fn ticks(&self) -> Vec<f64> {
        let steps: &[f64] = if self.y.1 - self.y.0 > 2.5 {
            &[1.0]
        } else {
            &[1.0, 2.0, 5.0]
        };
        #[expect(clippy::cast_possible_truncation, reason = "some tens at most")]
        let powers = self.y.0.floor() as i32..=self.y.1.ceil() as i32;
        let all = powers.flat_map(|power| {
            // Not by multiplication, which makes 0.30000000000000004 of some.
            let amounts = steps.iter().map(move |step| format!("{step}e{power}"));
            amounts.filter_map(|amount| amount.parse::<f64>().ok())
        });
        all.filter(|tick| (self.y.0..=self.y.1).contains(&tick.log10()))
            .collect()
    }
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growing(name: &str, law: PowerLaw) -> Series {
        let sizes = [1.0, 2.0, 4.0, 8.0];
        let samples = |x| [0.9, 1.0, 1.2].map(|part| part * law.at(x)).to_vec();
        Series {
            name: name.to_owned(),
            points: sizes.map(|x| (x, samples(x))).to_vec(),
            fit: Some((law, 2.0, 8.0)),
        }
    }

    fn law(exponent: f64) -> PowerLaw {
        PowerLaw {
            exponent,
            factor: 3.0,
        }
    }

    fn plot(series: Vec<Series>) -> Plot {
        Plot {
            title: "Steps & <parts> of a run".to_owned(),
            x: "machines",
            y: "milliseconds".to_owned(),
            series,
        }
    }

    #[test]
    fn draws_what_was_measured() {
        let mut flat = growing("flat", law(0.0));
        flat.fit = None;
        let svg = plot(vec![growing("spawn", law(1.0)), flat]).svg();
        insta::assert_snapshot!(svg);
    }

    #[test]
    fn what_is_on_no_axis_is_left_out() {
        let zero = Series {
            name: "nothing".to_owned(),
            points: vec![(0.0, vec![1.0]), (1.0, vec![0.0]), (2.0, Vec::new())],
            fit: None,
        };
        assert!(plot(vec![zero]).svg().contains("no samples"));
        let one = Series {
            name: "one".to_owned(),
            points: vec![(1.0, vec![5.0])],
            fit: None,
        };
        let svg = plot(vec![one]).svg();
        assert!(svg.contains("<circle") && !svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn ticks_are_round_and_on_the_axis() {
        let wide = Axes::around(&[(1.0, 0.002), (2.0, 300.0)]);
        assert_eq!(wide.ticks(), [0.01, 0.1, 1.0, 10.0, 100.0]);
        let narrow = Axes::around(&[(1.0, 0.3), (2.0, 4.0)]);
        assert_eq!(narrow.ticks(), [0.5, 1.0, 2.0, 5.0]);
    }
}
