//! The screen and the keyboard of machines that QEMU runs.

use std::path::Path;
use std::time::{Duration, Instant};

use attest_screen::{Png, ScreenError, chord, key_of, png_of_ppm};
use serde_json::json;

use crate::error::{Error, Result};
use crate::machine::Machine;

/// How long QEMU holds a key that is pressed by its name, and the pause after it: its default.
const HELD: Duration = Duration::from_millis(10);
/// The same for keys of typed text.
const TYPED: Duration = Duration::from_millis(2);
/// How long a guest may take to read a key, under TCG on a busy host.
const TAKEN: Duration = Duration::from_secs(2);
/// Between two looks at the keyboard's controller.
const AGAIN: Duration = Duration::from_millis(2);
/// Reads the status register of a PC's keyboard controller (i8042), which changes nothing.
const STATUS: &str = "i /1xb 0x64";
/// Its bit for a byte that the guest has not read yet.
const OUTPUT_FULL: u8 = 1;
/// What is read where there is no device.
const NOTHING: u8 = 0xff;

impl Machine {
    /// What is on its screen, as QEMU writes it: a PPM file.
    ///
    /// # Errors
    /// The machine is off, it has no screen, or no QEMU.
    pub async fn screen_ppm(&self) -> Result<Vec<u8>> {
        let directory = tempfile::tempdir().map_err(Error::io("a temporary directory"))?;
        let file = directory.path().join("screen.ppm");
        self.qmp("screendump", json!({ "filename": file })).await?;
        tokio::fs::read(&file)
            .await
            .map_err(Error::io(format!("{}", file.display())))
    }

    /// What is on its screen, as PNG.
    ///
    /// # Errors
    /// As of [`Machine::screen_ppm`].
    pub async fn screenshot(&self) -> Result<Png> {
        let ppm = self.screen_ppm().await?;
        png_of_ppm(&ppm).map_err(|source| self.unreadable(source))
    }

    /// As [`Machine::screenshot`], written to a file.
    ///
    /// # Errors
    /// As there, and the file cannot be written.
    pub async fn save_screenshot(&self, path: &Path) -> Result<Png> {
        let picture = self.screenshot().await?;
        let written = tokio::fs::write(path, &picture.bytes).await;
        written.map_err(Error::io(format!("{}", path.display())))?;
        Ok(picture)
    }

    /// The text on its screen, as tesseract reads it; with `variants`, as read in several ways, of
    /// which one may see what others miss.
    ///
    /// # Errors
    /// As of [`Machine::screen_ppm`], and there is no tesseract.
    pub async fn screen_text(&self, variants: bool) -> Result<Vec<String>> {
        let ppm = self.screen_ppm().await?;
        let text = attest_screen::text(&ppm, variants).await;
        text.map_err(|source| self.unreadable(source))
    }

    /// Press keys, one after the other: QEMU's names (`ret`, `shift-a`, `ctrl-alt-delete`, scan codes as
    /// `0x0c`), or a character that is typed by one. After each, `delay`, and as long as the guest
    /// takes.
    ///
    /// # Errors
    /// There is no such key, the machine is off, or no QEMU.
    pub async fn send_keys<I>(&self, keys: I, delay: Duration) -> Result<()>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let name = |key: I::Item| {
            let key = key.as_ref();
            chord(key).ok_or_else(|| self.no_key(key))
        };
        let keys = keys.into_iter().map(name).collect::<Result<Vec<_>>>()?;
        self.press(&keys, None, delay).await
    }

    /// Type text on a US keyboard. After each key, `delay`, and as long as the guest takes.
    ///
    /// # Errors
    /// As of [`Machine::send_keys`]; nothing is typed of text with a character that has no key.
    pub async fn send_chars(&self, text: &str, delay: Duration) -> Result<()> {
        let keys = text
            .chars()
            .map(|character| key_of(character).ok_or_else(|| self.no_key(&character.to_string())));
        let keys = keys.collect::<Result<Vec<_>>>()?;
        self.press(&keys, Some(TYPED), delay).await
    }

    async fn press(&self, keys: &[String], hold: Option<Duration>, delay: Duration) -> Result<()> {
        let argument = hold.map_or_else(String::new, |time| format!(" {}", time.as_millis()));
        let mut has_controller = true;
        for key in keys {
            let said = self.monitor(&format!("sendkey {key}{argument}")).await?;
            // It says nothing of what went well.
            if said.to_ascii_lowercase().contains("invalid parameter") {
                return Err(self.no_key(key));
            }
            // Each key of a chord goes down and up, with a pause after each. QEMU drops what comes
            // while it has too much to do.
            let count = u32::try_from(2 * key.split('-').count()).unwrap_or(u32::MAX);
            tokio::time::sleep(delay.max(hold.unwrap_or(HELD).saturating_mul(count))).await;
            has_controller = has_controller && self.keys_are_taken().await?;
        }
        Ok(())
    }

    /// Wait until the guest has taken what the keyboard's controller has for it: the controller holds
    /// only a few keys, and drops more. False when there is nothing that could be asked again: the
    /// keyboard is on another bus, or its guest does not read it.
    async fn keys_are_taken(&self) -> Result<bool> {
        let deadline = Instant::now() + TAKEN;
        loop {
            let said = self.monitor(STATUS).await?;
            match status(&said) {
                None | Some(NOTHING) => return Ok(false),
                Some(status) if status & OUTPUT_FULL == 0 => return Ok(true),
                Some(_) if Instant::now() > deadline => return Ok(false),
                // The controller tells nobody but the guest.
                Some(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    fn no_key(&self, key: &str) -> Error {
        Error::Key {
            machine: self.name().to_owned(),
            key: key.to_owned(),
        }
    }

    fn unreadable(&self, source: ScreenError) -> Error {
        Error::Screen {
            machine: self.name().to_owned(),
            source,
        }
    }
}

/// The byte in QEMU's answer to [`STATUS`].
fn status(said: &str) -> Option<u8> {
    let (_, value) = said.rsplit_once("= 0x")?;
    let end = value.find(|character: char| !character.is_ascii_hexdigit());
    u8::from_str_radix(&value[..end.unwrap_or(value.len())], 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_is_read_from_what_people_are_shown() {
        let said = "i /1xb 0x64\r\nportb[0x0064] = 0x1c\r\n(qemu) ";
        assert_eq!(status(said), Some(0x1c));
        assert_eq!(status("portb[0x0064] = 0xff"), Some(NOTHING));
        assert_eq!(status("unknown command: 'i'"), None);
        assert_eq!(status("= 0x"), None);
    }
}
