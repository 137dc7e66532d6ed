# What is said of mistakes.
{
  lib,
  evaluate,
  one,
}:
let
  inherit (lib) mkOption types;
in
{
  unknown = {
    expr = evaluate [
      { options.a.b = mkOption { }; }
      {
        _file = "here.nix";
        a.c = "x";
      }
    ];
    says = [
      "The option `a.c' does not exist. Definition values:"
      "- In `here.nix': \"x\""
    ];
  };
  unknown-inside = {
    expr = one (types.attrsOf (types.submodule { options.a = mkOption { default = 1; }; })) [
      { n.b = 1; }
    ];
    says = [ "The option `x.n.b' does not exist." ];
  };
  type = {
    expr =
      (evaluate [
        { options.a.b = mkOption { type = types.ints.positive; }; }
        {
          _file = "here.nix";
          a.b = "x";
        }
      ]).a.b;
    says = [
      "A definition for option `a.b' is not of type `positive integer, meaning >0'."
      "Definition values:"
      "- In `here.nix': \"x\""
    ];
  };
  element = {
    expr = one (types.listOf types.int) [ [ "a" ] ];
    says = [
      "A definition for option `x.\"[definition 1-entry 1]\"' is not of type `signed integer'."
    ];
  };
  choice = {
    expr = one (types.enum [
      "a"
      "b"
    ]) [ "c" ];
    says = [ "A definition for option `x' is not of type `one of \"a\", \"b\"'." ];
  };
  conflict = {
    expr = one types.int [
      1
      2
    ];
    says = [ "The option `x' has conflicting definition values:" ];
  };
  unique = {
    expr = one types.package [
      "${builtins.storeDir}/${lib.concatStrings (lib.genList (_: "a") 32)}-a"
      "${builtins.storeDir}/${lib.concatStrings (lib.genList (_: "a") 32)}-b"
    ];
    says = [ "The option `x' is defined multiple times while it's expected to be unique." ];
  };
  undefined = {
    expr = one types.int [ ];
    says = [ "The option `x' was accessed but has no value defined. Try setting the option." ];
  };
  read-only = {
    expr =
      (evaluate [
        {
          options.x = mkOption {
            default = 1;
            readOnly = true;
          };
        }
        { x = 2; }
      ]).x;
    says = [ "The option `x' is read-only, but it's set multiple times." ];
  };
  twice = {
    expr =
      (evaluate [
        { options.x = mkOption { type = types.int; }; }
        { options.x = mkOption { type = types.str; }; }
        { x = 1; }
      ]).x;
    says = [
      "The option `x' in `"
      "is already declared in `"
    ];
  };
  prefix = {
    expr =
      (evaluate [
        { options.x = mkOption { type = types.int; }; }
        { options.x.y = mkOption { type = types.int; }; }
      ]).x;
    says = [
      "The option `x' in module `"
      "but its type `signed integer' does not support nested options."
    ];
  };
  mixed = {
    expr = evaluate [
      {
        options.x = mkOption { };
        x = 1;
      }
    ];
    says = [ "has an unsupported attribute `x'." ];
  };
  no-set = {
    expr =
      (evaluate [
        { options.a.b = mkOption { }; }
        { a = 1; }
      ]).a.b;
    says = [ "you're trying to define a value of type `int'" ];
  };
  no-argument = {
    expr = lib.callPackageWith { } ({ a }: a) { };
    says = [ "Function called without required argument \"a\"" ];
  };
  removed = {
    expr =
      (evaluate [
        {
          options.assertions = mkOption {
            type = types.listOf types.raw;
            default = [ ];
          };
        }
        (lib.mkRemovedOptionModule [ "old" ] "Use new.")
      ]).old;
    says = [ "The option `old' can no longer be used since it's been removed. Use new." ];
  };
}
