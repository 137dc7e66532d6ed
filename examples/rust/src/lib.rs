//! An example: the tests of a lab, written in Rust. They are in `tests/mail.rs`, and the lab is in
//! `attest.toml`. Run them with `cargo test -p example-rust`, or with `attest run examples/rust`.
