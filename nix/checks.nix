# What `nix flake check` builds: the package's closure, and tests that boot.
{
  lib,
  pkgs,
  # With attest's overlay.
  pkgsWithOverlay,
  attest,
  mkTest,
}:
{
  closure = import ./closure-check.nix {
    inherit lib;
    inherit (pkgs) runCommand;
    package = attest;
  };

  two-machines = mkTest ./tests/two-machines.nix;
  snapshots = mkTest ./tests/snapshots.nix;
  independent = mkTest ./tests/independent.nix;

  # A test of NixOS that knows nothing of attest, on attest.
  overlay = pkgsWithOverlay.testers.runNixOSTest ./tests/nixos.nix;
}
