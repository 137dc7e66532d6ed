//! Signatures: which types a value has.
//!
//! They are kept as text. Checked once, they are walked without a second look.

use super::Malformed;

/// The specification's limits, of arrays in arrays and of structs in structs each.
const DEEPEST: u8 = 32;
/// The specification's limit; the length travels as one byte.
pub(super) const LONGEST: usize = 255;

/// Check that this is a signature: any number of complete types.
pub(super) fn check(signature: &str) -> Result<(), Malformed> {
    if signature.len() > LONGEST {
        return Err(Malformed("a signature of more than 255 bytes"));
    }
    let mut rest = signature.as_bytes();
    while !rest.is_empty() {
        rest = after_type(rest, 0, 0)?;
    }
    Ok(())
}

/// Check that this is the signature of exactly one value, as variants have.
pub(super) fn check_one(signature: &str) -> Result<(), Malformed> {
    check(signature)?;
    if signature.is_empty() || !first(signature).1.is_empty() {
        return Err(Malformed("a variant that is not of one type"));
    }
    Ok(())
}

fn after_type(signature: &[u8], arrays: u8, structs: u8) -> Result<&[u8], Malformed> {
    if arrays > DEEPEST || structs > DEEPEST {
        return Err(Malformed("a signature of more than 32 levels"));
    }
    match signature {
        [b'a', b'{', key, rest @ ..] if is_basic(*key) => {
            match after_type(rest, arrays + 1, structs + 1)? {
                [b'}', rest @ ..] => Ok(rest),
                _ => Err(Malformed("a dictionary's signature that is not closed")),
            }
        }
        [b'a', rest @ ..] => after_type(rest, arrays + 1, structs),
        [b'(', rest @ ..] => {
            let mut rest = after_type(rest, arrays, structs + 1)?;
            while rest.first() != Some(&b')') {
                rest = after_type(rest, arrays, structs + 1)?;
            }
            Ok(&rest[1..])
        }
        [b'v', rest @ ..] => Ok(rest),
        [basic, rest @ ..] if is_basic(*basic) => Ok(rest),
        _ => Err(Malformed("a signature with an unknown or cut type")),
    }
}

fn is_basic(code: u8) -> bool {
    b"ybnqiuxtdsogh".contains(&code)
}

/// The first complete type of a checked signature that is not empty, and the rest.
pub(super) fn first(signature: &str) -> (&str, &str) {
    let bytes = signature.as_bytes();
    let mut at = bytes.iter().take_while(|code| **code == b'a').count();
    let mut open = 0_usize;
    loop {
        match bytes[at] {
            b'(' | b'{' => open += 1,
            b')' | b'}' => open -= 1,
            _ => {}
        }
        at += 1;
        if open == 0 {
            return signature.split_at(at);
        }
    }
}

/// How values of this type are aligned, in bytes.
pub(super) fn alignment(code: u8) -> usize {
    match code {
        b'n' | b'q' => 2,
        b'b' | b'i' | b'u' | b'h' | b's' | b'o' | b'a' => 4,
        b'x' | b't' | b'd' | b'(' | b'{' => 8,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_ones_are_taken() {
        for good in [
            "",
            "s",
            "as",
            "a{sv}",
            "(uo)",
            "a(ssssssouso)",
            "aa{s(iay)}v",
            "a(sasasttttuii)",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        check(&format!("{}s", "a".repeat(32))).unwrap();
    }

    #[test]
    fn bad_ones_are_refused() {
        for bad in [
            "a", "(", ")", "()", "(s", "{sv}", "a{vs}", "a{s}", "a{svs}", "a{sv", "e", "m", "é",
            "s\0",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(check(&format!("{}s", "a".repeat(33))).is_err());
        assert!(check(&format!("{}s{}", "(".repeat(33), ")".repeat(33))).is_err());
        assert!(check(&"s".repeat(256)).is_err());
    }

    #[test]
    fn a_variant_has_one_type() {
        assert_eq!(check_one("a{sv}"), Ok(()));
        assert!(check_one("").is_err());
        assert!(check_one("ss").is_err());
    }

    #[test]
    fn types_are_split_off_one_by_one() {
        assert_eq!(first("aa{s(iay)}v"), ("aa{s(iay)}", "v"));
        assert_eq!(first("(uo)s"), ("(uo)", "s"));
        assert_eq!(first("su"), ("s", "u"));
    }
}
