//! Text of a screen, as tesseract reads it.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::error::ScreenError;
use crate::ppm::Ppm;
use crate::prepare::Grey;

/// The program.
const TESSERACT: &str = "tesseract";
/// "Sparse text": as much as possible, in no particular order. A screen is no page.
const SPARSE: &str = "11";

/// How tesseract reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engine {
    /// As it is installed: its neural network.
    Usual,
    /// By the forms of letters. Few distributions install what this needs.
    Old,
}

/// The text on a screen, of which QEMU's `screendump` made this picture. With `variants`, as read
/// from several pictures of it and by all engines that tesseract has: what one does not read,
/// another may. Dropping the future ends all of tesseract.
///
/// # Errors
/// It is no PPM file, or there is no tesseract that works.
pub async fn text(ppm: &[u8], variants: bool) -> Result<Vec<String>, ScreenError> {
    let raw = Grey::of(&Ppm::parse(ppm)?);
    // Seconds of computing for the largest screens are not for the runtime's threads.
    let prepared = tokio::task::spawn_blocking(move || {
        let prepared = raw.prepared();
        let is_dark = prepared.is_dark();
        let (light, dark) = if is_dark {
            (prepared.clone().negated(), prepared)
        } else {
            (prepared.clone(), prepared.negated())
        };
        (light.file(), dark.file(), raw.file())
    });
    let (light, dark, raw) = prepared.await.expect("pictures do not panic");
    if !variants {
        return Ok(vec![read(&light, Engine::Usual).await?]);
    }
    let (one, two, three, four, five, six) = tokio::join!(
        read(&light, Engine::Usual),
        read(&raw, Engine::Usual),
        read(&dark, Engine::Usual),
        read(&light, Engine::Old),
        read(&raw, Engine::Old),
        read(&dark, Engine::Old),
    );
    let mut texts = vec![one?, two?, three?];
    // An engine that is not installed fails.
    texts.extend([four, five, six].into_iter().flatten());
    Ok(texts)
}

async fn read(picture: &[u8], engine: Engine) -> Result<String, ScreenError> {
    let mut command = Command::new(TESSERACT);
    command.args(["stdin", "stdout", "--psm", SPARSE]);
    if engine == Engine::Old {
        command.args(["--oem", "0"]);
    }
    command
        .args(["-c", "debug_file=/dev/null"])
        // Several run at once, and its threads wait for each other by spinning.
        .env("OMP_THREAD_LIMIT", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut tesseract = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => ScreenError::NoTesseract,
        _ => ScreenError::Run(error),
    })?;
    let mut stdin = tesseract.stdin.take().expect("piped");
    let feeding = async move {
        // One that fails before it has read all says why itself.
        let _ = stdin.write_all(picture).await;
    };
    let ((), output) = tokio::join!(feeding, tesseract.wait_with_output());
    let output = output.map_err(ScreenError::Run)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let last = words.trim_end().lines().next_back().unwrap_or("nothing");
    Err(ScreenError::Tesseract {
        status: output.status,
        words: last.to_owned(),
    })
}
