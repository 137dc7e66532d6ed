//! What VMMs with an API on a socket share: the API's client, the agent's socket, and the place where they find their
//! files by short names.

pub(crate) mod agent;
pub(crate) mod alive;
pub(crate) mod api;
pub(crate) mod control;
#[cfg(test)]
pub(crate) mod example;
pub(crate) mod given;
pub(crate) mod launch;
pub(crate) mod place;
pub(crate) mod program;
pub(crate) mod rate;
pub(crate) mod serial;

pub use agent::AgentListener;
pub use api::ApiError;
pub use program::Version;
