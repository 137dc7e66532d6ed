//! The blocks of an archive, and the headers that stand before an entry and belong to it.

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::error::TarError;
use super::pax::Records;

/// Bytes of a block.
pub(super) const BLOCK: usize = 512;
/// Bytes of names and extended headers of one entry: what an archive can make us hold.
const MOST_METADATA: u64 = 1024 * 1024;

/// An archive that is being read.
pub(super) struct Stream<R> {
    reader: R,
    /// The name of the last entry, for messages.
    pub(super) last: Vec<u8>,
    /// What a global header said, for all that follow.
    global: Records,
}

/// An entry's headers.
pub(super) struct Entry {
    pub(super) header: Header,
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) records: Records,
}

impl<R: Read> Stream<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            last: Vec::new(),
            global: Records::default(),
        }
    }

    /// The next entry; nothing at the archive's end.
    pub(super) fn entry(&mut self) -> Result<Option<Entry>, TarError> {
        let (mut name, mut link, mut records) = (None, None, self.global.clone());
        while let Some(header) = self.header()? {
            match header.entry_type() {
                EntryType::GNULongName => name = Some(until_nul(self.metadata(&header)?)),
                EntryType::GNULongLink => link = Some(until_nul(self.metadata(&header)?)),
                EntryType::XHeader => {
                    let read = Records::read(&self.metadata(&header)?);
                    records = records.then(read.map_err(|reason| self.broken(reason))?);
                }
                EntryType::XGlobalHeader => {
                    let read = Records::read(&self.metadata(&header)?);
                    let read = read.map_err(|reason| self.broken(reason))?;
                    self.global = self.global.then(read.clone());
                    records = read.then(records);
                }
                _ => {
                    let said = |key| records.get(key).map(<[u8]>::to_vec);
                    // A file with holes has a made-up name beside its own.
                    let name = said("GNU.sparse.name").or_else(|| said("path")).or(name);
                    let name = name.unwrap_or_else(|| header.path_bytes().into_owned());
                    let link = said("linkpath").or(link);
                    let own = || header.link_name_bytes().unwrap_or_default().into_owned();
                    let link = link.unwrap_or_else(own);
                    self.last.clone_from(&name);
                    return Ok(Some(Entry {
                        header,
                        name,
                        link,
                        records,
                    }));
                }
            }
        }
        if name.is_some() || link.is_some() || records != self.global {
            return Err(self.truncated());
        }
        Ok(None)
    }

    /// Read so many bytes.
    pub(super) fn exactly(&mut self, buffer: &mut [u8]) -> Result<(), TarError> {
        let read = self.reader.read_exact(buffer);
        read.map_err(|error| self.failed(error))
    }

    /// The bytes that follow.
    pub(super) fn reader(&mut self) -> &mut R {
        &mut self.reader
    }

    /// Skip what fills up the last block of so many bytes.
    pub(super) fn pad(&mut self, bytes: u64) -> Result<(), TarError> {
        let used = usize::try_from(bytes % BLOCK as u64).expect("it is less than a block");
        let mut rest = [0; BLOCK];
        match used {
            0 => Ok(()),
            used => self.exactly(&mut rest[used..]),
        }
    }

    /// Read what follows the archive's end: its writer may wait for that, and the sums of a
    /// compressed one are there.
    pub(super) fn finish(mut self) -> Result<(), TarError> {
        let rest = io::copy(&mut self.reader, &mut io::sink());
        rest.map(drop).map_err(|error| self.failed(error))
    }

    pub(super) fn failed(&self, source: io::Error) -> TarError {
        match source.kind() {
            io::ErrorKind::UnexpectedEof => self.truncated(),
            _ => TarError::Stream {
                last: self.last.clone(),
                source,
            },
        }
    }

    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let mut header = Header::new_old();
        self.exactly(header.as_mut_bytes())?;
        let bytes = header.as_bytes();
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        // The sum counts its own eight bytes as spaces.
        let others = bytes[..148]
            .iter()
            .chain(&bytes[156..])
            .map(|byte| u32::from(*byte));
        let sum = others.sum::<u32>() + 8 * u32::from(b' ');
        if header.cksum().ok() != Some(sum) {
            return Err(self.broken(if self.last.is_empty() {
                "it is no tar archive: its first header is damaged"
            } else {
                "a header is damaged: its checksum is wrong"
            }));
        }
        Ok(Some(header))
    }

    fn metadata(&mut self, header: &Header) -> Result<Vec<u8>, TarError> {
        let size = header
            .entry_size()
            .ok()
            .filter(|size| *size <= MOST_METADATA);
        let size =
            size.ok_or_else(|| self.broken("an entry's names or attributes are too long"))?;
        let mut bytes = Vec::new();
        let read = self.reader.by_ref().take(size).read_to_end(&mut bytes);
        read.map_err(|error| self.failed(error))?;
        if (bytes.len() as u64) < size {
            return Err(self.truncated());
        }
        self.pad(size)?;
        Ok(bytes)
    }

    fn truncated(&self) -> TarError {
        TarError::Truncated {
            last: self.last.clone(),
        }
    }

    fn broken(&self, reason: &'static str) -> TarError {
        TarError::Broken {
            last: self.last.clone(),
            reason,
        }
    }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}
