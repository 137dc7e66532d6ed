# What tests are made with, against the stub of nixpkgs.
{ nixpkgs }:
let
  nix = import ../. {
    inherit (pkgs) lib;
    packageFor = pkgs: pkgs.callPackage ../package.nix { };
  };
  pkgs = import nixpkgs {
    system = "x86_64-linux";
    overlays = [ nix.overlay ];
  };
in
{
  inherit pkgs;
  inherit (pkgs) lib;
  inherit (nix) overlay;
  inherit (nix.lib.forPkgs pkgs) mkTest;
}
