//! What goes through the codec comes back, and what is damaged ends in an error.

use bytes::BytesMut;
use proptest::prelude::*;

use super::decode::decode;
use super::encode::encode;
use super::message::{Kind, Message};
use super::{Malformed, signature};
use crate::value::{Value, Variant};

/// Any value with its signature, of a few levels.
fn typed() -> impl Strategy<Value = (String, Value)> {
    let basic = prop_oneof![
        any::<u8>().prop_map(|v| ("y".to_owned(), Value::Byte(v))),
        any::<bool>().prop_map(|v| ("b".to_owned(), Value::Bool(v))),
        any::<i16>().prop_map(|v| ("n".to_owned(), Value::I16(v))),
        any::<u16>().prop_map(|v| ("q".to_owned(), Value::U16(v))),
        any::<i32>().prop_map(|v| ("i".to_owned(), Value::I32(v))),
        any::<u32>().prop_map(|v| ("u".to_owned(), Value::U32(v))),
        any::<i64>().prop_map(|v| ("x".to_owned(), Value::I64(v))),
        any::<u64>().prop_map(|v| ("t".to_owned(), Value::U64(v))),
        (-1e9..1e9).prop_map(|v| ("d".to_owned(), Value::F64(v))),
        "[^\0]{0,9}".prop_map(|v| ("s".to_owned(), Value::Text(v))),
        "(/[a-z]{1,4}){1,3}".prop_map(|v| ("o".to_owned(), Value::Path(v))),
        "(as|u|\\(tt\\)){0,3}".prop_map(|v| ("g".to_owned(), Value::Signature(v))),
        any::<u32>().prop_map(|v| ("h".to_owned(), Value::Handle(v))),
        any::<Vec<u8>>().prop_map(|v| ("ay".to_owned(), Value::Bytes(v))),
    ];
    basic.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            (inner.clone(), 0..4_usize).prop_map(|((signature, value), count)| {
                // The element of an array of bytes has a form of its own.
                let array = match value {
                    Value::Byte(byte) => Value::Bytes(vec![byte; count]),
                    value => Value::Array(vec![value; count]),
                };
                (format!("a{signature}"), array)
            }),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|fields| {
                let (signatures, values): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
                (format!("({})", signatures.concat()), Value::Struct(values))
            }),
            (inner.clone(), "[^\0]{0,5}", 0..3_usize).prop_map(
                |((signature, value), key, count)| {
                    let pairs = vec![(Value::Text(key), value); count];
                    (format!("a{{s{signature}}}"), Value::Dict(pairs))
                }
            ),
            inner.prop_map(|(signature, value)| {
                let variant = Variant { signature, value };
                ("v".to_owned(), Value::Variant(Box::new(variant)))
            }),
        ]
    })
}

/// The same message from a peer of the other byte order. It knows the types by the signature
/// alone, as a peer does.
fn swapped(signature: &str, bytes: &[u8]) -> Vec<u8> {
    let mut swapped = bytes.to_vec();
    let mut at = 0;
    swap(signature, &mut swapped, &mut at);
    swapped
}

fn swap(signature: &str, bytes: &mut [u8], at: &mut usize) {
    let mut rest = signature;
    while !rest.is_empty() {
        let (one, more) = signature::first(rest);
        swap_one(one, bytes, at);
        rest = more;
    }
}

fn swap_one(one: &str, bytes: &mut [u8], at: &mut usize) {
    let code = one.as_bytes()[0];
    *at = at.next_multiple_of(signature::alignment(code));
    let mut number = |at: &mut usize, size: usize| {
        let place = &mut bytes[*at..*at + size];
        let mut little = [0; 8];
        little[..size].copy_from_slice(place);
        place.reverse();
        *at += size;
        usize::try_from(u64::from_le_bytes(little)).unwrap_or_default()
    };
    match code {
        b'y' => *at += 1,
        b'n' | b'q' => drop(number(at, 2)),
        b'b' | b'i' | b'u' | b'h' => drop(number(at, 4)),
        b'x' | b't' | b'd' => drop(number(at, 8)),
        b's' | b'o' => *at += number(at, 4) + 1,
        b'g' => *at += usize::from(bytes[*at]) + 2,
        b'v' => {
            let length = usize::from(bytes[*at]);
            let inner = String::from_utf8(bytes[*at + 1..][..length].to_vec()).unwrap();
            *at += length + 2;
            swap_one(&inner, bytes, at);
        }
        b'(' => swap(&one[1..one.len() - 1], bytes, at),
        _ => {
            let length = number(at, 4);
            let element = &one[1..];
            *at = at.next_multiple_of(signature::alignment(element.as_bytes()[0]));
            let end = *at + length;
            while *at < end {
                match element.strip_prefix('{') {
                    Some(pair) => {
                        *at = at.next_multiple_of(8);
                        swap(&pair[..pair.len() - 1], bytes, at);
                    }
                    None => swap_one(element, bytes, at),
                }
            }
        }
    }
}

fn message(signature: &str, body: Vec<u8>) -> Message {
    Message {
        path: "/a/b".to_owned(),
        interface: "a.b".to_owned(),
        member: "C".to_owned(),
        ..Message::new(Kind::Signal, 7, signature, body)
    }
}

fn take(bytes: &[u8]) -> Result<Result<Message, usize>, Malformed> {
    Message::take(&mut BytesMut::from(bytes))
}

