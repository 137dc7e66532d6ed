//! PID 1 until a system's own init takes over: from the initramfs of a virtual machine, or in a
//! container.
//!
//! The agent serves as a child from here on, so that the host sets the machine up, and puts files
//! into it, before the first program of the system runs. Then PID 1 becomes the system's init.

pub(crate) mod device;
mod handover;
mod kernel;
mod options;
mod root;
mod switch;

use std::os::fd::OwnedFd;

pub use handover::{BESIDE, Handover, MACHINES, Waiting};
pub use options::Options;

/// From the initramfs: mount the root that the kernel's command line names, and hand over to its
/// init. Comes back only with why not, as one line for the console.
pub fn from_initramfs(options: &Options) -> String {
    if let Err(error) = root::mount(options).and_then(|root| switch::to(&root)) {
        return error;
    }
    kernel::prepare();
    Handover {
        stream: None,
        init: options.init.clone(),
    }
    .run()
}

/// In a container, whose root is there already. Comes back only with why not.
pub fn in_container(stream: OwnedFd, init: Option<String>) -> String {
    Handover {
        stream: Some(stream),
        init,
    }
    .run()
}
