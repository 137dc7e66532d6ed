# The manifest of a lab: what `attest run -m` reads, here or anywhere else.
{ lib }:
{
  name,
  storeImage,
  # As of machine.nix.
  machines,
  # Ready for JSON.
  setups,
  tests,
  globalTimeout,
  # Whether each machine is a lab by itself.
  independent ? false,
}:
let
  vlans = lib.unique (builtins.concatMap (machine: machine.vlans) machines);
  byHost =
    f: builtins.listToAttrs (map (machine: lib.nameValuePair machine.host (f machine)) machines);

  network =
    vlan:
    lib.nameValuePair "vlan${toString vlan}" {
      subnet = "192.168.${toString vlan}.0/24";
      subnet6 = "2001:db8:${toString vlan}::/64";
    };

  manifest = {
    inherit name tests;
    networks = builtins.listToAttrs (map network vlans);
    images = byHost (machine: machine.image // { disk = "${storeImage}/store.erofs"; });
    machines = byHost (
      machine: machine.machine // lib.optionalAttrs independent { independent = true; }
    );
    timeouts = {
      run = "${toString globalTimeout}s";
      # NixOS knows no other.
      test = "${toString globalTimeout}s";
      # A builder may have more to do.
      boot = "300s";
    };
  }
  // lib.optionalAttrs (setups != { }) { inherit setups; };
in
builtins.toJSON manifest
