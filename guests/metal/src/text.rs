//! Short texts without a heap and without `core::fmt`, which is larger than all of the guest.

/// What does not fit is cut off.
#[derive(Debug, Clone)]
pub struct Text<const SIZE: usize> {
    bytes: [u8; SIZE],
    length: usize,
}

impl<const SIZE: usize> Default for Text<SIZE> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const SIZE: usize> Text<SIZE> {
    /// Empty.
    pub const fn new() -> Self {
        Self {
            bytes: [0; SIZE],
            length: 0,
        }
    }

    /// Empty again.
    pub fn clear(&mut self) {
        self.length = 0;
    }

    /// What was put.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Append bytes.
    pub fn put(&mut self, bytes: &[u8]) -> &mut Self {
        let length = bytes.len().min(SIZE - self.length);
        self.bytes[self.length..self.length + length].copy_from_slice(&bytes[..length]);
        self.length += length;
        self
    }

    /// Append a number in decimal.
    pub fn decimal(&mut self, mut number: u64) -> &mut Self {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = digit(number % 10);
            number /= 10;
            if number == 0 {
                return self.put(&digits[at..]);
            }
        }
    }

    /// Append a number as so many hexadecimal digits.
    pub fn hex(&mut self, number: u64, digits: u32) -> &mut Self {
        for at in (0..digits).rev() {
            self.put(&[digit(number >> (4 * at) & 15)]);
        }
        self
    }
}

#[expect(clippy::cast_possible_truncation, reason = "below 16")]
fn digit(value: u64) -> u8 {
    let value = value as u8;
    if value < 10 {
        b'0' + value
    } else {
        b'a' + value - 10
    }
}

/// A decimal number, or one in hexadecimal after `0x`.
pub fn number(text: &[u8]) -> Option<u64> {
    let (radix, digits) = match text.strip_prefix(b"0x") {
        Some(digits) => (16, digits),
        None => (10, text),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value: u64 = 0;
    for byte in digits {
        let digit = char::from(*byte).to_digit(radix)?;
        value = value.checked_mul(radix.into())?.checked_add(digit.into())?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_and_read() {
        let mut text = Text::<64>::new();
        text.put(b"a ")
            .decimal(0)
            .put(b" ")
            .decimal(u64::MAX)
            .put(b" ")
            .hex(0xa0f, 4);
        assert_eq!(text.bytes(), b"a 0 18446744073709551615 0a0f");
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(number(b"0xc0000000"), Some(0xc000_0000));
        for wrong in [&b""[..], b"0x", b"12a", b"18446744073709551616", b"-1"] {
            assert_eq!(number(wrong), None);
        }
    }

    #[test]
    fn what_does_not_fit_is_cut_off() {
        assert_eq!(Text::<3>::new().put(b"four").bytes(), b"fou");
    }
}
