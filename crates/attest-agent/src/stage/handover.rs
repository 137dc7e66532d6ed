//! PID 1 starts the agent beside itself, waits for its word, and becomes the system's init.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::reboot::{RebootMode, reboot};

use crate::system::Leaving;

/// Where systems have their init: systemd's first, for `/sbin/init` may be a link out of reach.
const INITS: [&str; 6] = [
    "/sbin/init",
    "/usr/lib/systemd/systemd",
    "/lib/systemd/systemd",
    "/etc/init",
    "/bin/init",
    "/init",
];
/// systemd spares processes whose name begins so, until the very end of a shutdown
/// (systemd.io, ROOT_STORAGE_DAEMONS): until then the host hears of it.
const NAME: &str = "@attest-agent";
/// Says to the program that it is the one beside PID 1.
pub const BESIDE: &str = "--beside-init";
/// And that its stream is the machine's: the one that the kernel's command line says. Else it is its
/// stdin.
pub const MACHINES: &str = "port";

/// What PID 1 is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Boot,
    PowerOff,
    Reboot,
}

impl Word {
    const ALL: [Self; 3] = [Self::Boot, Self::PowerOff, Self::Reboot];

    fn byte(self) -> u8 {
        match self {
            Self::Boot => b'b',
            Self::PowerOff => b'p',
            Self::Reboot => b'r',
        }
    }
}

/// What PID 1 needs to hand over.
#[derive(Debug)]
pub struct Handover {
    /// The stream to the host; `None`: the agent finds the machine's.
    pub stream: Option<OwnedFd>,
    /// The system's init; `None`: looked for.
    pub init: Option<String>,
}

impl Handover {
    /// Start the agent, wait for its word, and do it. Comes back only with why not.
    pub fn run(self) -> String {
        let word = match self.start_agent().and_then(|mut pipe| hear(&mut pipe)) {
            Ok(word) => word,
            Err(error) => return format!("the agent cannot be started: {error}"),
        };
        match word {
            Some(Word::Boot) => become_init(self.init.as_deref()),
            Some(Word::PowerOff) => end(RebootMode::RB_POWER_OFF),
            Some(Word::Reboot) => end(RebootMode::RB_AUTOBOOT),
            None => "the agent ended before the system was booted".to_owned(),
        }
    }

    fn start_agent(&self) -> io::Result<PipeReader> {
        let (words, words_end) = io::pipe()?;
        let stream = match &self.stream {
            Some(stream) => Stdio::from(stream.try_clone()?),
            None => Stdio::null(),
        };
        Command::new("/proc/self/exe")
            .arg0(NAME)
            .arg(BESIDE)
            .arg(if self.stream.is_some() {
                "socket"
            } else {
                MACHINES
            })
            .stdin(stream)
            .stdout(Stdio::from(OwnedFd::from(words_end)))
            .spawn()?;
        Ok(words)
    }
}

fn hear(pipe: &mut PipeReader) -> io::Result<Option<Word>> {
    let mut byte = [0];
    let count = pipe.read(&mut byte)?;
    let known = |word: &Word| word.byte() == byte[0];
    Ok(Word::ALL.into_iter().find(|word| count == 1 && known(word)))
}

fn become_init(init: Option<&str>) -> String {
    let init = match init {
        Some(init) => init,
        None => match INITS.into_iter().find(|path| Path::new(path).exists()) {
            Some(init) => init,
            None => return format!("the root has no init: none of {}", INITS.join(", ")),
        },
    };
    let error = Command::new(init).arg0(init).exec();
    format!("{init} cannot be started: {error}")
}

/// In a container, where that is not allowed, the end of PID 1 is the end of all.
fn end(mode: RebootMode) -> String {
    nix::unistd::sync();
    match reboot(mode) {
        Err(nix::Error::EPERM) => std::process::exit(0),
        Err(error) => format!("the kernel refuses to end the machine: {error}"),
    }
}

/// The agent's end of the pipe to PID 1, which waits.
#[derive(Debug)]
pub struct Waiting(PipeWriter);

impl Waiting {
    /// Take it from stdout, under which PID 1 gave it.
    ///
    /// # Errors
    /// It cannot be duplicated, or there is no `/dev/null`.
    pub fn from_stdout() -> io::Result<Self> {
        let pipe = io::stdout().as_fd().try_clone_to_owned()?;
        let null = File::options().write(true).open("/dev/null")?;
        nix::unistd::dup2_stdout(null)?;
        Ok(Self(pipe.into()))
    }

    /// The system's init begins.
    pub(crate) fn boot(self) -> io::Result<()> {
        self.say(Word::Boot)
    }

    /// The machine ends, without its system having begun.
    pub(crate) fn leave(self, leaving: Leaving) -> io::Result<()> {
        self.say(match leaving {
            Leaving::PowerOff => Word::PowerOff,
            Leaving::Reboot => Word::Reboot,
        })
    }

    fn say(mut self, word: Word) -> io::Result<()> {
        self.0.write_all(&[word.byte()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pid_1_understands_the_agent() {
        for word in Word::ALL {
            let (mut reader, writer) = io::pipe().unwrap();
            Waiting(writer).say(word).unwrap();
            assert_eq!(hear(&mut reader).unwrap(), Some(word));
        }
        let (mut reader, writer) = io::pipe().unwrap();
        drop(writer);
        assert_eq!(hear(&mut reader).unwrap(), None);
        let (mut reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"x").unwrap();
        assert_eq!(hear(&mut reader).unwrap(), None);
    }
}
