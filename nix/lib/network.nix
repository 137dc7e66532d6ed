# Numbers, addresses and hosts of nodes, as NixOS gives them: node M in the order of names has 192.168.N.M on VLAN N.
# The agent sets the addresses before the system begins; the options say the same, for whoever reads them.
{ lib, machines }:
let
  numbers = builtins.listToAttrs (
    lib.imap1 (number: name: lib.nameValuePair name number) (builtins.attrNames machines)
  );

  nodeModule =
    node@{ config, name, ... }:
    {
      options.virtualisation.test = {
        nodeName = lib.mkOption {
          type = lib.types.str;
          internal = true;
          default = name;
          description = "The name in `nodes` or `containers`, also in specialisations.";
        };
        nodeNumber = lib.mkOption {
          type = lib.types.int;
          internal = true;
          readOnly = true;
          default = numbers.${config.virtualisation.test.nodeName};
          description = "The number of the node among all of the test, by name, from 1.";
        };
      };

      # They override the argument `name`.
      options.specialisation = lib.mkOption {
        type = lib.types.attrsOf (
          lib.types.submodule {
            options.configuration = lib.mkOption {
              type = lib.types.submoduleWith {
                modules = [
                  { virtualisation.test.nodeName = node.config.virtualisation.test.nodeName; }
                ];
              };
            };
          }
        );
      };
    };

  networkModule =
    { config, ... }:
    let
      cards = import ./cards.nix { inherit lib config; };
      addressed = builtins.filter (card: card.assignIP) cards;
      first = field: if addressed == [ ] then "" else (builtins.head addressed).${field};

      addresses = card: {
        ipv4.addresses = [
          {
            address = card.ipv4;
            prefixLength = 24;
          }
        ];
        ipv6.addresses = [
          {
            address = card.ipv6;
            prefixLength = 64;
          }
        ];
      };

      hosts =
        machine:
        let
          inherit (machine.networking) hostName domain;
          names = lib.optionalString (domain != null) "${hostName}.${domain} " + hostName;
          line = address: lib.optionalString (address != "") "${address} ${names}\n";
        in
        line machine.networking.primaryIPAddress + line machine.networking.primaryIPv6Address;

      network = {
        networking = {
          hostName = lib.mkDefault config.virtualisation.test.nodeName;
          interfaces = builtins.listToAttrs (
            map (card: lib.nameValuePair card.name (addresses card)) addressed
          );
          primaryIPAddress = first "ipv4";
          primaryIPv6Address = first "ipv6";
          extraHosts = builtins.concatStringsSep "" (map hosts (builtins.attrValues machines));
        };
      };
    in
    {
      config = network // {
        # Tests that make the same network elsewhere read it.
        system.build.networkConfig = network;
      };
    };
in
{
  key = "attest-network";
  imports = [
    nodeModule
    networkModule
  ];
}
