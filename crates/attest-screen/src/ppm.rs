//! Portable pixmaps, as QEMU writes them (`ppm(5)`, the raw kind with one byte a sample).

use crate::error::ScreenError;

/// Most pixels of a screen: more than the largest that QEMU makes (8K), and an end.
const MOST_PIXELS: usize = 64 * 1024 * 1024;

/// A picture: three bytes a pixel, line by line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ppm<'a> {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) pixels: &'a [u8],
}

impl<'a> Ppm<'a> {
    pub(crate) fn parse(file: &'a [u8]) -> Result<Self, ScreenError> {
        let rest = file.strip_prefix(b"P6");
        let mut rest = rest.ok_or(ScreenError::Ppm("it does not begin with P6"))?;
        let mut number = || -> Result<usize, ScreenError> {
            let (number, after) = number(rest).ok_or(ScreenError::Ppm("its header is cut"))?;
            rest = after;
            Ok(number)
        };
        let (width, height, most) = (number()?, number()?, number()?);
        if most != 255 {
            return Err(ScreenError::Ppm("its samples have not 8 bits"));
        }
        let pixels = width
            .checked_mul(height)
            .filter(|pixels| *pixels <= MOST_PIXELS);
        let pixels = pixels.ok_or(ScreenError::Ppm("it is larger than any screen"))?;
        if pixels == 0 {
            return Err(ScreenError::Ppm("it has no pixels"));
        }
        // One white space is between the header and the samples.
        let samples = rest.get(1..).and_then(|rest| rest.get(..pixels * 3));
        Ok(Self {
            width,
            height,
            pixels: samples.ok_or(ScreenError::Ppm("its samples are cut"))?,
        })
    }
}

/// A decimal number behind white space and comments, and what follows it.
fn number(mut text: &[u8]) -> Option<(usize, &[u8])> {
    loop {
        text = text.trim_ascii_start();
        let Some(comment) = text.strip_prefix(b"#") else {
            break;
        };
        let end = comment.iter().position(|byte| *byte == b'\n')?;
        text = &comment[end..];
    }
    let length = text
        .iter()
        .take(10)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let number = std::str::from_utf8(&text[..length]).ok()?.parse().ok()?;
    Some((number, &text[length..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pictures_are_read_with_and_without_comments() {
        for file in [
            "P6\n2 1\n255\nabcdef",
            "P6 # by hand\n2\t1 # size\n255\nabcdef and more",
        ] {
            let picture = Ppm::parse(file.as_bytes()).unwrap();
            assert_eq!(
                (picture.width, picture.height, picture.pixels),
                (2, 1, b"abcdef".as_slice())
            );
        }
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        for (file, reason) in [
            ("", "it does not begin with P6"),
            ("P5\n1 1\n255\na", "it does not begin with P6"),
            ("P6\n1 1", "its header is cut"),
            ("P6\n# endless", "its header is cut"),
            ("P6\n-1 1\n255\nabc", "its header is cut"),
            ("P6\n1 1\n65535\nabcabc", "its samples have not 8 bits"),
            ("P6\n0 1\n255\n", "it has no pixels"),
            (
                "P6\n1000000000 1000000000\n255\n",
                "it is larger than any screen",
            ),
            ("P6\n2 2\n255\nabc", "its samples are cut"),
        ] {
            let error = Ppm::parse(file.as_bytes()).unwrap_err();
            assert!(
                matches!(error, ScreenError::Ppm(said) if said == reason),
                "{file}: {error}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Ppm::parse(&bytes);
            let _ = Ppm::parse(&[b"P6".as_slice(), &bytes].concat());
        }
    }
}
