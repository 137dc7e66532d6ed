{
  config,
  lib,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.networking;
  address = types.submodule {
    options = {
      address = mkOption { type = types.str; };
      prefixLength = mkOption { type = types.ints.between 0 128; };
    };
  };
  addresses = mkOption {
    type = types.listOf address;
    default = [ ];
  };
  interface =
    { name, ... }:
    {
      options = {
        name = mkOption {
          type = types.str;
          default = name;
        };
        ipv4.addresses = addresses;
        ipv6.addresses = addresses;
        useDHCP = mkOption {
          type = types.nullOr types.bool;
          default = null;
        };
      };
    };
  flag =
    default:
    mkOption {
      type = types.bool;
      inherit default;
    };
  text = mkOption {
    type = types.str;
    default = "";
  };
in
{
  options.networking = {
    hostName = mkOption {
      type = types.strMatching "^$|^[[:alnum:]]([[:alnum:]_-]{0,61}[[:alnum:]])?$";
      default = "nixos";
    };
    domain = mkOption {
      type = types.nullOr types.str;
      default = null;
    };
    hosts = mkOption {
      type = types.attrsOf (types.listOf types.str);
      default = { };
    };
    extraHosts = mkOption {
      type = types.lines;
      default = "";
    };
    interfaces = mkOption {
      type = types.attrsOf (types.submodule interface);
      default = { };
    };
    primaryIPAddress = text;
    primaryIPv6Address = text;
    useDHCP = flag true;
    useNetworkd = flag false;
    usePredictableInterfaceNames = flag true;
    dhcpcd.enable = flag true;
    firewall.enable = flag true;
    firewall.allowedTCPPorts = mkOption {
      type = types.listOf types.port;
      default = [ ];
    };
    nameservers = mkOption {
      type = types.listOf types.str;
      default = [ ];
    };
    defaultGateway = mkOption {
      type = types.nullOr types.anything;
      default = null;
    };
    defaultGateway6 = mkOption {
      type = types.nullOr types.anything;
      default = null;
    };
  };
  config = {
    environment.etc = {
      hosts.text = lib.concatLines (
        [
          "127.0.0.1 localhost"
          "::1 localhost"
        ]
        ++ lib.optional (cfg.hostName != "") "127.0.0.2 ${cfg.hostName}"
        ++ lib.mapAttrsToList (address: names: "${address} ${toString names}") cfg.hosts
        ++ [ cfg.extraHosts ]
      );
      hostname = lib.mkIf (cfg.hostName != "") { text = cfg.hostName + "\n"; };
    };
    system.build.cards = lib.concatStrings (
      lib.mapAttrsToList (
        _name: interface:
        lib.concatMapStrings ({ address, prefixLength }: ''
          ip address add ${address}/${toString prefixLength} dev ${interface.name} 2>/dev/null
        '') (interface.ipv4.addresses ++ interface.ipv6.addresses)
        + "ip link set ${interface.name} up\n"
      ) cfg.interfaces
    );
  };
}
