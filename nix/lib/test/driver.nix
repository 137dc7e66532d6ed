# The test as a program, for whoever sits before it: the manifest, and all that it needs on PATH.
{
  config,
  lib,
  hostPkgs,
  extendModules,
  ...
}:
let
  inherit (lib) mkOption types;

  program =
    command:
    hostPkgs.runCommand "attest-driver-${config.name}"
      {
        meta = removeAttrs config.meta [ "timeout" ] // {
          mainProgram = "attest-driver";
        };
      }
      ''
        mkdir -p $out/bin
        cat > $out/bin/attest-driver << 'EOF'
        #!${hostPkgs.runtimeShell}
        # attest with the manifest of this test: run [FILTER], list, plan, shell [NODE], exec NODE -- COMMAND.
        # Without a command: ${command}.
        export PATH="${lib.makeBinPath config.programs}''${PATH:+:$PATH}"
        command="''${1-${command}}"
        if [ $# -gt 0 ]; then shift; fi
        case "$command" in
          run) set -- run ${config.manifest} ${lib.escapeShellArgs config.extraDriverArgs} "$@" ;;
          list | plan) set -- "$command" ${config.manifest} "$@" ;;
          shell | exec) set -- "$command" --manifest ${config.manifest} "$@" ;;
          *) set -- "$command" "$@" ;;
        esac
        exec ${config.package}/bin/attest "$@"
        EOF
        chmod +x $out/bin/attest-driver
        # As tests of NixOS have it.
        ln -s attest-driver $out/bin/nixos-test-driver
      '';
in
{
  options = {
    driver = mkOption {
      type = types.raw;
      description = ''
        The package with `bin/attest-driver`, which runs the test outside of Nix, and opens shells in its nodes.
      '';
      defaultText = lib.literalExpression "made of the test";
    };

    interactive = mkOption {
      type = types.deferredModule;
      default = { };
      description = "Options of the test that only `driverInteractive` has.";
      example = lib.literalExpression "{ nodes.server.services.nginx.logError = \"stderr debug\"; }";
    };

    extraDriverArgs = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Arguments of `attest run` that the driver adds.";
    };

    enableOCR = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether text on screens can be read. Machines that attest boots have none: it is refused.
      '';
    };

    extraPythonPackages = mkOption {
      type = types.functionTo (types.listOf types.raw);
      default = _: [ ];
      defaultText = lib.literalExpression "ps: [ ]";
      description = "Python packages that scripts can import.";
      example = lib.literalExpression "ps: [ ps.numpy ]";
    };

    programs = mkOption {
      type = types.listOf types.raw;
      internal = true;
      description = "Packages that attest looks for on PATH.";
    };
  };

  config = {
    driver = program "run";

    passthru.driver = config.driver;
    passthru.driverInteractive =
      (extendModules {
        modules = [
          config.interactive
          { driver = lib.mkForce (program "shell"); }
        ];
      }).config.driver;
  };
}
