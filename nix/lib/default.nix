# What tests are made with.
{
  lib,
  # Gives attest's package for a nixpkgs.
  packageFor,
}:
let
  modules = [
    ./test/driver.nix
    ./test/host.nix
    ./test/meta.nix
    ./test/nodes.nix
    ./test/programs.nix
    ./test/result.nix
    ./test/run.nix
    ./test/script.nix
  ];

  # The whole evaluation, with `config` and `options`: as `evalTest` of NixOS.
  evalTest =
    module:
    lib.evalModules {
      class = "nixosTest";
      specialArgs = { inherit packageFor; };
      modules = modules ++ [ module ];
    };

  # The test, of a module that sets `hostPkgs`: as `runTest` of NixOS.
  mkTest = module: (evalTest module).config.result;
in
{
  inherit evalTest mkTest;
  runTest = mkTest;
  testModules = modules;

  # The same for modules that do not set `hostPkgs`: as `pkgs.testers.runNixOSTest`.
  forPkgs =
    pkgs:
    let
      own = import ./. {
        inherit (pkgs) lib;
        inherit packageFor;
      };
      withPkgs = module: {
        _file = "attest.lib.forPkgs";
        imports = [ module ];
        hostPkgs = lib.mkDefault pkgs;
        node.pkgs = lib.mkDefault pkgs;
      };
      mkTest = module: own.mkTest (withPkgs module);
    in
    {
      inherit mkTest;
      runTest = mkTest;
      evalTest = module: own.evalTest (withPkgs module);
    };
}
