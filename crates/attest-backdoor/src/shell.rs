//! The shell as something that runs one line after the other, in the order in which they were
//! asked for.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::answer::{Answer, Part, UNMISTAKABLE, Wrong};
use crate::script;

/// Bytes for one read from the shell.
const ROOM: usize = 64 * 1024;
/// Pieces of output that may wait for whoever asked: with [`ROOM`], what a slow one makes us hold.
const AHEAD: usize = 4;
/// Bytes of what a shell prints before it is ready that are kept, to be shown.
const NOISE: usize = 4096;
/// How long a shell that answered nonsense may take to make sense again.
const SENSE: Duration = Duration::from_secs(15);
/// How long one that was just started may take to make sense at all: the guest boots meanwhile, and
/// so may others on the same processors.
const BOOTS: Duration = Duration::from_mins(5);
/// When a shell is asked again whether it makes sense; twice as long later for each time after.
const ASKED_AGAIN: Duration = Duration::from_secs(3);
/// Ends a word whether it stands outside of quotes, within apostrophes or within quotation marks,
/// and leaves the shell outside of them.
const CLOSES: &str = r#"\''"\'"#;
/// How long a line that nobody wants any more may keep those that come after it waiting.
const UNWANTED: Duration = Duration::from_secs(15);

/// One line for the shell.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// Without its newline.
    pub(crate) text: Vec<u8>,
    /// What a program of the line reads from the shell's own stdin.
    pub(crate) input: Bytes,
    /// What it is, for messages.
    pub(crate) name: String,
    /// How long the shell may take for it; for ever when there is none.
    pub(crate) limit: Option<Duration>,
}

/// Why the shell gave no whole answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ShellError {
    #[error("the guest's shell ended, or was started anew, before it answered")]
    Lost,
    #[error(
        "the guest's shell gave no answer to `{name}` within {limit:?}, and takes no other command until it does"
    )]
    Silent { name: String, limit: Duration },
    #[error("the guest's shell is still busy with `{name}`, since {since:?}")]
    Stuck { name: String, since: Duration },
    #[error(
        "the guest's shell printed nothing, not even what it is: has the guest the program `base64`?"
    )]
    Mute,
    #[error(transparent)]
    Wrong(#[from] Wrong),
}

type End = Result<i32, ShellError>;

struct Job {
    line: Line,
    output: mpsc::Sender<Bytes>,
    end: oneshot::Sender<End>,
}

/// Lines for a shell. Clones are the same shell.
#[derive(Debug, Clone)]
pub(crate) struct Shell(mpsc::UnboundedSender<Job>);

/// Lines that wait for the shell.
pub(crate) struct Queue(mpsc::UnboundedReceiver<Job>);

impl Queue {
    /// What is asked, or was already, once it is so late. Cancel-safe.
    async fn after(&mut self, late: Instant) -> Option<Job> {
        sleep_until(late).await;
        self.0.recv().await
    }
}

/// A line that was asked for. Dropping it drops what is still to come of its output; the shell
/// goes on with it, for nothing in the guest could end it.
#[derive(Debug)]
pub(crate) struct Asked {
    output: mpsc::Receiver<Bytes>,
    end: oneshot::Receiver<End>,
}

impl Asked {
    /// The next bytes of output; `None` at the end. Cancel-safe.
    pub(crate) async fn output(&mut self) -> Option<Bytes> {
        self.output.recv().await
    }

    /// The exit status, once all output was taken.
    pub(crate) async fn end(self) -> End {
        drop(self.output);
        self.end.await.unwrap_or(Err(ShellError::Lost))
    }
}

impl Shell {
    pub(crate) fn new() -> (Self, Queue) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), Queue(receiver))
    }

    /// Ask for a line. Never waits.
    pub(crate) fn ask(&self, line: Line) -> Asked {
        let (output, receiver) = mpsc::channel(AHEAD);
        let (end, ended) = oneshot::channel();
        // Without a shell the end is dropped, which says so.
        let _ = self.0.send(Job { line, output, end });
        Asked {
            output: receiver,
            end: ended,
        }
    }

    /// Ask for a line, and give the end of its output: at most this many bytes.
    pub(crate) async fn capture(
        &self,
        line: Line,
        most: usize,
    ) -> Result<(i32, Vec<u8>), ShellError> {
        let mut asked = self.ask(line);
        let mut kept = Vec::new();
        while let Some(bytes) = asked.output().await {
            kept.extend_from_slice(&bytes);
            let excess = kept.len().saturating_sub(most);
            kept.drain(..excess);
        }
        Ok((asked.end().await?, kept))
    }
}

/// Why a shell takes no more lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Over {
    /// It was started anew.
    Announced,
    /// Its stream ended.
    Ended(String),
}

/// The stream of a shell, over all boots of its guest.
pub(crate) struct Terminal {
    stream: UnixStream,
    buffer: BytesMut,
}

