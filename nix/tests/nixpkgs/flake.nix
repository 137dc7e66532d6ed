{
  description = "A stub of nixpkgs, just large enough for the tests of attest";

  outputs =
    _:
    let
      lib = import ./lib // {
        nixosSystem =
          arguments:
          import ./nixos/lib/eval-config.nix (
            {
              inherit lib;
              system = null;
            }
            // arguments
          );
        nixos = import ./nixos/lib { inherit lib; };
      };
      forAllSystems = lib.genAttrs lib.systems.flakeExposed;
    in
    {
      inherit lib;
      legacyPackages = forAllSystems (system: import ./. { inherit system; });
      nixosModules.notDetected = { };
    };
}
