{
  description = "Tests with attest and flake-parts";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
    flake-parts.url = "github:hercules-ci/flake-parts";
    # Where you have attest from.
    attest.url = "github:OWNER/attest";
  };

  outputs =
    inputs:
    inputs.flake-parts.lib.mkFlake { inherit inputs; } {
      imports = [ inputs.attest.flakeModules.default ];
      systems = [ "x86_64-linux" ];

      perSystem.attest.tests.boot = ./boot.nix;
    };
}