impl Terminal {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
        }
    }

    /// Wait until the shell says that it is ready; gives the end of what came before. An error
    /// when its stream ends first. Cancel-safe.
    pub(crate) async fn announced(&mut self) -> Result<String, Over> {
        loop {
            if let Some(at) = find(&self.buffer, UNMISTAKABLE) {
                let noise = String::from_utf8_lossy(&self.buffer[..at]);
                let noise = noise.trim_end_matches("Spawning").to_owned();
                // The guest says nothing more until it is asked, but for the line's end.
                self.buffer.clear();
                return Ok(noise);
            }
            let excess = self.buffer.len().saturating_sub(NOISE);
            drop(self.buffer.split_to(excess));
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), Over> {
        self.buffer.reserve(ROOM);
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) => Err(Over::Ended(
                "the guest's shell closed its terminal".to_owned(),
            )),
            Ok(_) => Ok(()),
            Err(error) => Err(Over::Ended(format!("the guest's shell: {error}"))),
        }
    }

    /// Run what is asked for, until the shell is over. When nobody can ask any more, only that is
    /// waited for.
    pub(crate) async fn serve(&mut self, queue: &mut Queue) -> Over {
        let mut asking = true;
        // What was written to a shell that ended may have reached this one.
        if let Err(over) = self.make_sense("its first line", BOOTS, queue).await {
            return over;
        }
        loop {
            tokio::select! {
                job = queue.0.recv(), if asking => match job {
                    Some(job) => if let Err(over) = self.job(job, queue).await {
                        return over;
                    },
                    None => asking = false,
                },
                announced = self.announced() => return match announced {
                    Ok(_) => Over::Announced,
                    Err(over) => over,
                },
            }
        }
    }

    async fn job(&mut self, job: Job, queue: &mut Queue) -> Result<(), Over> {
        // What came since the last answer belongs to none: background programs, the kernel.
        self.buffer.clear();
        let Job { line, output, end } = job;
        let mut talk = Talk {
            answer: Answer::default(),
            output: Some(output),
            end: Some(end),
            began: Instant::now(),
        };
        let Line {
            mut text,
            input,
            name,
            limit,
        } = line;
        text.push(b'\n');
        let (mut reader, mut writer) = self.stream.split();
        let (more, mut wanted) = mpsc::unbounded_channel();
        let writing = async {
            writer.write_all(&text).await?;
            writer.write_all(&input).await?;
            while wanted.recv().await.is_some() {
                writer.write_all(b"\n").await?;
            }
            std::io::Result::Ok(())
        };
        let reading = talk.read(&mut reader, &mut self.buffer, &name, limit, queue, more);
        // A full terminal of a program that does not read must not keep its output from us.
        let both = async {
            tokio::pin!(writing, reading);
            let mut written = false;
            loop {
                tokio::select! {
                    wrote = &mut writing, if !written => match wrote {
                        Ok(()) => written = true,
                        Err(error) => return Err(Over::Ended(format!("the guest's shell: {error}"))),
                    },
                    end = &mut reading => return end,
                }
            }
        };
        let wrong = both.await?;
        let Some(wrong) = wrong else { return Ok(()) };
        talk.finish(Err(wrong.into()));
        self.make_sense(&name, SENSE, queue).await
    }

    /// Find the beginning of the next answer, whatever the shell was given and has answered before.
    /// Who asks meanwhile waits, but not for longer than this.
    ///
    /// A slow shell may be asked again before it has answered. All that it was asked it answers at some
    /// time, so only the answer to the last question is the one after which nothing of ours is under way.
    async fn make_sense(
        &mut self,
        name: &str,
        patience: Duration,
        queue: &mut Queue,
    ) -> Result<(), Over> {
        let mut mark = [0; 8];
        // Any mark will do where there is no entropy.
        let _ = getrandom::fill(&mut mark);
        let mark = u64::from_le_bytes(mark);
        let began = Instant::now();
        let given_up = began + patience;
        let mut asked = 0_u32;
        let mut ask_at = began;
        loop {
            if find(&self.buffer, UNMISTAKABLE).is_some() {
                self.buffer.clear();
                return Err(Over::Announced);
            }
            let answer = format!("\nattest-{mark}-{asked}\n");
            if let Some(at) = find(&self.buffer, &answer) {
                drop(self.buffer.split_to(at + answer.len()));
                return Ok(());
            }
            let excess = self.buffer.len().saturating_sub(NOISE);
            drop(self.buffer.split_to(excess));
            tokio::select! {
                filled = self.fill() => filled?,
                Some(job) = queue.after(given_up) => {
                    let _ = job.end.send(Err(ShellError::Stuck {
                        name: name.to_owned(),
                        since: began.elapsed(),
                    }));
                }
                () = sleep_until(ask_at) => {
                    ask_at += ASKED_AGAIN * 2_u32.saturating_pow(asked);
                    asked += 1;
                    let question = question(&format!("{mark}-{asked}"));
                    let written = self.stream.write_all(question.as_bytes()).await;
                    written.map_err(|error| Over::Ended(format!("the guest's shell: {error}")))?;
                }
            }
        }
    }
}

