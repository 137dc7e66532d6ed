//! Files and trees through the shell, by the guest's `tar`, in pieces between which others have
//! their turn.

use std::time::Duration;

use attest_protocol::link::{Channel, Incoming, Stream};
use attest_protocol::message::{Download, Failure, FailureCode, RawBytes, Response, Upload};

use crate::exec::cancellation;
use crate::failure::{cancelled, failure};
use crate::guest::Guest;
use crate::quote::quote;
use crate::script::own;
use crate::spool::{Spool, refused};

/// How long a step may take.
const STEP: Duration = Duration::from_mins(5);
/// How long a tree may take to come down, or to be unpacked.
const TREE: Duration = Duration::from_hours(1);

/// Makes a directory beside the destination, for the stream and what comes out of it.
const BEGIN: &str = "set -e; p=$1; d=$(dirname -- \"$p\"); mkdir -p -- \"$d\"; \
    command -v tar >/dev/null || { echo 'tar: not found'; exit 127; }; \
    mktemp -d -- \"$d/.attest-XXXXXX\"";
/// Unpacks there, and puts the entry in its place: into a directory that is there, over a file.
const END: &str = "set -e; p=$1 t=$2; trap 'rm -rf -- \"$t\"' EXIT; cd -- \"$t\"; \
    mkdir out; tar -xof stream -C out; rm stream; \
    if [ -d out/content ] && [ ! -L out/content ] && [ -d \"$p\" ]; then \
        cd out/content; tar -cf - . | tar -xof - -C \"$p\" --no-overwrite-dir; \
    elif [ -d \"$p\" ] && [ ! -L \"$p\" ]; then echo \"$p: Is a directory\"; exit 1; \
    else mv -fT -- out/content \"$p\"; fi";
/// A file's entry gets its name by its pattern, a directory's by the beginning. Status 1 of GNU
/// tar is a file that changed meanwhile. Where tar renames nothing, a copy does.
const DOWN: &str = "p=$1; if [ ! -e \"$p\" ] && [ ! -L \"$p\" ]; then exit 44; fi; \
    if tar --version 2>/dev/null | grep -q GNU; then \
        if [ -d \"$p\" ] && [ ! -L \"$p\" ]; then tar -C \"$p\" --transform 's,^\\.,content,S' -cf - .; \
        else tar -C \"$(dirname -- \"$p\")\" --transform 's,^.*$,content,S' -cf - \"./$(basename -- \"$p\")\"; fi; \
        s=$?; [ $s = 1 ] && s=0; exit $s; fi; \
    t=$(mktemp -d) && trap 'rm -rf -- \"$t\"' EXIT && cp -a -- \"$p\" \"$t/content\" && tar -C \"$t\" -cf - content";
/// The status of [`DOWN`] for what is not there.
const MISSING: i32 = 44;

/// A script with words of its own.
fn with(script: &str, words: &[&[u8]]) -> Vec<u8> {
    let mut text = b"set --".to_vec();
    for word in words {
        text.push(b' ');
        text.extend_from_slice(&quote(word));
    }
    text.extend_from_slice(b"; exec 2>&1; ");
    text.extend_from_slice(script.as_bytes());
    text
}

fn absolute(path: &RawBytes) -> Result<(), Failure> {
    if path.first() == Some(&b'/') && !path.contains(&0) {
        return Ok(());
    }
    Err(failure(
        FailureCode::Invalid,
        format!("{} is no absolute path", String::from_utf8_lossy(path)),
    ))
}

pub(crate) async fn upload(
    guest: &Guest,
    upload: &Upload,
    channel: Channel,
) -> Result<Response, Failure> {
    absolute(&upload.path)?;
    let begun = step(guest, &with(BEGIN, &[&upload.path]), &upload.path, STEP).await?;
    let directory = begun.trim_ascii().to_vec();
    let mut spool = Spool::new(guest, [&directory, b"/stream".as_slice()].concat());
    match pieces(&mut spool, channel).await {
        Ok(bytes) => {
            let script = with(END, &[&upload.path, &directory]);
            step(guest, &script, &upload.path, TREE).await?;
            Ok(Response::Copied(bytes))
        }
        Err(failure) => {
            Spool::new(guest, directory).remove().await;
            Err(failure)
        }
    }
}

