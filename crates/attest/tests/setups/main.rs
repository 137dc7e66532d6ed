//! Set-ups that are Rust functions, by tests in processes of their own.

mod inside;
mod outside;
