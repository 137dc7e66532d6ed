# All of it but the package, for flakes and for those who have none:
#   import attest/nix { inherit (pkgs) lib; packageFor = pkgs: pkgs.callPackage attest/nix/package.nix { }; }
{
  lib,
  # Gives attest's package for a nixpkgs.
  packageFor,
}:
let
  tests = import ./lib { inherit lib packageFor; };
in
{
  lib = tests;
  overlay = import ./overlay.nix { inherit packageFor; };
  flakeModule = import ./flake-module.nix { attest = tests; };
  # Not the paths themselves, which older `nix flake check` takes for no modules.
  nixosModules = {
    guest.imports = [ ./modules/guest.nix ];
    test.imports = [ ./modules/test.nix ];
  };
}