proptest! {
    #[test]
    fn every_value_comes_back((signature, value) in typed()) {
        let bytes = encode(&signature, std::slice::from_ref(&value)).unwrap();
        prop_assert_eq!(decode(&signature, &bytes, false).unwrap(), vec![value.clone()]);
        let big = swapped(&signature, &bytes);
        prop_assert_eq!(decode(&signature, &big, true).unwrap(), vec![value]);
    }

    #[test]
    fn a_body_that_is_cut_is_an_error((signature, value) in typed(), cut in any::<prop::sample::Index>()) {
        let bytes = encode(&signature, &[value]).unwrap();
        let cut = cut.index(bytes.len());
        prop_assert!(decode(&signature, &bytes[..cut], false).is_err());
        let longer = [bytes.as_slice(), &[0]].concat();
        prop_assert!(decode(&signature, &longer, false).is_err());
    }

    #[test]
    fn a_damaged_message_ends_without_a_panic(
        (signature, value) in typed(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let body = encode(&signature, &[value]).unwrap();
        let mut bytes = message(&signature, body).encode().unwrap();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(Ok(message)) = take(&bytes) {
            let _ = message.values();
            let _ = crate::signal::Signal::read(&message);
        }
    }

    #[test]
    fn any_bytes_end_without_a_panic(signature in "[ybnqiuxtdsoghv(){}a]{0,12}", bytes: Vec<u8>, big: bool) {
        let _ = decode(&signature, &bytes, big);
        let _ = take(&bytes);
    }

    #[test]
    fn every_message_comes_back_however_it_is_cut(
        bodies in prop::collection::vec(typed(), 1..4),
        size in 1..40_usize,
    ) {
        let mut stream = Vec::new();
        let mut messages = Vec::new();
        for (signature, value) in bodies {
            let message = message(&signature, encode(&signature, &[value]).unwrap());
            stream.extend(message.encode().unwrap());
            messages.push(message);
        }
        let (mut buffer, mut taken) = (BytesMut::new(), Vec::new());
        for piece in stream.chunks(size) {
            buffer.extend_from_slice(piece);
            loop {
                match Message::take(&mut buffer).unwrap() {
                    Ok(message) => taken.push(message),
                    Err(needed) => {
                        prop_assert!(needed > buffer.len());
                        break;
                    }
                }
            }
        }
        prop_assert_eq!(taken, messages);
    }
}

#[test]
fn a_length_is_believed_only_within_bounds() {
    let mut bytes = message("s", encode("s", &["x".into()]).unwrap())
        .encode()
        .unwrap();
    for (at, value) in [(4, u32::MAX), (4, 9 << 20), (12, u32::MAX), (12, 17 << 10)] {
        let whole = bytes.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        assert!(take(&bytes).is_err(), "{at}: {value}");
        bytes = whole;
    }
}

#[test]
fn a_header_must_have_what_its_kind_needs() {
    let good = message("", Vec::new());
    assert!(matches!(take(&good.encode().unwrap()), Ok(Ok(_))));
    let without = |change: fn(&mut Message)| {
        let mut bad = good.clone();
        change(&mut bad);
        take(&bad.encode().unwrap())
    };
    let lacking = Err(Malformed("a header that lacks a field"));
    assert_eq!(without(|m| m.path.clear()), lacking);
    assert_eq!(without(|m| m.interface.clear()), lacking);
    assert_eq!(without(|m| m.member.clear()), lacking);
    assert_eq!(without(|m| m.serial = 0), lacking);
    assert_eq!(without(|m| m.kind = Kind::Return), lacking);
    assert_eq!(without(|m| m.kind = Kind::Error), lacking);
}

#[test]
fn fields_that_are_not_known_are_passed_over() {
    let mut bytes = message("", Vec::new()).encode().unwrap();
    // A field 10 of type `u`, which a later version may bring, in front of the padding.
    let fields = u32::from_le_bytes(bytes[12..16].try_into().unwrap()).next_multiple_of(8) + 8;
    bytes.extend([10, 1, b'u', 0, 1, 2, 3, 4]);
    bytes[12..16].copy_from_slice(&fields.to_le_bytes());
    assert!(matches!(take(&bytes), Ok(Ok(_))), "{:?}", take(&bytes));
}

#[test]
fn variants_in_variants_end_at_a_depth() {
    let mut value = Value::Byte(1);
    let mut signature = "y";
    for _ in 0..70 {
        let variant = Variant {
            signature: signature.to_owned(),
            value,
        };
        value = Value::Variant(Box::new(variant));
        signature = "v";
    }
    let bytes = encode("v", &[value]).unwrap();
    let deep = Err(Malformed("values of more than 64 levels"));
    assert_eq!(decode("v", &bytes, false), deep);
}

#[test]
fn many_tiny_values_end_at_a_number() {
    let length = 3_u32 << 20;
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.resize(4 + length as usize, 0);
    assert_eq!(
        decode("an", &bytes, false),
        Err(Malformed("a message of too many values"))
    );
    assert!(decode("ay", &bytes, false).is_ok(), "bytes are no values");
}

#[test]
fn what_a_caller_mistakes_is_an_error() {
    for (signature, values) in [
        ("s", vec![Value::U32(1)]),
        ("s", vec!["a\0b".into()]),
        ("s", vec![]),
        ("s", vec!["a".into(), "b".into()]),
        ("as", vec![Value::Bytes(vec![1])]),
        ("ay", vec![Value::Array(vec![Value::Byte(1)])]),
        ("e", vec![]),
    ] {
        assert!(
            encode(signature, &values).is_err(),
            "{signature} {values:?}"
        );
    }
}
