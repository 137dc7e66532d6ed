# Packages that are given and stay as they are.
{ config, lib, ... }:
let
  given = lib.mkOption {
    type = lib.types.raw;
    readOnly = true;
  };
in
{
  disabledModules = [ ../nixpkgs.nix ];
  options.nixpkgs = {
    pkgs = lib.mkOption { type = lib.types.pkgs; };
    config = given;
    overlays = given;
    hostPlatform = given;
  };
  config = {
    _module.args.pkgs = lib.mkForce config.nixpkgs.pkgs;
    nixpkgs = {
      inherit (config.nixpkgs.pkgs) config;
      overlays = config.nixpkgs.pkgs.overlays;
      hostPlatform = config.nixpkgs.pkgs.stdenv.hostPlatform;
    };
  };
}
