//! The screen and the keyboard of machines that QEMU runs.

use std::path::Path;
use std::time::Duration;

use attest_screen::{Png, ScreenError, chord, key_of, png_of_ppm};
use serde_json::json;

use crate::error::{Error, Result};
use crate::machine::Machine;

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
    /// `0x0c`), or a character that is typed by one. After each, `delay`.
    ///
    /// # Errors
    /// There is no such key, the machine is off, or no QEMU.
    pub async fn send_keys<I>(&self, keys: I, delay: Duration) -> Result<()>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        for key in keys {
            let name = chord(key.as_ref()).ok_or_else(|| self.no_key(key.as_ref()))?;
            self.press(&name, delay).await?;
        }
        Ok(())
    }

    /// Type text on a US keyboard. After each key, `delay`.
    ///
    /// # Errors
    /// As of [`Machine::send_keys`]; nothing is typed of text with a character that has no key.
    pub async fn send_chars(&self, text: &str, delay: Duration) -> Result<()> {
        let keys = text
            .chars()
            .map(|character| key_of(character).ok_or_else(|| self.no_key(&character.to_string())));
        let keys = keys.collect::<Result<Vec<_>>>()?;
        for key in keys {
            self.press(&key, delay).await?;
        }
        Ok(())
    }

    async fn press(&self, key: &str, delay: Duration) -> Result<()> {
        let said = self.monitor(&format!("sendkey {key}")).await?;
        // It says nothing of what went well.
        if said.to_ascii_lowercase().contains("invalid parameter") {
            return Err(self.no_key(key));
        }
        tokio::time::sleep(delay).await;
        Ok(())
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
