//! Extended attributes, in line behind their inode. Equal ones are not shared between inodes: the
//! roots of tests have a handful, and where a label is on every file, it is some 40 bytes.

use std::collections::BTreeMap;

/// Bytes before the attributes.
const HEADER: usize = 12;
/// Words that an inode can count, the header being the first.
const MOST_WORDS: usize = u16::MAX as usize - 1;

/// Beginnings of names that have numbers, longest first where one begins another.
const PREFIXES: [(&[u8], u8); 5] = [
    (b"user.", 1),
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"trusted.", 4),
    (b"security.", 6),
];

/// The attributes as bytes; none for no attributes.
///
/// # Errors
/// Why they cannot be in an image.
pub(super) fn data(xattrs: &BTreeMap<Box<[u8]>, Box<[u8]>>) -> Result<Vec<u8>, &'static str> {
    if xattrs.is_empty() {
        return Ok(Vec::new());
    }
    let mut data = vec![0; HEADER];
    for (name, value) in xattrs {
        let (prefix, number) = PREFIXES
            .iter()
            .find(|(prefix, _)| name.starts_with(prefix))
            .ok_or("erofs keeps no such extended attribute")?;
        let rest = &name[prefix.len()..];
        let named =
            u8::try_from(rest.len()).map_err(|_| "an extended attribute's name is too long")?;
        let size = u16::try_from(value.len()).map_err(|_| "an extended attribute is too long")?;
        data.extend_from_slice(&[named, *number]);
        data.extend_from_slice(&size.to_le_bytes());
        data.extend_from_slice(rest);
        data.extend_from_slice(value);
        data.resize(data.len().next_multiple_of(4), 0);
    }
    if (data.len() - HEADER) / 4 > MOST_WORDS {
        return Err("it has too many extended attributes");
    }
    Ok(data)
}

/// Values by names.
type Xattrs = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// The attributes that are in such bytes.
///
/// # Errors
/// They are damaged, or shared with other inodes.
pub(super) fn read(data: &[u8]) -> Result<Xattrs, &'static str> {
    const DAMAGED: &str = "it has damaged extended attributes";
    let mut xattrs = BTreeMap::new();
    let Some((header, mut left)) = data.split_at_checked(HEADER) else {
        return if data.is_empty() {
            Ok(xattrs)
        } else {
            Err(DAMAGED)
        };
    };
    if header[4] != 0 {
        return Err("it has extended attributes of a form that attest does not write");
    }
    while let [named, number, low, high, rest @ ..] = left {
        let prefix = PREFIXES
            .iter()
            .find(|(_, own)| own == number)
            .ok_or(DAMAGED)?
            .0;
        let size = usize::from(u16::from_le_bytes([*low, *high]));
        let (name, rest) = rest.split_at_checked(usize::from(*named)).ok_or(DAMAGED)?;
        let value = rest.get(..size).ok_or(DAMAGED)?;
        xattrs.insert([prefix, name].concat().into(), value.into());
        let used = (4 + name.len() + size).next_multiple_of(4);
        left = left.get(used..).ok_or(DAMAGED)?;
    }
    if left.is_empty() {
        Ok(xattrs)
    } else {
        Err(DAMAGED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, value: &[u8]) -> Result<Vec<u8>, &'static str> {
        data(&BTreeMap::from([(name.as_bytes().into(), value.into())]))
    }

    #[test]
    fn names_are_cut_to_their_numbers() {
        assert_eq!(of("user.a", b"xy").unwrap()[12..], *b"\x01\x01\x02\0axy\0");
        assert_eq!(
            of("system.posix_acl_access", b"xyzw").unwrap()[12..],
            *b"\0\x02\x04\0xyzw"
        );
        assert_eq!(
            of("security.capability", b"").unwrap()[12..16],
            *b"\x0a\x06\0\0"
        );
        assert_eq!(data(&BTreeMap::new()), Ok(Vec::new()));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(of("btrfs.compression", b"zstd").is_err());
        assert!(of("user.a", &vec![0; 65_536]).is_err());
        assert!(of(&format!("user.{}", "x".repeat(256)), b"").is_err());
        let many = (0..6_u32).map(|number| {
            (
                format!("user.{number}").into_bytes().into(),
                vec![0; 65_535].into(),
            )
        });
        assert!(data(&many.collect()).is_err());
    }
}
