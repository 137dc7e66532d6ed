//! The journal of a guest: the commands that print it, and a reader of what they print.
//!
//! The guest's own `journalctl` reads the files, for their format is its own business; what it
//! prints with `--output=export` is documented, stable, and safe for any bytes.
//!
//! ```
//! use attest_systemd::journal::Parser;
//!
//! let mut parser = Parser::new();
//! let printed = b"__CURSOR=c\n_SYSTEMD_UNIT=a.service\nPRIORITY=3\nMESSAGE=it broke\n\n";
//! let entries = parser.push(printed);
//! assert_eq!(entries[0].source, "a.service");
//! assert_eq!(entries[0].message, "it broke");
//! ```

mod command;
mod entry;
mod parser;
#[cfg(test)]
mod tests;

pub use command::{Since, follow, last, last_of_user};
pub use entry::Entry;
pub use parser::Parser;
