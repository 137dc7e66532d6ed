# The network cards of a node, in their order: those of `virtualisation.vlans` are eth1, eth2, …, as where eth0 is
# QEMU's own network, and then those of `virtualisation.interfaces`.
{ lib, config }:
let
  inherit (config.virtualisation) vlans interfaces;
  node = config.virtualisation.test.nodeNumber;

  byte = number: lib.optionalString (number < 16) "0" + lib.toLower (lib.toHexString number);

  card = name: vlan: assignIP: {
    inherit name vlan assignIP;
    mac = "52:54:00:12:${byte vlan}:${byte node}";
    ipv4 = "192.168.${toString vlan}.${toString node}";
    ipv6 = "2001:db8:${toString vlan}::${toString node}";
  };
in
lib.imap1 (number: vlan: card "eth${toString number}" vlan true) vlans
++ lib.mapAttrsToList (name: each: card name each.vlan each.assignIP) interfaces
