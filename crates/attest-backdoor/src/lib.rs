//! The guest's end of attest's protocol for guests that have no agent, but a root shell on a
//! terminal: the backdoor of NixOS's test guests. It runs in the driver's process, so everything
//! above the protocol stays as it is.
//!
//! Through the shell alone there is one command at a time, its stderr is on the guest's console,
//! and waits are tries. Where the guest has a port for it, attest's agent is pushed in through the
//! shell, and then serves the host itself.

mod answer;
mod backdoor;
mod copy;
mod exec;
mod failure;
mod guest;
mod push;
mod quote;
mod script;
mod shell;
mod spool;
mod system;
mod wait;

pub use answer::{ANNOUNCEMENT, Answer, Part, Wrong};
pub use backdoor::{Backdoor, Happened, Log};
pub use push::PORT;
