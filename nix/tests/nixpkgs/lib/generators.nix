# Text of values.
{ lib }:
rec {
  # As error messages show values.
  toPretty =
    {
      multiline ? true,
      indent ? "",
      ...
    }:
    value:
    let
      inner = indent + "  ";
      show = toPretty {
        inherit multiline;
        indent = inner;
      };
      gap = if multiline then "\n${inner}" else " ";
      close = if multiline then "\n${indent}" else " ";
      name =
        key: if builtins.match "[a-zA-Z_][a-zA-Z0-9_'-]*" key == null then builtins.toJSON key else key;
      string =
        let
          lines = lib.splitString "\n" value;
          escaped = lib.escapeNixString value;
        in
        if multiline && builtins.length lines > 1 then
          "''${gap}${lib.concatStringsSep gap lines}''"
        else
          escaped;
    in
    if builtins.isString value then
      string
    else if value == null then
      "null"
    else if builtins.isBool value then
      lib.boolToString value
    else if builtins.isInt value || builtins.isFloat value || builtins.isPath value then
      toString value
    else if builtins.isList value then
      if value == [ ] then "[ ]" else "[${gap}${lib.concatMapStringsSep gap show value}${close}]"
    else if lib.isFunction value then
      "<function>"
    else if lib.isDerivation value then
      "<derivation ${value.name or "???"}>"
    else if value == { } then
      "{ }"
    else
      "{${gap}${
        lib.concatStringsSep gap (
          lib.mapAttrsToList (
            key: inside:
            "${name key} = ${builtins.addErrorContext "while evaluating an attribute `${key}`" (show inside)};"
          ) value
        )
      }${close}}";
  toJSON = _: builtins.toJSON;
}
