/// A screen as a file, which a guest chooses the size and the contents of.
pub fn screen(data: &[u8]) {
    if let Ok(picture) = attest_screen::png_of_ppm(data) {
        let pixels = u64::from(picture.width) * u64::from(picture.height);
        assert!(pixels > 0 && pixels * 3 <= data.len() as u64);
        assert!(picture.bytes.starts_with(b"\x89PNG"));
    }
}
