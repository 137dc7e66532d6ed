//! What can go wrong.

use std::io;

/// Which packages have tesseract.
pub const PACKAGES: &str = "install tesseract-ocr (Debian, Ubuntu), tesseract (Fedora, Arch, Nix)";

/// What can go wrong with a screen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScreenError {
    /// The picture is no PPM file as QEMU writes them.
    #[error("the screen's picture is no PPM file of 8 bits: {0}")]
    Ppm(&'static str),
    /// It cannot be written as PNG.
    #[error("the screen's picture cannot be written as PNG")]
    Png(#[from] png::EncodingError),
    /// There is no tesseract.
    #[error(
        "reading a screen needs the program `tesseract`, which is not in PATH: {}",
        PACKAGES
    )]
    NoTesseract,
    /// tesseract cannot be run.
    #[error("`tesseract` cannot be run")]
    Run(#[source] io::Error),
    /// tesseract failed.
    #[error("`tesseract` ended with {status}: {words}")]
    Tesseract {
        /// How it ended.
        status: std::process::ExitStatus,
        /// The last line that it wrote.
        words: String,
    },
}
