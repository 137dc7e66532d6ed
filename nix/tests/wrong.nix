# Tests that cannot be made, with what evaluation has to say of each. Whoever runs them evaluates `drvPath` of
# `mkTest module`, sees it fail, and looks for the texts in the error.
let
  machine = {
    nodes.machine = { };
    tests.nothing.steps = [ ];
  };
  node = configuration: machine // { nodes.machine = configuration; };
  onFirecracker = module: module // { backend = "firecracker"; };
in
builtins.mapAttrs
  (
    name: wrong:
    wrong
    // {
      module = {
        inherit name;
      }
      // wrong.module;
    }
  )
  {
    name = {
      module = machine // {
        name = "two words";
      };
      says = [
        "test `two words`"
        "name: "
        "store path"
      ];
    };

    system = {
      module = machine;
      system = "aarch64-linux";
      says = [
        "the test `system` cannot be made"
        "hostPkgs: attest does not run on `aarch64-linux`"
      ];
    };

    no-nodes = {
      module.tests.nothing.steps = [ ];
      says = [ "nodes: there is none" ];
    };

    no-test = {
      module.nodes.machine = { };
      says = [ "testScript, tests: there is no test" ];
    };

    name-of-node = {
      module = machine // {
        nodes."Web Server" = { };
      };
      says = [ "nodes.Web Server: `Web Server` is no host name" ];
    };

    equal-names-of-nodes = {
      module = machine // {
        nodes.a_b = { };
        nodes.a-b = { };
      };
      says = [ "nodes: two have the same host name" ];
    };

    nodes-and-containers = {
      module = machine // {
        containers.machine = { };
      };
      says = [ "nodes, containers: both have `machine`" ];
    };

    script-and-steps = {
      module = machine // {
        tests.both = {
          steps = [ ];
          script = "";
        };
      };
      says = [ "tests.both: there are both `script` and `steps`" ];
    };

    neither-script-nor-steps = {
      module = machine // {
        tests.neither = { };
      };
      says = [ "tests.neither: there is neither `script` nor `steps`" ];
    };

    machine-of-step = {
      module = machine // {
        tests.typo.steps = [
          {
            on = "maschine";
            run = "true";
          }
        ];
      };
      says = [ "tests.typo.steps: there is no machine `maschine`; there are `machine`" ];
    };

    set-up = {
      module = machine // {
        tests.typo = {
          setup = "lodaed";
          steps = [ ];
        };
        setups.loaded.steps = [ ];
      };
      says = [ "tests.typo.setup: there is no set-up `lodaed`; there are `loaded`" ];
    };

    circle-of-set-ups = {
      module = machine // {
        setups.a = {
          after = "b";
          steps = [ ];
        };
        setups.b = {
          after = "a";
          steps = [ ];
        };
      };
      says = [ "setups.a.after: it begins after itself" ];
    };

    perl = {
      module = {
        nodes.machine = { };
        testScript = ''
          $machine->start;
          $machine->waitForUnit("default.target");
        '';
      };
      says = [ "testScript: this is no Python but Perl" ];
    };

    type-of-script = {
      module = {
        nodes.machine = { };
        testScript = [ "machine.start()" ];
      };
      says = [ "testScript" ];
    };

    type-of-option = {
      module = machine // {
        shards = "four";
      };
      says = [ "shards" ];
    };

    unknown-option = {
      module = machine // {
        bakend = "qemu";
      };
      says = [ "bakend" ];
    };

    groups = {
      module = {
        nodes = {
          a = { };
          b = { };
        };
        independent = true;
        tests.both.steps = [
          {
            on = [
              "a"
              "b"
            ];
            run = "true";
          }
        ];
      };
      says = [ "tests.both: its machines, `a`, `b`, are not in one lab" ];
    };

    script-of-several-groups = {
      module = {
        nodes = {
          a = { };
          b = { };
        };
        independent = true;
        testScript = "a.start()";
      };
      says = [ "testScript.machines: it has to be set" ];
    };

    machine-of-group = {
      module = machine // {
        independent = [ [ "maschine" ] ];
      };
      says = [ "independent: there is no machine `maschine`" ];
    };

    shared-directories = {
      module = onFirecracker (node {
        virtualisation.sharedDirectories.data = {
          source = "/data";
          target = "/data";
        };
      });
      says = [
        "test `shared-directories`"
        "nodes.machine.virtualisation.sharedDirectories: the backend `firecracker` cannot do it"
      ];
    };

    forwarded-ports = {
      module = node {
        virtualisation.forwardPorts = [
          {
            host.port = 8080;
            guest.port = 80;
          }
        ];
      };
      says = [ "nodes.machine.virtualisation.forwardPorts: the backend `qemu` cannot do it" ];
    };

    options-of-qemu = {
      module = onFirecracker (node {
        virtualisation.qemu.options = [ "-vga std" ];
      });
      says = [ "nodes.machine.virtualisation.qemu.options" ];
    };

    firmware = {
      module = node { virtualisation.useEFIBoot = true; };
      says = [ "nodes.machine.virtualisation.useEFIBoot" ];
    };

    processors = {
      module = onFirecracker (node {
        virtualisation.cores = 64;
      });
      says = [ "nodes.machine.virtualisation.cores" ];
    };

    no-kvm = {
      module = onFirecracker machine // {
        qemu.forceAccel = "tcg";
      };
      says = [ "nodes.machine.attest.backend: `firecracker` runs on KVM alone" ];
    };

    screen = {
      module = machine // {
        enableOCR = true;
      };
      says = [ "enableOCR: machines that attest boots have no screen" ];
    };

    twice-on-a-vlan = {
      module = node {
        virtualisation.vlans = [
          1
          1
        ];
      };
      says = [
        "nodes.machine.virtualisation.vlans"
        "52:54:00:12:01:01"
      ];
    };

    far-vlan = {
      module = node { virtualisation.vlans = [ 256 ]; };
      says = [ "nodes.machine.virtualisation.vlans: 256 is more than 255" ];
    };

    kernel-config = {
      module = onFirecracker (
        node (
          { lib, pkgs, ... }:
          {
            boot.kernelPackages = lib.mkForce {
              kernel = (removeAttrs pkgs.linuxPackages.kernel [ "features" ]) // {
                config = {
                  isYes = name: name != "DEVTMPFS";
                  isEnabled = name: name != "VIRTIO_VSOCKETS";
                };
              };
            };
          }
        )
      );
      says = [
        "nodes.machine.boot.kernelPackages: the kernel lacks what a node on `firecracker` needs: CONFIG_DEVTMPFS, CONFIG_VIRTIO_VSOCKETS"
      ];
    };

    no-kernel = {
      module = node ({ lib, ... }: { boot.kernel.enable = lib.mkForce false; });
      says = [ "nodes.machine.boot.kernel.enable" ];
    };

    no-init = {
      module = node ({ lib, ... }: { system.build = lib.mkForce { }; });
      says = [ "nodes.machine.system.build.toplevel" ];
    };

    saved-container = {
      module = {
        containers.machine = { };
        tests.nothing.steps = [ ];
        snapshots = true;
      };
      says = [ "containers.machine.attest.backend: processes of a container cannot be saved" ];
    };
  }
