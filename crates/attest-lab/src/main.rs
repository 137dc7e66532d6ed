//! The lab process. attest starts it from memory; it is of no use by hand.

fn main() -> std::process::ExitCode {
    attest_lab::inside::main()
}
