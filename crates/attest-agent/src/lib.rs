//! attest's program inside the guest: it says hello to the host, does what it is asked, is PID 1
//! of the built-in guest, and lets other systems boot.

mod arguments;
mod async_fd;
mod copy;
mod device_events;
pub mod enter;
mod exec;
mod failure;
mod forward;
mod inherited;
pub mod init;
mod mailbox;
mod mounts;
mod pipes;
mod reaper;
mod role;
mod session;
mod setup;
mod shells;
mod simple;
mod spawn;
pub mod stage;
mod streams;
mod system;
mod users;
mod wait;

pub use arguments::Arguments;
pub use inherited::Inherited;
pub use role::Role;
pub use session::{Agent, serve};
pub use spawn::DEFAULT_PATH;
pub use streams::{Ended, Fixed, Peer, Redial, Stream, Streams, Vsock};
