//! Files with holes in archives: GNU's old form, and its three forms in extended headers
//! (GNU tar's manual, "Storing Sparse Files").

use std::io::Read;

use tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

use super::error::TarError;
use super::pax::{Records, number};
use super::stream::{BLOCK, Stream};

/// Numbers of a map that stands before the data.
const MOST_NUMBERS: usize = 200_000;
/// Digits of one of them.
const MOST_DIGITS: usize = 20;

/// Where the bytes of an entry go in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Map {
    /// Places and lengths, in order and apart.
    pub(super) places: Vec<(u64, u64)>,
    /// Of the whole file.
    pub(super) size: u64,
}

impl Map {
    fn checked(places: Vec<(u64, u64)>, size: u64) -> Result<Self, &'static str> {
        let mut end = 0;
        for (at, length) in &places {
            let next = at
                .checked_add(*length)
                .filter(|next| *at >= end && *next <= size);
            end = next.ok_or("the map of its holes makes no sense")?;
        }
        Ok(Self { places, size })
    }

    /// Bytes that are in the archive.
    pub(super) fn bytes(&self) -> u64 {
        self.places.iter().map(|(_, length)| length).sum()
    }
}

const DAMAGED: &str = "the map of its holes is damaged";

/// The old form: the map begins in the header and goes on in blocks behind it.
pub(super) fn old(
    stream: &mut Stream<impl Read>,
    header: &Header,
) -> Result<Result<Map, &'static str>, TarError> {
    let Some(gnu) = header.as_gnu() else {
        return Ok(Err("it has holes in a form that is not GNU's"));
    };
    let mut places = places(&gnu.sparse);
    let mut more = gnu.is_extended();
    while more {
        let mut block = GnuExtSparseHeader::new();
        stream.exactly(block.as_mut_bytes())?;
        places.extend(self::places(&block.sparse));
        more = block.is_extended();
        if places.len() > MOST_NUMBERS {
            return Ok(Err("it has too many holes"));
        }
    }
    let places: Option<Vec<_>> = places.into_iter().collect();
    Ok(match (places, gnu.real_size()) {
        (Some(places), Ok(size)) => Map::checked(places, size),
        _ => Err(DAMAGED),
    })
}

/// The places of a part of a map; nothing in place of one that is damaged.
fn places(parts: &[GnuSparseHeader]) -> Vec<Option<(u64, u64)>> {
    let parts = parts.iter().filter(|part| !part.is_empty());
    parts
        .map(|part| Some((part.offset().ok()?, part.length().ok()?)))
        .collect()
}

/// The forms of extended headers; nothing for a file that has no holes. The newest has its map
/// before the data: its bytes are taken from `left`.
pub(super) fn extended(
    stream: &mut Stream<impl Read>,
    records: &Records,
    left: &mut u64,
) -> Result<Option<Result<Map, &'static str>>, TarError> {
    let size = ["GNU.sparse.realsize", "GNU.sparse.size"];
    let size = size.iter().find_map(|key| records.number(key).transpose());
    if let Some(version) = records.get("GNU.sparse.major") {
        if version != b"1" {
            return Ok(Some(Err(
                "it has holes in a form that is newer than attest",
            )));
        }
        let numbers = numbers(stream, left)?;
        return Ok(Some(match (numbers, size) {
            (Ok(numbers), Some(Ok(size))) => Map::checked(pairs(&numbers), size),
            _ => Err(DAMAGED),
        }));
    }
    let listed: Option<Vec<u64>> = if let Some(map) = records.get("GNU.sparse.map") {
        map.split(|byte| *byte == b',').map(number).collect()
    } else if records.get("GNU.sparse.numblocks").is_some() {
        // Each place has two records, in turn.
        let parts = records.beginning(b"GNU.sparse.");
        let parts = parts.filter(|(key, _)| matches!(*key, b"offset" | b"numbytes"));
        parts.map(|(_, value)| number(value)).collect()
    } else {
        return Ok(None);
    };
    Ok(Some(match (listed, size) {
        (Some(numbers), Some(Ok(size))) if numbers.len().is_multiple_of(2) => {
            Map::checked(pairs(&numbers), size)
        }
        _ => Err(DAMAGED),
    }))
}

fn pairs(numbers: &[u64]) -> Vec<(u64, u64)> {
    numbers
        .chunks_exact(2)
        .map(|pair| (pair[0], pair[1]))
        .collect()
}

/// The map before the data: a count and so many pairs, a line each, in whole blocks.
fn numbers(
    stream: &mut Stream<impl Read>,
    left: &mut u64,
) -> Result<Result<Vec<u64>, &'static str>, TarError> {
    let mut numbers: Vec<u64> = Vec::new();
    let mut digits = Vec::new();
    let mut wanted = None;
    while wanted != Some(numbers.len()) {
        if *left < BLOCK as u64 {
            return Ok(Err(DAMAGED));
        }
        let mut block = [0; BLOCK];
        stream.exactly(&mut block)?;
        *left -= BLOCK as u64;
        for byte in block {
            if wanted == Some(numbers.len()) {
                break;
            }
            if byte != b'\n' {
                digits.push(byte);
                if digits.len() > MOST_DIGITS {
                    return Ok(Err(DAMAGED));
                }
                continue;
            }
            let Some(number) = number(&digits) else {
                return Ok(Err(DAMAGED));
            };
            digits.clear();
            if wanted.is_some() {
                numbers.push(number);
                continue;
            }
            let count = usize::try_from(number)
                .ok()
                .filter(|count| *count <= MOST_NUMBERS / 2);
            let Some(count) = count else {
                return Ok(Err("it has too many holes"));
            };
            wanted = Some(count * 2);
        }
    }
    Ok(Ok(numbers))
}
