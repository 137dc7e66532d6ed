//! Screens as files.

use crate::error::ScreenError;
use crate::ppm::Ppm;

/// A picture as a PNG file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Png {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// The file.
    pub bytes: Vec<u8>,
}

/// A picture as QEMU's `screendump` writes it, as PNG.
///
/// # Errors
/// It is no PPM file.
pub fn png_of_ppm(ppm: &[u8]) -> Result<Png, ScreenError> {
    let picture = Ppm::parse(ppm)?;
    let side = |side: usize| u32::try_from(side).expect("bounded by the parser");
    let (width, height) = (side(picture.width), side(picture.height));
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(picture.pixels)?;
    writer.finish()?;
    Ok(Png {
        width,
        height,
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_stays_what_it_is() {
        let pixels: Vec<u8> = (0..=255).cycle().take(33 * 17 * 3).collect();
        let ppm = [b"P6\n33 17\n255\n".as_slice(), &pixels].concat();
        let picture = png_of_ppm(&ppm).unwrap();
        assert_eq!((picture.width, picture.height), (33, 17));
        let mut reader = png::Decoder::new(std::io::Cursor::new(&picture.bytes))
            .read_info()
            .unwrap();
        let mut read = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut read).unwrap();
        assert_eq!(
            (info.width, info.height, info.color_type),
            (33, 17, png::ColorType::Rgb)
        );
        assert_eq!(read, pixels);
    }
}
