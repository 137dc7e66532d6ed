//! Screens made readable: tesseract is taught on printed pages, dark on light with tall letters.

use crate::ppm::Ppm;

/// Screens of fewer pixels across are made three times as large, others twice: a screen has 72 to 96
/// pixels an inch, a printed page 300, and what is larger is read slower and no better.
const WIDE: usize = 1000;
/// Of a thousand pixels, as many may be darker than black, and lighter than white.
const OUTLIERS: usize = 5;
/// Levels of grey that remain: the ground, the letters, and their rims.
const LEVELS: usize = 4;

/// A picture in grey, one byte a pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grey {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) pixels: Vec<u8>,
}

impl Grey {
    /// By the weights of the eye (ITU-R BT.601, in 256ths).
    pub(crate) fn of(picture: &Ppm<'_>) -> Self {
        let grey = |pixel: &[u8]| {
            let sum = [77_u32, 150, 29]
                .iter()
                .zip(pixel)
                .map(|(weight, sample)| weight * u32::from(*sample))
                .sum::<u32>();
            u8::try_from(sum / 256).unwrap_or(u8::MAX)
        };
        Self {
            width: picture.width,
            height: picture.height,
            pixels: picture.pixels.chunks_exact(3).map(grey).collect(),
        }
    }

    /// Enlarged, dark on light, with all of the range from black to white.
    pub(crate) fn prepared(&self) -> Self {
        let factor = if self.width < WIDE { 3 } else { 2 };
        self.light().enlarged(factor)
    }

    /// As a block of even lines is read best, such as a text console: less enlarged.
    pub(crate) fn prepared_as_block(&self) -> Self {
        self.light().enlarged(2)
    }

    fn light(&self) -> Self {
        let stretched = self.stretched();
        if stretched.is_dark() {
            stretched.negated()
        } else {
            stretched
        }
    }

    pub(crate) fn negated(mut self) -> Self {
        for pixel in &mut self.pixels {
            *pixel = !*pixel;
        }
        self
    }

    /// Whether most of it is dark.
    fn is_dark(&self) -> bool {
        let sum: usize = self.pixels.iter().map(|pixel| usize::from(*pixel)).sum();
        sum < self.pixels.len() * 128
    }

    /// As a file (`pgm(5)`).
    pub(crate) fn file(&self) -> Vec<u8> {
        let mut file = format!("P5\n{} {}\n255\n", self.width, self.height).into_bytes();
        file.extend_from_slice(&self.pixels);
        file
    }

    fn mapped(mut self, table: &[u8; 256]) -> Self {
        for pixel in &mut self.pixels {
            *pixel = table[usize::from(*pixel)];
        }
        self
    }

    /// The darkest becomes black, the lightest white.
    fn stretched(&self) -> Self {
        let mut counts = [0_usize; 256];
        for pixel in &self.pixels {
            counts[usize::from(*pixel)] += 1;
        }
        let outliers = self.pixels.len() * OUTLIERS / 1000;
        let low = beyond(&counts, outliers, 0..256);
        let high = beyond(&counts, outliers, (0..256).rev());
        // A screen of little text is all outliers beside its ground.
        let (low, high) = if low < high {
            (low, high)
        } else {
            extremes(&counts)
        };
        if low >= high {
            return self.clone();
        }
        let table = std::array::from_fn(|level| {
            let above = level.saturating_sub(low).min(high - low);
            u8::try_from(above * 255 / (high - low)).unwrap_or(u8::MAX)
        });
        self.clone().mapped(&table)
    }

    pub(crate) fn posterised(self) -> Self {
        let table = std::array::from_fn(|level| {
            let step = (level * LEVELS / 256).min(LEVELS - 1);
            u8::try_from(step * 255 / (LEVELS - 1)).unwrap_or(u8::MAX)
        });
        self.mapped(&table)
    }

