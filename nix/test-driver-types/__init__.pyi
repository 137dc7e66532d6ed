"""The names of the NixOS test driver, for linters of scripts: what runs them is attest."""
