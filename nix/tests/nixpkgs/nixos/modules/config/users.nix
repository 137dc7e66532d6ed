{
  config,
  lib,
  ...
}:
let
  inherit (lib) mkOption types;
  optional =
    type:
    mkOption {
      type = types.nullOr type;
      default = null;
    };
  user =
    { name, ... }:
    {
      options = {
        name = mkOption {
          type = types.str;
          default = name;
        };
        uid = optional types.int;
        isNormalUser = mkOption {
          type = types.bool;
          default = false;
        };
        isSystemUser = mkOption {
          type = types.bool;
          default = false;
        };
        group = mkOption {
          type = types.str;
          default = "users";
        };
        extraGroups = mkOption {
          type = types.listOf types.str;
          default = [ ];
        };
        home = mkOption {
          type = types.str;
          default = "/home/${name}";
        };
        password = optional types.str;
        hashedPassword = optional types.str;
        hashedPasswordFile = optional types.str;
        initialHashedPassword = optional types.str;
      };
    };
  uidOf = n: user: if user.uid == null then 1000 + n else user.uid;
in
{
  options.users = {
    mutableUsers = mkOption {
      type = types.bool;
      default = true;
    };
    users = mkOption {
      type = types.attrsOf (types.submodule user);
      default = { };
    };
  };
  config = {
    users.users.root = {
      uid = 0;
      home = "/root";
      group = "root";
    };
    environment.etc = {
      passwd.text = lib.concatLines (
        lib.imap0 (
          n: user:
          "${user.name}:x:${toString (uidOf n user)}:${
            if user.uid == 0 then "0" else "100"
          }::${user.home}:/run/current-system/sw/bin/bash"
        ) (builtins.attrValues config.users.users)
      );
      group.text = "root:x:0:\nusers:x:100:\n";
    };
  };
}
