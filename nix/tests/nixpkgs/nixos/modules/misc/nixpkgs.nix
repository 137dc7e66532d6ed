{
  config,
  lib,
  options,
  ...
}:
let
  cfg = config.nixpkgs;
  system = if builtins.isString cfg.hostPlatform then cfg.hostPlatform else cfg.hostPlatform.system;
in
{
  options.nixpkgs = {
    pkgs = lib.mkOption { type = lib.types.pkgs; };
    overlays = lib.mkOption {
      type = lib.types.listOf lib.types.raw;
      default = [ ];
    };
    config = lib.mkOption {
      type = lib.types.attrs;
      default = { };
    };
    system = lib.mkOption {
      type = lib.types.str;
      default = "x86_64-linux";
    };
    hostPlatform = lib.mkOption {
      type = lib.types.either lib.types.str lib.types.attrs;
      default = cfg.system;
    };
  };
  config._module.args.pkgs = lib.mkForce (
    if options.nixpkgs.pkgs.isDefined then
      cfg.pkgs.appendOverlays cfg.overlays
    else
      import ../../.. {
        inherit system;
        inherit (cfg) config overlays;
      }
  );
}
