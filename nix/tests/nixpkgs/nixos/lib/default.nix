# Tests of systems: `evalTest` and `runTest`.
{ lib, ... }:
let
  evalTest =
    module:
    lib.evalModules {
      modules = [
        module
        ./testing
      ];
      class = "nixosTest";
    };
in
{
  inherit evalTest;
  runTest =
    module:
    (evalTest (
      { config, ... }: {
        imports = [ module ];
        result = config.test;
      }
    )).config.result;
}
