# What the tests build beside the checks of the flake: much of it is to fail.
#   nix build -f more.nix NAME
{
  nixpkgs ? ./nixpkgs,
}:
let
  inherit (import ./with-stub.nix { inherit nixpkgs; })
    pkgs
    lib
    overlay
    mkTest
    ;

  closure =
    text: arguments:
    import ../closure-check.nix (
      {
        inherit lib;
        inherit (pkgs) runCommand;
        package = pkgs.writeText "package" text;
      }
      // arguments
    );

  failing = {
    name = "failing";
    nodes.machine = { };
    tests = {
      good.steps = [
        {
          on = "machine";
          run = "true";
        }
      ];
      bad.script = ''
        machine.succeed("echo on the console > /dev/console")
        t.assertEqual(machine.succeed("echo found"), "expected\n")
      '';
    };
  };

  lab = {
    name = "lab";
    nodes.machine = { };
    testScript = ''machine.succeed("true")'';
  };
in
{
  # A test has failed: of three kinds, the one that says so, the one that tells of it, and what it keeps.
  failing = mkTest failing;
  failing-fails = mkTest (
    failing
    // {
      name = "failing-fails";
      failures = "fail";
    }
  );

  # Nobody can say whether it would have passed.
  no-vmm = mkTest (
    lab
    // {
      name = "no-vmm";
      qemu.package = pkgs.hello;
      infrastructureRetries = 1;
    }
  );

  # What the sandbox of a test has of its machine: an image, and not the paths of a system.
  handful = pkgs.closureInfo { rootPaths = [ (mkTest lab).manifest ]; };

  # In a nixpkgs in which the driver has no name yet.
  older =
    (import nixpkgs {
      system = "x86_64-linux";
      config.older = true;
      overlays = [ overlay ];
    }).testers.runNixOSTest
      ./nixos.nix;

  closure-small = closure "small" { };
  closure-grown = closure (lib.concatStrings (lib.genList (_: "much ") 500000)) { limit = 1; };
  closure-forbidden = closure "${pkgs.writeText "between" "${pkgs.python3}"}" { };
}
