//! What QEMU knows of a screen and of a keyboard, in the forms that people and tests use: pictures as
//! PNG, text as tesseract reads it, and characters as keys.

mod error;
mod keys;
mod ocr;
mod picture;
mod ppm;
mod prepare;

pub use error::{PACKAGES, ScreenError};
pub use keys::{chord, key_of};
pub use ocr::text;
pub use picture::{Png, png_of_ppm};
