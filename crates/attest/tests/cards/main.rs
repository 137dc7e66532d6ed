//! Networks of QEMU's machines on hosts without TAPs, by tests in processes of their own.

mod inside;
mod outside;
