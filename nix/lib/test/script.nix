# What is tested: the script that NixOS's tests have, and tests and set-ups of their own.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;

  script = types.oneOf [
    types.path
    types.str
    (types.functionTo types.str)
  ];

  steps = types.listOf (types.attrsOf types.raw);

  body = what: {
    script = mkOption {
      type = types.nullOr script;
      default = null;
      description = ''
        A Python script that is ${what}: its text, a function of `{ nodes, … }` that gives it, or a file. Each
        machine is a variable.
      '';
      example = "server.wait_for_unit(\"nginx\")";
    };

    steps = mkOption {
      type = types.nullOr steps;
      default = null;
      description = "In place of a script, steps as in manifests: `attest schema` lists their keys.";
      example = lib.literalExpression ''[ { on = "server"; wait.unit = "nginx"; } ]'';
    };

    timeout = mkOption {
      type = types.nullOr types.ints.positive;
      default = null;
      description = ''
        How long it may take, in seconds. Without it, as long as the test as a whole: `globalTimeout`.
      '';
    };
  };

  test = {
    options = body "the test" // {
      setup = mkOption {
        type = types.nullOr types.str;
        default = if config.setup == null then null else "setup";
        defaultText = lib.literalExpression ''if there is `setup`, "setup"'';
        description = "The set-up of `setups` that it begins with. `null` is the lab as it booted.";
      };

      machines = mkOption {
        type = types.nullOr (types.listOf types.str);
        default = null;
        description = ''
          The machines that it needs. Only where groups are `independent` does a script have to say; steps tell
          by themselves.
        '';
        example = [ "server" ];
      };
    };
  };

  setup = {
    options = body "the set-up" // {
      after = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = "The set-up that is done before.";
      };
    };
  };
in
{
  options = {
    testScript = mkOption {
      type = types.nullOr (types.either types.str (types.functionTo types.str));
      default = null;
      description = ''
        A Python script that is a test, as in NixOS: its text, or a function of `{ nodes, … }` that gives it. In
        results it is called `testScript`.
      '';
      example = "machine.wait_for_unit(\"multi-user.target\")";
    };

    tests = mkOption {
      type = types.attrsOf (types.submodule test);
      default = { };
      description = "Tests, each with a verdict of its own, on a lab of its own.";
      example = lib.literalExpression ''{ page.script = "client.succeed(\"curl server\")"; }'';
    };

    setup = mkOption {
      type = types.nullOr (types.either script steps);
      default = null;
      description = ''
        What is done once before all tests that name no set-up of their own: a script, or steps.
      '';
    };

    setups = mkOption {
      type = types.attrsOf (types.submodule setup);
      default = { };
      description = "What brings the lab to the states that tests begin with.";
      example = lib.literalExpression ''{ loaded.script = "server.succeed(\"load-the-data\")"; }'';
    };

    skipLint = mkOption {
      type = types.bool;
      default = false;
      description = ''
        As in NixOS. attest checks the syntax of scripts before it boots, and has no other linter to skip.
      '';
    };

    skipTypeCheck = mkOption {
      type = types.bool;
      default = false;
      description = "As in NixOS. attest does not check the types of scripts.";
    };
  };

  config = {
    tests = lib.mkIf (config.testScript != null) {
      testScript.script = config.testScript;
    };

    setups = lib.mkIf (config.setup != null) {
      setup =
        if builtins.isList config.setup then { steps = config.setup; } else { script = config.setup; };
    };
  };
}
