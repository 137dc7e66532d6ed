//! Digests: what a part of an image must be.

use std::fmt::{self, Write as _};
use std::io::{self, Read};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::error::OciError;

/// Hexadecimal digits of a SHA-256.
const DIGITS: usize = 64;
/// Bytes that are read at once to get to an end.
const BUFFER: usize = 128 * 1024;

/// A SHA-256, in 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Digest(String);

/// A digest as it stands in a description, not looked at yet.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub(super) struct Written(String);

impl Digest {
    /// The digits alone.
    pub(super) fn of_digits(digits: &str) -> Option<Self> {
        let fits = digits.len() == DIGITS
            && digits
                .bytes()
                .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        fits.then(|| Self(digits.to_owned()))
    }

    pub(super) fn digits(&self) -> &str {
        &self.0
    }

    /// Whether a part is what it must be.
    pub(super) fn check(&self, name: &str, found: Self) -> Result<(), OciError> {
        if *self == found {
            return Ok(());
        }
        Err(OciError::Damaged {
            name: name.to_owned(),
            wanted: self.0.clone(),
            found: found.0,
        })
    }
}

impl Written {
    pub(super) fn digest(&self) -> Result<Digest, OciError> {
        let digits = self.0.strip_prefix("sha256:");
        let digest = digits.and_then(Digest::of_digits);
        digest.ok_or_else(|| OciError::Digest {
            digest: crate::tree::shown(self.0.as_bytes()),
        })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

/// A reader that knows the digest of what was read.
pub(super) struct Hashed<R> {
    reader: R,
    hasher: Sha256,
}

impl<R: Read> Hashed<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            hasher: Sha256::new(),
        }
    }

    /// Read on to the end, and give the digest of all.
    pub(super) fn finish(mut self) -> io::Result<Digest> {
        let mut buffer = vec![0; BUFFER];
        while self.read(&mut buffer)? > 0 {}
        let mut digits = String::with_capacity(DIGITS);
        for byte in self.hasher.finalize() {
            let _ = write!(digits, "{byte:02x}");
        }
        Ok(Digest(digits))
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_of_all_whoever_read_it() {
        // The sample of FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let mut hashed = Hashed::new(&b"abc"[..]);
        hashed.read_exact(&mut [0]).unwrap();
        assert_eq!(hashed.finish().unwrap().digits(), abc);
    }

    #[test]
    fn only_digests_are_digests() {
        let digits = "0123456789abcdef".repeat(4);
        let digest = |text: String| Written(text).digest();
        let good = digest(format!("sha256:{digits}")).unwrap();
        assert_eq!(good.to_string(), format!("sha256:{digits}"));
        for bad in [
            digits.clone(),
            format!("sha256:{digits}0"),
            format!("sha256:{}", digits.to_uppercase()),
            format!("sha512:{digits}"),
            "sha256:../../etc/passwd".to_owned(),
        ] {
            assert!(digest(bad).is_err());
        }
    }
}
