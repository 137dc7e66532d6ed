# Declarations of options, and how several definitions become one value.
{ lib }:
let
  inherit (builtins) head length;
in
rec {
  isOption = value: value._type or null == "option";
  mkOption = attributes: { _type = "option"; } // attributes;
  mkEnableOption =
    name:
    mkOption {
      default = false;
      example = true;
      description = "Whether to enable ${name}.";
      type = lib.types.bool;
    };

  literalExpression = text: {
    _type = "literalExpression";
    inherit text;
  };
  literalMD = text: {
    _type = "literalMD";
    inherit text;
  };

  getValues = map (definition: definition.value);
  getFiles = map (definition: definition.file);

  showOption =
    let
      plain = part: builtins.match "[a-zA-Z_][a-zA-Z0-9_'-]*" part != null;
      placeholder = part: builtins.match "<.*>|\\*" part != null;
    in
    lib.concatMapStringsSep "." (
      part: if plain part || placeholder part then part else lib.escapeNixString part
    );
  showFiles = lib.concatMapStringsSep " and " (file: "`${file}'");
  # Values that cannot be shown are left out.
  showDefs = lib.concatMapStrings (
    { file, value, ... }:
    let
      shown = builtins.tryEval (builtins.deepSeq text text);
      text = lib.generators.toPretty { } value;
      lines = lib.splitString "\n" shown.value;
      short = lib.take 5 lines ++ lib.optional (length lines > 5) "...";
    in
    "\n- In `${file}'"
    + lib.optionalString shown.success (
      if length lines > 1 then ":\n    ${lib.concatStringsSep "\n    " short}" else ": ${shown.value}"
    )
  );

  mergeDefaultOption =
    loc: defs:
    let
      values = getValues defs;
      every = check: builtins.all check values;
    in
    if length values == 1 then
      head values
    else if every lib.isFunction then
      argument: mergeDefaultOption loc (map (def: def // { value = def.value argument; }) defs)
    else if every builtins.isList then
      builtins.concatLists values
    else if every builtins.isAttrs then
      lib.mergeAttrsList values
    else if every builtins.isBool then
      builtins.any lib.id values
    else if every builtins.isString then
      lib.concatStrings values
    else
      throw "Cannot merge definitions of `${showOption loc}'. Definition values:${showDefs defs}";

  mergeUniqueOption =
    {
      message,
      merge ? (_: defs: (head defs).value),
    }:
    loc: defs:
    if length defs == 1 then
      merge loc defs
    else
      throw "The option `${showOption loc}' is defined multiple times while it's expected to be unique.\n${message}\nDefinition values:${showDefs defs}\nUse `lib.mkForce value` or `lib.mkDefault value` to change the priority on any of these definitions.";
  mergeOneOption = mergeUniqueOption { message = ""; };

  mergeEqualOption =
    loc: defs:
    if defs == [ ] then
      abort "This case should never happen."
    else if builtins.all (def: def.value == (head defs).value) defs then
      (head defs).value
    else
      throw "The option `${showOption loc}' has conflicting definition values:${showDefs defs}\nUse `lib.mkForce value` or `lib.mkDefault value` to change the priority on any of these definitions.";
}
