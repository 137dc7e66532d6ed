# What tests evaluate to, and what evaluation says of wrong ones; nothing is built.
#   nix-instantiate --eval --strict evaluation.nix --arg nixpkgs NIXPKGS -A values
# gives what differs, so `{ }`. Each of `wrong` is an error that has the texts of the same name in `names`.
{
  nixpkgs ? ./nixpkgs,
  # Another one than that of nixpkgs.
  lib ? import (nixpkgs + "/lib"),
}:
let
  pkgsOf =
    system:
    import nixpkgs {
      inherit system;
      overlays = [
        (_: _: { inherit lib; })
      ];
    };
  pkgs = pkgsOf "x86_64-linux";

  # Nothing is built: it need not be one.
  attest = derivation {
    name = "attest";
    system = "x86_64-linux";
    builder = "/bin/sh";
  };
  nix = import ../. {
    inherit lib;
    packageFor = _: attest;
  };
  inherit (nix.lib.forPkgs pkgs) mkTest evalTest;

  two = {
    name = "two";
    nodes = {
      client = { };
      server = { };
    };
    tests.ping.steps = [
      {
        on = "client";
        run = "ping -c 1 server";
      }
    ];
  };
  one = {
    name = "one";
    nodes.machine = { };
    testScript = "machine.start()";
  };
  plus = base: more: {
    imports = [
      base
      more
    ];
  };
  named = names: lib.genAttrs names (_: { });

  manifestOf = test: builtins.fromJSON (builtins.unsafeDiscardStringContext test.manifest.text);
  two' = mkTest two;
  machines = (manifestOf two').machines;
  argsOf = derivation: derivation.drvAttrs.args;
  has = part: list: builtins.elem part list;

  # Ones for what is asked of the derivation itself.
  environmentOf = derivation: derivation.drvAttrs;

  values = {
    is-a-derivation = {
      expr = lib.isDerivation two' && builtins.isString two'.drvPath;
      expected = true;
    };

    name = {
      expr = two'.name;
      expected = "vm-test-run-two";
    };

    addresses = {
      expr = map (card: card.address) (machines.client.networks ++ machines.server.networks);
      expected = [
        "192.168.1.1"
        "192.168.1.2"
      ];
    };

    hardware-addresses = {
      expr = map (card: card.mac) machines.server.networks;
      expected = [ "52:54:00:12:01:02" ];
    };

    names-of-cards = {
      expr =
        map (card: card.interface)
          (manifestOf (
            mkTest (
              plus two {
                nodes.server.virtualisation = {
                  vlans = [
                    3
                    1
                  ];
                  interfaces.wan.vlan = 2;
                };
              }
            )
          )).machines.server.networks;
      expected = [
        "eth1"
        "eth2"
        "wan"
      ];
    };

    hosts = {
      expr = lib.hasInfix "192.168.1.2 server" two'.nodes.client.networking.extraHosts;
      expected = true;
    };

    memory = {
      expr =
        (manifestOf (mkTest (plus one { nodes.machine.virtualisation.memorySize = 384; })))
        .machines.machine.memory;
      expected = "384M";
    };

    disks = {
      expr =
        (manifestOf (
          mkTest (
            plus one {
              nodes.machine.virtualisation.emptyDiskImages = [
                512
                64
              ];
            }
          )
        )).machines.machine.disks;
      expected = [
        { size = "512M"; }
        { size = "64M"; }
      ];
    };

    backend-of-all = {
      expr = (manifestOf (mkTest (plus one { backend = "firecracker"; }))).machines.machine.backend;
      expected = "firecracker";
    };

    backend-of-one = {
      expr =
        lib.mapAttrs (_: machine: machine.backend)
          (manifestOf (
            mkTest (
              plus two {
                nodes = two.nodes // {
                  server.attest.backend = "cloud-hypervisor";
                };
              }
            )
          )).machines;
      expected = {
        client = "qemu";
        server = "cloud-hypervisor";
      };
    };

    container = {
      expr =
        let
          manifest = manifestOf (mkTest {
            name = "container";
            containers.machine = { };
            tests.nothing.steps = [ ];
          });
        in
        [
          manifest.machines.machine.backend
          (manifest.images.machine ? kernel)
        ];
      expected = [
        "nspawn"
        false
      ];
    };

    underscores = {
      expr =
        builtins.attrNames
          (manifestOf (mkTest {
            name = "underscores";
            nodes.web_server = { };
            tests.runs.steps = [
              {
                on = "web_server";
                run = "true";
              }
            ];
          })).machines;
      expected = [ "web-server" ];
    };

    script-of-nodes = {
      expr =
        (manifestOf (
          mkTest (
            plus two {
              testScript = { nodes, ... }: "ping = '${nodes.server.networking.primaryIPAddress}'";
            }
          )
        )).tests.testScript.script;
      expected = builtins.unsafeDiscardStringContext (
        builtins.toFile "attest-two-testScript.py" "ping = '192.168.1.2'"
      );
    };

    legacy-form = {
      expr = (mkTest ({ lib, ... }: plus one { meta.maintainers = lib.optional false 1; })).name;
      expected = "vm-test-run-one";
    };

    defaults = {
      expr =
        (mkTest (plus one { defaults.virtualisation.cores = 3; })).nodes.machine.virtualisation.cores;
      expected = 3;
    };

    features = {
      expr = (environmentOf two'.shards.all).requiredSystemFeatures;
      expected = [
        "nixos-test"
        "kvm"
      ];
    };

    no-kvm = {
      expr =
        (environmentOf (mkTest (plus two { qemu.forceAccel = "tcg"; })).shards.all).requiredSystemFeatures;
      expected = [ "nixos-test" ];
    };

    override-of-derivation = {
      expr =
        (environmentOf
          (two'.overrideTestDerivation (old: {
            requiredSystemFeatures = old.requiredSystemFeatures ++ [ "big" ];
          })).shards.all
        ).requiredSystemFeatures;
      expected = [
        "nixos-test"
        "kvm"
        "big"
      ];
    };

    extension-of-nodes = {
      expr =
        (two'.extendNixOS { module.virtualisation.memorySize = 99; })
        .nodes.client.virtualisation.memorySize;
      expected = 99;
    };

    python-only-for-scripts = {
      expr = map (test: lib.hasInfix "python3" (environmentOf test.shards.all).PATH) [
        two'
        (mkTest one)
      ];
      expected = [
        false
        true
      ];
    };

    a-handful-of-paths = {
      expr = lib.any (lib.hasInfix "nixos-system") (
        builtins.attrNames (builtins.getContext two'.manifest.text)
      );
      expected = false;
    };

    one-image-of-the-store = {
      expr = lib.length (
        lib.unique (map (image: image.disk) (builtins.attrValues (manifestOf two').images))
      );
      expected = 1;
    };

    size-of-disk = {
      expr = lib.sublist 4 4 (
        argsOf (mkTest (plus one { nodes.machine.virtualisation.diskSize = 300; })).storeImage
      );
      expected = [
        "--output"
        "${placeholder "out"}/store.erofs"
        "--at-most"
        "300M"
      ];
    };

    groups = {
      expr =
        builtins.attrNames
          (mkTest {
            name = "groups";
            independent = true;
            nodes = named [
              "a"
              "b"
              "c"
            ];
            tests = lib.genAttrs [ "a" "b" ] (name: {
              script = "";
              machines = [ name ];
            });
          }).shards;
      expected = [
        "a"
        "b"
      ];
    };

    groups-of-several = {
      expr =
        builtins.attrNames
          (mkTest {
            name = "groups";
            independent = [
              [
                "a"
                "b"
              ]
            ];
            nodes = named [
              "a"
              "b"
              "c"
              "d"
            ];
            tests = lib.genAttrs [ "a" "d" ] (name: {
              script = "";
              machines = [ name ];
            });
          }).shards;
      expected = [
        "a-b"
        "c-d"
      ];
    };

    shards = {
      expr = builtins.attrNames (mkTest (plus one { shards = 3; })).shards;
      expected = [
        "1-of-3"
        "2-of-3"
        "3-of-3"
      ];
    };

    no-more-shards-than-tests = {
      expr = builtins.attrNames (mkTest (plus two { shards = 3; })).shards;
      expected = [ "all" ];
    };

    no-snapshots = {
      expr = (mkTest one).snapshots;
      expected = { };
    };

    snapshots = {
      expr =
        let
          test = mkTest (
            plus one {
              snapshots = true;
              setups.a.steps = [ ];
              setups.b = {
                after = "a";
                steps = [ ];
              };
              tests.begins = {
                setup = "b";
                steps = [ ];
              };
            }
          );
        in
        {
          names = builtins.attrNames test.snapshots;
          used = lib.count (argument: argument == "--snapshot") (argsOf test.shards.all);
          before = has "${test.snapshots.a}/snapshot" (argsOf test.snapshots.b);
        };
      expected = {
        names = [
          "a"
          "b"
          "ready"
        ];
        # Those that tests begin with: `b`, and the lab as it booted.
        used = 2;
        before = true;
      };
    };

    outputs-of-shards = {
      expr = two'.shardOutputs == { all = two'.shards.all.outPath; };
      expected = true;
    };

    results-after-failure = {
      expr = map (has "--report") [
        (argsOf two'.report)
        (argsOf two'.config.passthru.test.config.passthru.report)
      ];
      expected = [
        true
        true
      ];
    };

    driver = {
      expr = two'.driver.meta.mainProgram;
      expected = "attest-driver";
    };

    interactive = {
      expr = map (test: test.driver.drvPath == test.driverInteractive.drvPath) [
        (mkTest (plus one { interactive.nodes.machine.virtualisation.cores = 2; }))
      ];
      expected = [ false ];
    };

    evaluation = {
      expr = (evalTest one).config.name;
      expected = "one";
    };

    host-in-module = {
      expr = (nix.lib.runTest (plus one { hostPkgs = pkgs; })).name;
      expected = "vm-test-run-one";
    };

    overlay = {
      expr = map (part: (pkgs.extend nix.overlay) ? ${part}) [
        "attest"
        "nixos-test-driver"
      ];
      expected = [
        true
        true
      ];
    };

    test-in-overlay = {
      expr = ((pkgs.extend nix.overlay).testers.runAttestTest one).name;
      expected = "vm-test-run-one";
    };

    driver-overridden = {
      expr = lib.isDerivation (
        (pkgs.extend nix.overlay).nixos-test-driver.override {
          enableOCR = true;
          enableNspawn = true;
          qemu_pkg = pkgs.qemu_test;
          extraPythonPackages = _: [ ];
          nobody-knows-it = null;
        }
      );
      expected = true;
    };

    # Before it had a name.
    older-driver = {
      expr =
        let
          older =
            (pkgs.extend (_: previous: removeAttrs previous [ "nixos-test-driver" ])).extend
              nix.overlay;
        in
        builtins.isString older.nixos-test-driver.drvPath;
      expected = true;
    };

    listed-without-being-evaluated = {
      expr = (mkTest (plus one { nodes = throw "a node was evaluated"; })).name;
      expected = "vm-test-run-one";
    };
  };

  drvPathOf =
    {
      module,
      system ? "x86_64-linux",
      ...
    }:
    ((nix.lib.forPkgs (pkgsOf system)).mkTest module).drvPath;
  wrong = import ./wrong.nix // {
    no-packages = {
      drvPath = (nix.lib.mkTest one).drvPath;
      says = [ "test `one`: `hostPkgs` is not set" ];
    };
  };
in
{
  values = lib.filterAttrs (_: { expr, expected }: expr != expected) values;
  names = lib.mapAttrs (_: { says, ... }: says) wrong;
  wrong = lib.mapAttrs (_: each: each.drvPath or (drvPathOf each)) wrong;
}
