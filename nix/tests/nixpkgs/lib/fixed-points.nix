# Sets that refer to themselves, and what extends them.
{ lib }:
rec {
  fix =
    function:
    let
      result = function result;
    in
    result;
  extends =
    overlay: function: final:
    let
      previous = function final;
    in
    previous // overlay final previous;
  composeExtensions =
    first: second: final: previous:
    let
      before = first final previous;
    in
    before // second final (previous // before);
  composeManyExtensions = lib.foldr composeExtensions (_: _: { });
  toExtension =
    value:
    if lib.isFunction value then
      final: previous:
      let
        once = value previous;
      in
      if lib.isFunction once then value final previous else once
    else
      _: _: value;
  makeExtensible = makeExtensibleWithCustomName "extend";
  makeExtensibleWithCustomName =
    name: function:
    fix function
    // {
      ${name} = overlay: makeExtensibleWithCustomName name (extends overlay function);
    };
}
