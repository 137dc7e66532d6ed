# Functions, numbers, warnings.
{ lib }:
rec {
  inherit (builtins)
    add
    addErrorContext
    bitAnd
    bitOr
    bitXor
    ceil
    deepSeq
    floor
    fromJSON
    genericClosure
    isBool
    isFloat
    isInt
    isPath
    lessThan
    pathExists
    readFile
    seq
    sub
    toJSON
    trace
    tryEval
    ;

  id = value: value;

  min = a: b: if a < b then a else b;
  max = a: b: if a > b then a else b;
  mod = a: b: a - b * (a / b);
  compare =
    a: b:
    if a < b then
      -1
    else if a > b then
      1
    else
      0;
  boolToString = value: if value then "true" else "false";

  warn = message: value: builtins.trace "warning: ${message}" value;
  warnIf = condition: message: if condition then warn message else id;
  throwIf = condition: message: if condition then throw message else id;
  assertMsg = condition: message: condition || throw message;
  assertOneOf =
    name: value: known:
    assertMsg (builtins.elem value known) "${name} must be one of ${
      lib.generators.toPretty { } known
    }, but is: ${lib.generators.toPretty { } value}";

  isFunction =
    value:
    builtins.isFunction value || (value ? __functor && builtins.isFunction (value.__functor value));
  functionArgs =
    function:
    if function ? __functor then
      function.__functionArgs or (functionArgs (function.__functor function))
    else
      builtins.functionArgs function;
  setFunctionArgs = function: arguments: {
    __functor = _: function;
    __functionArgs = arguments;
  };
  mirrorFunctionArgs = from: function: setFunctionArgs function (functionArgs from);

  version = "26.05stub";
  release = "26.05";
  versionSuffix = "stub";
  toHexString =
    number:
    let
      digits = lib.stringToCharacters "0123456789ABCDEF";
      high = number / 16;
    in
    lib.optionalString (high > 0) (toHexString high) + builtins.elemAt digits (mod number 16);
}
