//! Contents that can be checked: of memory and of the serial port.

/// Bytes of a line of [`line()`].
pub const LINE: usize = 64;

/// A hash of few bytes, to compare them by (FNV-1a).
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The word that a page is full of: another one for each page and each seed.
pub fn word(seed: u64, page: u64) -> u64 {
    let mixed = (seed ^ page).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// The line with this number: eight hexadecimal digits, a blank, one letter again and again, and the end.
pub fn line(number: u32) -> [u8; LINE] {
    let mut line = [b'a' + (number % 26) as u8; LINE];
    for (at, place) in line[..8].iter_mut().enumerate() {
        *place = b"0123456789abcdef"[(number >> (28 - 4 * at) & 15) as usize];
    }
    line[8] = b' ';
    line[LINE - 1] = b'\n';
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_tell_their_number() {
        let line = line(0x1f);
        assert_eq!(line.len(), 64);
        assert!(line.starts_with(b"0000001f fff"));
        assert!(line.ends_with(b"f\n"));
    }

    #[test]
    fn words_differ_by_page_and_seed() {
        assert_ne!(word(1, 1), word(1, 2));
        assert_ne!(word(1, 1), word(2, 1));
        assert_eq!(hash(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
