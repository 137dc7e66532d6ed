{
  config,
  extendModules,
  lib,
  ...
}:
let
  inherit (lib) mkOption types;
  child = extendModules { modules = [ { specialisation = lib.mkOverride 0 { }; } ]; };
in
{
  options.specialisation = mkOption {
    default = { };
    type = types.attrsOf (
      types.submodule {
        options = {
          inheritParentConfig = mkOption {
            type = types.bool;
            default = true;
          };
          configuration = mkOption {
            inherit (child) type;
            default = { };
          };
        };
      }
    );
  };
  config.system.systemBuilderCommands = lib.concatStrings (
    lib.mapAttrsToList (name: child: ''
      mkdir -p $out/specialisation
      ln -s ${child.configuration.system.build.toplevel} $out/specialisation/${name}
    '') config.specialisation
  );
}
