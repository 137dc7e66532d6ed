# attest in a nixpkgs, and in place of the driver of its NixOS tests, which then run as they are.
{
  # Gives attest's package for a nixpkgs.
  packageFor,
}:
final: prev:
let
  inherit (prev) lib;
  tests = (import ./lib { inherit lib packageFor; }).forPkgs final;

  # Until March 2026 tests call the driver from its place in nixpkgs, by the host's callPackage (23.11, 24.05) or by
  # that of its Python packages (24.11 to 25.11), and no attribute is its name. These two can be replaced.
  isDriver =
    file:
    builtins.any (end: lib.hasSuffix end (toString file)) [
      "/nixos/lib/test-driver"
      "/nixos/lib/test-driver/default.nix"
    ];
  hook =
    callPackage: file: arguments:
    if (builtins.isPath file || builtins.isString file) && isDriver file then
      final.nixos-test-driver.override arguments
    else
      callPackage file arguments;
  hooks = {
    callPackage = hook prev.callPackage;
    python3Packages = prev.python3Packages // {
      callPackage = hook prev.python3Packages.callPackage;
    };
  };
in
{
  attest = packageFor final // {
    inherit (tests) mkTest;
  };

  # Since then it is an attribute, which tests take from their `hostPkgs`.
  nixos-test-driver = final.callPackage ./driver.nix { };

  testers = prev.testers or { } // {
    runAttestTest = tests.runTest;
  };
}
// lib.optionalAttrs (!(prev ? nixos-test-driver)) hooks
