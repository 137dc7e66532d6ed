# The packages of the stub: `import nixpkgs { system; overlays; config; }`. With `config.older`, tests call
# their driver as they did until 2026.
{
  system ? if builtins.isString localSystem then localSystem else localSystem.system,
  localSystem ? builtins.currentSystem,
  overlays ? [ ],
  config ? { },
  ...
}:
let
  lib = import ./lib;
  base =
    final:
    {
      _type = "pkgs";
      inherit
        config
        lib
        overlays
        system
        ;
      path = ./.;
      pkgs = final;
      callPackage = lib.callPackageWith final;
      callPackages = lib.callPackagesWith final;
      newScope = extra: lib.callPackageWith (final // extra);
      inherit (lib) makeOverridable;
      extend = overlay: with' (overlays ++ [ overlay ]);
      appendOverlays = more: with' (overlays ++ more);
    }
    // import ./pkgs/builders.nix {
      inherit lib system;
      pkgs = final;
    }
    // removeAttrs (import ./pkgs/programs.nix {
      inherit lib;
      pkgs = final;
    }) (lib.optional (config.older or false) "nixos-test-driver")
    // import ./pkgs/linux.nix {
      inherit lib;
      pkgs = final;
    };
  with' =
    overlays:
    import ./. {
      inherit config overlays system;
    };
  pkgs = lib.fix (lib.extends (lib.composeManyExtensions overlays) base);
in
pkgs
