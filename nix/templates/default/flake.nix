{
  description = "Tests with attest";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
    # Where you have attest from.
    attest.url = "github:OWNER/attest";
  };

  outputs =
    { nixpkgs, attest, ... }:
    let
      system = "x86_64-linux";
      inherit (attest.lib.forPkgs nixpkgs.legacyPackages.${system}) mkTest;
    in
    {
      checks.${system}.web = mkTest ./web.nix;
    };
}
