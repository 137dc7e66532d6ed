# Attribute sets.
{ lib }:
let
  inherit (builtins)
    concatMap
    foldl'
    head
    length
    map
    tail
    ;
in
rec {
  inherit (builtins)
    attrNames
    attrValues
    catAttrs
    getAttr
    hasAttr
    intersectAttrs
    isAttrs
    listToAttrs
    mapAttrs
    removeAttrs
    ;

  nameValuePair = name: value: { inherit name value; };
  mapAttrs' = function: set: listToAttrs (mapAttrsToList function set);
  mapAttrsToList = function: set: map (name: function name set.${name}) (attrNames set);
  genAttrs = names: function: listToAttrs (map (name: nameValuePair name (function name)) names);
  filterAttrs =
    keep: set: removeAttrs set (builtins.filter (name: !keep name set.${name}) (attrNames set));
  optionalAttrs = condition: set: if condition then set else { };
  concatMapAttrs = function: set: mergeAttrsList (mapAttrsToList function set);
  mergeAttrsList = foldl' (a: b: a // b) { };
  zipAttrsWith = builtins.zipAttrsWith;

  attrByPath =
    path: default: set:
    if path == [ ] then
      set
    else if builtins.isAttrs set && set ? ${head path} then
      attrByPath (tail path) default set.${head path}
    else
      default;
  hasAttrByPath =
    path: set:
    path == [ ]
    || (builtins.isAttrs set && set ? ${head path} && hasAttrByPath (tail path) set.${head path});
  getAttrFromPath =
    path: attrByPath path (throw "cannot find attribute '${lib.concatStringsSep "." path}'");
  setAttrByPath =
    path: value: if path == [ ] then value else { ${head path} = setAttrByPath (tail path) value; };

  recursiveUpdateUntil =
    stop: a: b:
    let
      merge =
        path:
        zipAttrsWith (
          name: values:
          let
            here = path ++ [ name ];
            both = length values > 1;
            old = head values;
            new = lib.last values;
          in
          if !both || stop here old new then new else merge here values
        );
    in
    merge
      [ ]
      [
        a
        b
      ];
  recursiveUpdate = recursiveUpdateUntil (
    _: a: b:
    !(builtins.isAttrs a && builtins.isAttrs b)
  );

  mapAttrsRecursiveCond =
    descend: function:
    let
      walk =
        path:
        builtins.mapAttrs (
          name: value:
          let
            here = path ++ [ name ];
          in
          if builtins.isAttrs value && descend value then walk here value else function here value
        );
    in
    walk [ ];
  mapAttrsRecursive = mapAttrsRecursiveCond (_: true);
  collect =
    wanted: set:
    if wanted set then
      [ set ]
    else if builtins.isAttrs set then
      concatMap (collect wanted) (builtins.attrValues set)
    else
      [ ];

  isDerivation = value: value.type or null == "derivation";
  getOutput =
    output: package:
    if package.outputUnspecified or true && package ? ${output} then
      package.${output}
    else
      package.out or package;
  getBin = getOutput "bin";
}
