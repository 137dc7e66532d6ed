//! Text of a screen, as tesseract reads it.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::error::ScreenError;
use crate::ppm::Ppm;
use crate::prepare::Grey;

/// The program.
const TESSERACT: &str = "tesseract";
/// How tesseract takes a page apart (its `--psm`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// "Sparse text": as much as possible, in no particular order. A screen is no page.
    Sparse,
    /// "A single uniform block of text": text consoles are. Of one, nineteen of twenty words are read
    /// this way, and four of five as sparse text.
    Block,
}

/// How tesseract reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engine {
    /// As it is installed: its neural network.
    Usual,
    /// By the forms of letters. Few distributions install what this needs.
    Old,
}

/// The text on a screen, of which QEMU's `screendump` made this picture. With `variants`, as read
/// from several pictures of it, in several ways and by all engines that tesseract has: what one does
/// not read, another may. Dropping the future ends all of tesseract.
///
/// # Errors
/// It is no PPM file, or there is no tesseract that works.
pub async fn text(ppm: &[u8], variants: bool) -> Result<Vec<String>, ScreenError> {
    let raw = Grey::of(&Ppm::parse(ppm)?);
    if !variants {
        let light = prepared(raw, Grey::prepared).await;
        return Ok(vec![read(light, Layout::Sparse, Engine::Usual).await?]);
    }
    let light = prepared(raw.clone(), Grey::prepared).await;
    let dark = prepared(raw.clone(), |raw| raw.prepared().posterised().negated()).await;
    let block = prepared(raw.clone(), Grey::prepared_as_block).await;
    let raw = raw.file();
    let (one, two, three, four, five, six) = tokio::join!(
        read(light.clone(), Layout::Sparse, Engine::Usual),
        read(raw.clone(), Layout::Sparse, Engine::Usual),
        read(dark, Layout::Sparse, Engine::Usual),
        read(block, Layout::Block, Engine::Usual),
        read(light, Layout::Sparse, Engine::Old),
        read(raw, Layout::Sparse, Engine::Old),
    );
    let mut texts = vec![one?, two?, three?, four?];
    // An engine that is not installed fails.
    texts.extend([five, six].into_iter().flatten());
    Ok(texts)
}

/// A file of the picture. The largest screens take seconds of computing, which is not for the
/// runtime's threads.
async fn prepared(raw: Grey, prepare: impl FnOnce(&Grey) -> Grey + Send + 'static) -> Vec<u8> {
    let preparing = tokio::task::spawn_blocking(move || prepare(&raw).file());
    preparing.await.expect("pictures do not panic")
}

async fn read(picture: Vec<u8>, layout: Layout, engine: Engine) -> Result<String, ScreenError> {
    let mut command = Command::new(TESSERACT);
    let layout = match layout {
        Layout::Sparse => "11",
        Layout::Block => "6",
    };
    command.args(["stdin", "stdout", "--psm", layout]);
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
        let _ = stdin.write_all(&picture).await;
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
