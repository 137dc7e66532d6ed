//! What the strict fakes of VMMs share: programs that are tasks of the test, the HTTP server of both, hybrid vsock, and
//! a guest. A fake accepts and rejects what the real VMM does; each of its behaviours names the fact that it models.

pub(crate) mod board;
pub(crate) mod fate;
pub(crate) mod guest;
pub(crate) mod host;
pub(crate) mod http;
pub(crate) mod program;
pub(crate) mod raw;
pub(crate) mod session;
pub(crate) mod vsock;