    /// By Catmull and Rom's filter, which keeps edges: first all lines, then all columns.
    fn enlarged(&self, factor: usize) -> Self {
        let wide = Self {
            width: self.width * factor,
            height: self.height,
            pixels: self
                .pixels
                .chunks_exact(self.width)
                .flat_map(|line| enlarge(line, factor))
                .collect(),
        };
        let mut pixels = vec![0; wide.width * wide.height * factor];
        let mut column = vec![0; wide.height];
        for at in 0..wide.width {
            for (row, pixel) in column.iter_mut().enumerate() {
                *pixel = wide.pixels[row * wide.width + at];
            }
            for (row, pixel) in enlarge(&column, factor).into_iter().enumerate() {
                pixels[row * wide.width + at] = pixel;
            }
        }
        Self {
            width: wide.width,
            height: wide.height * factor,
            pixels,
        }
    }
}

/// The first level with which there are more pixels than this.
fn beyond(counts: &[usize; 256], pixels: usize, mut levels: impl Iterator<Item = usize>) -> usize {
    let mut sum = 0;
    let level = levels.find(|level| {
        sum += counts[*level];
        sum > pixels
    });
    level.unwrap_or(0)
}

fn extremes(counts: &[usize; 256]) -> (usize, usize) {
    let first = counts.iter().position(|count| *count > 0).unwrap_or(0);
    let last = counts.iter().rposition(|count| *count > 0).unwrap_or(255);
    (first, last)
}

/// One line, made longer.
fn enlarge(line: &[u8], factor: usize) -> Vec<u8> {
    let last = line.len() - 1;
    let weights: Vec<[i32; 4]> = (0..factor).map(|part| weights(part, factor)).collect();
    let mut long = Vec::with_capacity(line.len() * factor);
    for at in 0..line.len() {
        for (part, weights) in weights.iter().enumerate() {
            // The middle of a new pixel lies before, or behind, that of the old one.
            let before = usize::from(2 * part + 1 < factor);
            let sample = |offset: usize| {
                let index = (at + offset).saturating_sub(1 + before).min(last);
                i32::from(line[index])
            };
            let sum: i32 = weights
                .iter()
                .enumerate()
                .map(|(n, weight)| weight * sample(n))
                .sum();
            long.push(u8::try_from((sum / SCALE).clamp(0, 255)).unwrap_or(0));
        }
    }
    long
}

/// What weights are multiples of.
const SCALE: i32 = 4096;

/// Weights of the four pixels around a place between the middle two of them.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "small numbers"
)]
fn weights(part: usize, factor: usize) -> [i32; 4] {
    let middle = (part as f32 + 0.5) / factor as f32 - 0.5;
    let t = if middle < 0.0 { middle + 1.0 } else { middle };
    let (t2, t3) = (t * t, t * t * t);
    [
        -0.5 * t3 + t2 - 0.5 * t,
        1.5 * t3 - 2.5 * t2 + 1.0,
        -1.5 * t3 + 2.0 * t2 + 0.5 * t,
        0.5 * t3 - 0.5 * t2,
    ]
    .map(|weight| (weight * SCALE as f32).round() as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_keeps_its_ends_and_its_flat_parts() {
        let long = enlarge(&[10, 10, 10, 200, 200, 200], 4);
        assert_eq!(long.len(), 24);
        assert!(
            long[..6].iter().all(|pixel| (9..=10).contains(pixel)),
            "{long:?}"
        );
        assert!(
            long[18..].iter().all(|pixel| (199..=200).contains(pixel)),
            "{long:?}"
        );
        // The middle lies where it lay.
        assert!(long[11] < 105 && long[12] > 105, "{long:?}");
        assert_eq!(enlarge(&[7], 4), [7; 4]);
    }

    #[test]
    fn contrast_is_stretched_and_levels_are_few() {
        let grey = Grey {
            width: 4,
            height: 1,
            pixels: vec![100, 100, 110, 120],
        };
        assert_eq!(grey.stretched().pixels, [0, 0, 127, 255]);
        assert!(grey.stretched().is_dark());
        assert!(!grey.stretched().negated().is_dark());
        let flat = Grey {
            width: 1,
            height: 1,
            pixels: vec![7],
        };
        assert_eq!(flat.stretched(), flat);
        let levels: std::collections::BTreeSet<u8> = (0..=255).collect();
        let all = Grey {
            width: 256,
            height: 1,
            pixels: levels.into_iter().collect(),
        };
        let few: std::collections::BTreeSet<u8> = all.posterised().pixels.into_iter().collect();
        assert_eq!(few.into_iter().collect::<Vec<_>>(), [0, 85, 170, 255]);
    }
}
