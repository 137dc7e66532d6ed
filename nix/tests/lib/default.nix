# What attest's Nix code may rely on in nixpkgs' `lib`: the stub and the real one must agree on all of
# it. By hand, against a real one, in this directory:
#   nix-instantiate --eval --strict --arg lib 'import NIXPKGS/lib' -A values
# which gives what differs, so `{ }`. Each of `wrong` is an error that has the texts of the same name in
# `names`.
{ lib }:
let
  evaluate = modules: (lib.evalModules { inherit modules; }).config;
  # An option `x` of this type with these definitions.
  one =
    type: values:
    (evaluate (
      [ { options.x = lib.mkOption { inherit type; }; } ] ++ map (value: { x = value; }) values
    )).x;

  values =
    import ./functions.nix { inherit lib; } // import ./modules.nix { inherit lib evaluate one; };
  wrong = import ./wrong.nix { inherit lib evaluate one; };
in
{
  values = lib.filterAttrs (_: { expr, expected }: expr != expected) values;
  names = lib.mapAttrs (_: { says, ... }: says) wrong;
  wrong = lib.mapAttrs (_: { expr, ... }: builtins.deepSeq expr expr) wrong;
}
