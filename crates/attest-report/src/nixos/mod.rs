//! The outputs of the NixOS test driver, for whoever reads those: its log on the terminal, its
//! JUnit report, its XML log.

mod junit;
mod parts;
mod terminal;
mod xml;

#[cfg(test)]
mod tests;

pub use self::junit::NixosJunit;
pub use self::terminal::NixosTerminal;
pub use self::xml::NixosXml;
