# Names, and what has to become of them.
let
  isMatch = pattern: text: builtins.match pattern text != null;
in
{
  # In a store path, before which `attest-shard-` and the like may come (libstore's checkName).
  isTest = name: isMatch "[a-zA-Z0-9_][a-zA-Z0-9+._?=-]*" name && builtins.stringLength name <= 150;

  # A host name of attest's labs.
  isHost = name: isMatch "[a-z0-9]([a-z0-9-]*[a-z0-9])?" name && builtins.stringLength name <= 63;

  # NixOS lets nodes have `_`, which host names have not. Scripts see `_` in both cases: it is what a `-` becomes in
  # a variable.
  host = builtins.replaceStrings [ "_" ] [ "-" ];
}