/// Makes the shell answer `attest-` and this in a line of its own, also where the line that it was
/// given before was cut within a word. In two parts, so that an echo of the question is no answer.
fn question(mark: &str) -> String {
    let function = script::function();
    format!(
        "\n: {CLOSES}\nstty raw -echo 2>/dev/null; {function}; printf '\\n%s%s\\n' attest- {mark}\n"
    )
}

fn find(buffer: &[u8], text: &str) -> Option<usize> {
    memchr::memmem::find(buffer, text.as_bytes())
}

/// The answer to one line.
struct Talk {
    answer: Answer,
    output: Option<mpsc::Sender<Bytes>>,
    end: Option<oneshot::Sender<End>>,
    began: Instant,
}

impl Talk {
    fn finish(&mut self, end: End) {
        self.output = None;
        if let Some(sender) = self.end.take() {
            // Whoever asked may have gone.
            let _ = sender.send(end);
        }
    }

    /// Read to the answer's end, and whatever was wrong with it.
    async fn read(
        &mut self,
        reader: &mut (impl tokio::io::AsyncRead + Unpin),
        buffer: &mut BytesMut,
        name: &str,
        limit: Option<Duration>,
        queue: &mut Queue,
        more: mpsc::UnboundedSender<()>,
    ) -> Result<Option<Wrong>, Over> {
        let mut pieces = 0;
        let mut deadline = limit.map(|limit| self.began + limit);
        let mut is_wanted = true;
        loop {
            while let Some(part) = self.answer.next(buffer) {
                match part {
                    Part::Output(bytes) => {
                        self.give(bytes).await;
                        let whole = self.answer.pieces();
                        for _ in std::mem::replace(&mut pieces, whole)..whole {
                            // The writer lives as long as this.
                            let _ = more.send(());
                        }
                    }
                    Part::Status(status) => {
                        self.finish(Ok(status));
                        return Ok(None);
                    }
                    Part::Announced => return Err(Over::Announced),
                    Part::Wrong(wrong) => return Ok(Some(wrong)),
                }
            }
            buffer.reserve(ROOM);
            let is_stuck = self.end.is_none();
            tokio::select! {
                read = reader.read_buf(buffer) => match read {
                    Ok(0) => return Err(Over::Ended("the guest's shell closed its terminal".to_owned())),
                    Ok(_) => {}
                    Err(error) => return Err(Over::Ended(format!("the guest's shell: {error}"))),
                },
                () = unwanted(&mut self.end), if is_wanted => {
                    is_wanted = false;
                    let soon = Instant::now() + UNWANTED;
                    deadline = Some(deadline.map_or(soon, |deadline| deadline.min(soon)));
                }
                () = at(deadline), if !is_stuck => self.finish(Err(ShellError::Silent {
                    name: name.to_owned(),
                    limit: self.began.elapsed(),
                })),
                // Nobody waits behind a line that will not end.
                Some(job) = queue.0.recv(), if is_stuck => {
                    let _ = job.end.send(Err(ShellError::Stuck {
                        name: name.to_owned(),
                        since: self.began.elapsed(),
                    }));
                }
            }
        }
    }

    async fn give(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        if let Some(output) = &self.output
            && output.send(bytes).await.is_err()
        {
            self.output = None;
        }
    }
}

/// Resolves when nobody waits for the end any more.
async fn unwanted(end: &mut Option<oneshot::Sender<End>>) {
    match end {
        Some(end) => end.closed().await,
        None => std::future::pending().await,
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_question_is_answered_wherever_the_line_before_it_was_cut() {
        let cuts = [
            "",
            "true",
            "true 'one ",
            "true \"two ",
            "true 'it'\"'\"'s ",
            "true \"it's ",
            "true '\"",
        ];
        for cut in cuts {
            let mut bash = Command::new("bash")
                .arg("--norc")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut stdin = bash.stdin.take().unwrap();
            let lines = [cut, &question("1"), &question("2"), "echo after\n"].concat();
            stdin.write_all(lines.as_bytes()).unwrap();
            drop(stdin);
            let said = bash.wait_with_output().unwrap().stdout;
            let said = String::from_utf8(said).unwrap();
            assert_eq!(said, "\nattest-1\n\nattest-2\nafter\n", "{cut}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_a_shell_that_says_nothing_is_told_when_its_time_is_up() {
        let (stream, _silent) = UnixStream::pair().unwrap();
        let (shell, mut queue) = Shell::new();
        let mut terminal = Terminal::new(stream);
        let asked = shell.capture(Line::default(), 0);
        let told = tokio::select! {
            over = terminal.serve(&mut queue) => panic!("{over:?}"),
            told = asked => told.unwrap_err(),
        };
        let ShellError::Stuck { since, .. } = told else {
            panic!("{told}")
        };
        assert_eq!(since.as_secs(), BOOTS.as_secs());
    }
}
