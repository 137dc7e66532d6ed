//! As much of CBOR (RFC 8949) as the messages use: lengths are always given, and there are no floats.

const UNSIGNED: u8 = 0;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;
/// Arrays within arrays that are skipped: no message has more.
const DEEPEST: u32 = 16;

/// Takes items off a slice; `None` is what is cut off, too large, or of another type.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// From the first byte on.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    /// Major type and argument.
    fn head(&mut self) -> Option<(u8, u64)> {
        let first = self.byte()?;
        let argument = match first & 31 {
            small @ 0..24 => u64::from(small),
            size @ 24..28 => {
                let mut value = 0;
                for byte in self.take(1 << (size - 24))? {
                    value = value << 8 | u64::from(*byte);
                }
                value
            }
            _ => return None,
        };
        Some((first >> 5, argument))
    }

    fn of(&mut self, major: u8) -> Option<u64> {
        let (found, argument) = self.head()?;
        (found == major).then_some(argument)
    }

    /// A number that is not negative.
    pub fn number(&mut self) -> Option<u64> {
        self.of(UNSIGNED)
    }

    /// A number, also a negative one.
    pub fn signed(&mut self) -> Option<i64> {
        let (major, argument) = self.head()?;
        let argument = i64::try_from(argument).ok()?;
        match major {
            0 => Some(argument),
            1 => Some(-1 - argument),
            _ => None,
        }
    }

    /// A byte string.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.of(BYTES)?;
        self.take(length)
    }

    /// `false` or `true`.
    pub fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            FALSE => Some(false),
            TRUE => Some(true),
            _ => None,
        }
    }

    /// How many items follow.
    pub fn array(&mut self) -> Option<u64> {
        self.of(ARRAY)
    }

    /// How many pairs follow.
    pub fn map(&mut self) -> Option<u64> {
        self.of(MAP)
    }

    /// Pass over one item, whatever it is.
    pub fn skip(&mut self) -> Option<()> {
        self.skip_within(DEEPEST)
    }

    fn skip_within(&mut self, depth: u32) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        let (major, argument) = self.head()?;
        let items = match major {
            BYTES | TEXT => {
                self.take(argument)?;
                0
            }
            ARRAY => argument,
            MAP => argument.checked_mul(2)?,
            TAG => 1,
            _ => 0,
        };
        for _ in 0..items {
            self.skip_within(depth)?;
        }
        Some(())
    }
}

/// Puts items into a slice. What does not fit makes [`Writer::finish`] give nothing.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
    fits: bool,
}

impl<'a> Writer<'a> {
    /// From the first byte on.
    pub fn new(out: &'a mut [u8]) -> Self {
        Self {
            out,
            at: 0,
            fits: true,
        }
    }

    /// How many bytes were written.
    pub fn finish(self) -> Option<usize> {
        self.fits.then_some(self.at)
    }

    fn put(&mut self, bytes: &[u8]) {
        match self.out.get_mut(self.at..self.at + bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                self.at += bytes.len();
            }
            None => self.fits = false,
        }
    }

    fn head(&mut self, major: u8, argument: u64) {
        let bytes = argument.to_be_bytes();
        let (code, size) = match argument {
            0..24 => (bytes[7], 0),
            24..0x100 => (24, 1),
            0x100..0x1_0000 => (25, 2),
            0x1_0000..0x1_0000_0000 => (26, 4),
            _ => (27, 8),
        };
        self.put(&[major << 5 | code]);
        self.put(&bytes[8 - size..]);
    }

    /// A number that is not negative.
    pub fn number(&mut self, value: u64) -> &mut Self {
        self.head(UNSIGNED, value);
        self
    }

    /// A text, which the caller knows to be UTF-8.
    pub fn text(&mut self, text: &[u8]) -> &mut Self {
        self.head(TEXT, text.len() as u64);
        self.put(text);
        self
    }

    /// `false` or `true`.
    pub fn flag(&mut self, value: bool) -> &mut Self {
        self.put(&[if value { TRUE } else { FALSE }]);
        self
    }

    /// So many items follow.
    pub fn array(&mut self, items: u64) -> &mut Self {
        self.head(ARRAY, items);
        self
    }

    /// So many pairs follow.
    pub fn map(&mut self, pairs: u64) -> &mut Self {
        self.head(MAP, pairs);
        self
    }

    /// A variant of an enum with so many fields, as attest's messages have them: its number and an array.
    pub fn variant(&mut self, number: u64, fields: u64) -> &mut Self {
        self.array(2).number(number).array(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_all_sizes_come_back() {
        for value in [
            0,
            23,
            24,
            255,
            256,
            65535,
            65536,
            u64::MAX >> 32,
            1 << 32,
            u64::MAX,
        ] {
            let mut out = [0; 9];
            let mut writer = Writer::new(&mut out);
            writer.number(value);
            let length = writer.finish().unwrap();
            assert_eq!(minicbor::to_vec(value).unwrap(), out[..length]);
            assert_eq!(Reader::new(&out[..length]).number(), Some(value));
            assert_eq!(Reader::new(&out[..length - 1]).number(), None);
        }
        let negative = minicbor::to_vec(-9).unwrap();
        assert_eq!(Reader::new(&negative).signed(), Some(-9));
    }

    #[test]
    fn any_item_is_skipped_and_none_that_is_cut_off() {
        let item = (
            7_u8,
            Some("text"),
            vec![(true, -300_i32)],
            minicbor::bytes::ByteVec::from(vec![1; 300]),
        );
        let mut bytes = minicbor::to_vec(item).unwrap();
        bytes.push(9);
        let mut reader = Reader::new(&bytes);
        reader.skip().unwrap();
        assert_eq!(reader.number(), Some(9));
        for cut in 0..bytes.len() - 1 {
            assert_eq!(Reader::new(&bytes[..cut]).skip(), None, "{cut}");
        }
        assert_eq!(Reader::new(&[0x81; 100]).skip(), None);
        assert_eq!(
            Reader::new(&[0xbb, 255, 255, 255, 255, 255, 255, 255, 255]).skip(),
            None
        );
    }

    #[test]
    fn what_does_not_fit_is_not_half_written() {
        let mut out = [0; 4];
        let mut writer = Writer::new(&mut out);
        writer.text(b"four");
        assert_eq!(writer.finish(), None);
    }
}
