{
  system,
  pkgs ? import ../.. { inherit system; },
  extraConfigurations ? [ ],
  ...
}:
let
  nixos = import ./. { inherit (pkgs) lib; };
  withHost = module: {
    imports = [ module ];
    hostPkgs = pkgs;
  };
in
rec {
  inherit pkgs;
  evalTest = module: nixos.evalTest (withHost module);
  runTest = module: nixos.runTest (withHost module);
  makeTest =
    test:
    let
      inherit
        (evalTest {
          imports = [
            {
              _file = "makeTest parameters";
              config = test;
            }
          ];
          defaults.imports = extraConfigurations;
        })
        config
        ;
    in
    config.test // config;
  simpleTest = test: (makeTest test).test;
}
