# Packages as functions, called with other packages.
{ lib }:
rec {
  makeOverridable =
    function: arguments:
    let
      result = function arguments;
      override =
        changes:
        makeOverridable function (
          arguments // (if lib.isFunction changes then changes arguments else changes)
        );
      wrapped = lib.mirrorFunctionArgs function override;
    in
    if builtins.isAttrs result then
      result // { override = wrapped; }
    else if lib.isFunction result then
      lib.setFunctionArgs result (lib.functionArgs result) // { override = wrapped; }
    else
      result;
  callPackageWith =
    known: given: arguments:
    let
      function = if lib.isFunction given then given else import given;
      wanted = lib.functionArgs function;
      missing = lib.filterAttrs (
        name: optional: !optional && !(known ? ${name}) && !(arguments ? ${name})
      ) wanted;
    in
    if missing == { } then
      makeOverridable function (builtins.intersectAttrs wanted known // arguments)
    else
      throw "lib.customisation.callPackageWith: Function called without required argument \"${builtins.head (builtins.attrNames missing)}\"";
  callPackagesWith =
    known: given: arguments:
    let
      function = if lib.isFunction given then given else import given;
    in
    function (builtins.intersectAttrs (lib.functionArgs function) known // arguments);
  makeScope =
    newScope: function:
    let
      self = function self // {
        newScope = scope: newScope (self // scope);
        callPackage = self.newScope { };
        overrideScope = overlay: makeScope newScope (lib.extends overlay function);
        packages = function;
      };
    in
    self;
}
