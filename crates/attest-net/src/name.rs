//! Short interface names from the names of networks.

use nix::libc;

use crate::NetError;

/// The kernel's limit: `IFNAMSIZ` less the closing zero.
const MAX: usize = libc::IFNAMSIZ - 1;

/// The bridge of this network: `br-NAME` where that fits, else a shortened name with a hash of
/// the whole one.
pub fn bridge_name(network: &str) -> String {
    derived("br-", network)
}

/// The `number`th TAP of a lab, which hangs on this network.
pub fn tap_name(network: &str, number: u32) -> String {
    derived(&format!("t{number}-"), network)
}

/// The other end of the pair that the port [`tap_name`] of this number is one of, as long as it is in the lab.
pub fn card_name(network: &str, number: u32) -> String {
    derived(&format!("c{number}-"), network)
}

/// The kernel's form of an interface name: zero-filled.
pub(crate) fn kernel_form(name: &str) -> Result<[libc::c_char; libc::IFNAMSIZ], NetError> {
    let wrong = |byte: u8| byte <= b' ' || b"/:%".contains(&byte);
    if name.is_empty() || name.len() > MAX || name.bytes().any(wrong) {
        return Err(NetError::Name(name.to_owned()));
    }
    let mut out = [0; libc::IFNAMSIZ];
    for (to, from) in out.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    Ok(out)
}

fn derived(prefix: &str, name: &str) -> String {
    let room = MAX.saturating_sub(prefix.len());
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if plain && !name.is_empty() && name.len() <= room {
        return format!("{prefix}{name}");
    }
    // The hash tells apart long names with an equal start. Four digits are left when a TAP's
    // number is long: the number alone makes it unique then.
    let digits = room.min(6);
    let hash = format!("{:016x}", fnv1a(name.as_bytes()));
    let start: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(room.saturating_sub(digits + 1))
        .collect();
    let joint = if start.is_empty() { "" } else { "-" };
    format!("{prefix}{start}{joint}{}", &hash[16 - digits..])
}

/// FNV-1a, 64 bits: <http://www.isthe.com/chongo/tech/comp/fnv/>.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn short_names_stay_readable() {
        assert_eq!(bridge_name("lan"), "br-lan");
        assert_eq!(tap_name("lan", 3), "t3-lan");
        assert_eq!(bridge_name("twelve-bytes"), "br-twelve-bytes");
    }

    #[test]
    fn names_that_the_kernel_would_change_or_refuse_are_refused() {
        // `tap%d` would make the kernel choose a number.
        for name in ["", "sixteen-bytes-xx", "a b", "a/b", "a:b", "tap%d", "a\0b"] {
            assert!(
                matches!(kernel_form(name), Err(NetError::Name(_))),
                "{name:?}"
            );
        }
        assert!(kernel_form("fifteen-bytes-x").is_ok());
    }

    #[test]
    fn long_names_with_an_equal_start_differ() {
        let (one, two) = (
            bridge_name("a-long-network-1"),
            bridge_name("a-long-network-2"),
        );
        assert_ne!(one, two);
        assert!(one.starts_with("br-along-"), "{one}");
    }

    proptest! {
        #[test]
        fn every_name_is_one_that_the_kernel_takes(network in ".*", number: u32) {
            for name in [bridge_name(&network), tap_name(&network, number), card_name(&network, number)] {
                prop_assert!((1..=MAX).contains(&name.len()), "{name}");
                prop_assert!(name.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':'), "{name}");
            }
        }

        #[test]
        fn taps_with_different_numbers_differ(network in ".*", one: u32, two: u32) {
            prop_assume!(one != two);
            prop_assert_ne!(tap_name(&network, one), tap_name(&network, two));
        }
    }
}