/// Run a step of an upload; gives what it printed.
async fn step(
    guest: &Guest,
    script: &[u8],
    path: &[u8],
    limit: Duration,
) -> Result<Vec<u8>, Failure> {
    let (status, said) = guest.ask(script, "an upload", limit).await?;
    if status == 0 {
        return Ok(said);
    }
    Err(refused(path, status, &said))
}

/// Append the stream to a file of the guest's. Gives the bytes of file contents in it.
async fn pieces(spool: &mut Spool<'_>, mut channel: Channel) -> Result<u64, Failure> {
    let mut contents = Contents::default();
    loop {
        match channel.receiver.next().await {
            Ok(Incoming::Data(Stream::In, bytes)) => {
                contents.add(&bytes);
                spool.add(&bytes).await?;
            }
            Ok(Incoming::Eof(Stream::In)) => {
                spool.flush().await?;
                return Ok(contents.bytes);
            }
            Ok(Incoming::Cancelled) | Err(_) => return Err(cancelled()),
            Ok(_) => {}
        }
    }
}

/// Counts the contents of files in a tar stream as it goes by.
#[derive(Debug, Default)]
struct Contents {
    bytes: u64,
    header: Vec<u8>,
    /// Bytes of the entry, and of what fills its last block, that are still to come.
    left: u64,
}

impl Contents {
    /// Bytes of a block of tar's.
    const BLOCK: usize = 512;

    fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = bytes
                    .len()
                    .min(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            let missing = bytes.len().min(Self::BLOCK - self.header.len());
            self.header.extend_from_slice(&bytes[..missing]);
            bytes = &bytes[missing..];
            if self.header.len() == Self::BLOCK {
                self.entry();
                self.header.clear();
            }
        }
    }

    fn entry(&mut self) {
        let header = tar::Header::from_byte_slice(&self.header);
        let size = header.entry_size().unwrap_or(0);
        if header.entry_type().is_file() {
            self.bytes = self.bytes.saturating_add(size);
        }
        self.left = size
            .checked_next_multiple_of(Self::BLOCK as u64)
            .unwrap_or(size);
    }
}

pub(crate) async fn download(
    guest: &Guest,
    download: &Download,
    channel: Channel,
) -> Result<Response, Failure> {
    absolute(&download.path)?;
    let Channel {
        sender,
        mut receiver,
    } = channel;
    let script = [
        b"set -- ".as_slice(),
        &quote(&download.path),
        b"; ",
        DOWN.as_bytes(),
    ]
    .concat();
    let mut asked = guest.shell.ask(own(&script, "a download", TREE));
    let mut contents = Contents::default();
    let copying = async {
        while let Some(bytes) = asked.output().await {
            contents.add(&bytes);
            // A host that is gone has its cancellation on the way.
            let _ = sender.data(Stream::Out, bytes).await;
        }
        asked.end().await
    };
    let status = tokio::select! {
        status = copying => status?,
        () = cancellation(&mut receiver) => return Err(cancelled()),
    };
    let path = String::from_utf8_lossy(&download.path);
    match status {
        0 => {
            let _ = sender.eof(Stream::Out);
            Ok(Response::Copied(contents.bytes))
        }
        MISSING => Err(failure(
            FailureCode::NotFound,
            format!("{path}: no such file or directory"),
        )),
        127 => Err(failure(
            FailureCode::Unsupported,
            format!("{path}: the guest has no tar"),
        )),
        status => Err(failure(
            FailureCode::Os,
            format!(
                "{path}: the guest's tar ended with status {status}, and said why on its console"
            ),
        )),
    }
}
