{
  description = "attest, a test driver for whole systems";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixpkgs-unstable";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      system = "x86_64-linux";
      pkgs = nixpkgs.legacyPackages.${system};

      # The package is attest's own, of the nixpkgs that it is made with: it refers to nothing, so that whoever has an
      # older nixpkgs, or a changed one, has nothing twice.
      packageFor =
        { stdenv, ... }:
        if stdenv.hostPlatform.system == system then
          self.packages.${system}.attest
        else
          throw "attest: it runs on ${system}, and not on ${stdenv.hostPlatform.system}";

      attest = import ./nix { inherit lib packageFor; };
    in
    {
      packages.${system} = {
        attest = pkgs.callPackage ./nix/package.nix { };
        default = self.packages.${system}.attest;
      };

      apps.${system} = {
        attest = {
          type = "app";
          program = "${self.packages.${system}.attest}/bin/attest";
          meta.description = "Test whole systems: boot labs of machines, drive them, account for every second";
        };
        default = self.apps.${system}.attest;
      };

      overlays.default = attest.overlay;

      # `mkTest`, as `runTest` of NixOS; `forPkgs pkgs`, the same where no module sets `hostPkgs`.
      inherit (attest) lib;

      nixosModules = attest.nixosModules // {
        default = self.nixosModules.guest;
      };

      flakeModules.default = attest.flakeModule;
      flakeModule = self.flakeModules.default;

      templates = import ./nix/templates;

      checks.${system} = import ./nix/checks.nix {
        inherit lib pkgs;
        inherit (self.packages.${system}) attest;
        inherit (attest.lib.forPkgs pkgs) mkTest;
        pkgsWithOverlay = pkgs.extend self.overlays.default;
      };
    };
}
