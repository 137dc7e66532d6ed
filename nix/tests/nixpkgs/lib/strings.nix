# Strings.
{ lib }:
let
  inherit (builtins)
    genList
    head
    ;
in
rec {
  inherit (builtins)
    compareVersions
    concatStringsSep
    dirOf
    isString
    match
    readFile
    replaceStrings
    split
    storeDir
    stringLength
    substring
    typeOf
    unsafeDiscardStringContext
    ;
  baseNameOf = builtins.baseNameOf;

  concatStrings = concatStringsSep "";
  concatMapStrings = function: list: concatStrings (map function list);
  concatMapStringsSep =
    separator: function: list:
    concatStringsSep separator (map function list);
  concatImapStringsSep =
    separator: function: list:
    concatStringsSep separator (lib.imap1 function list);
  concatLines = concatMapStrings (line: line + "\n");
  join = concatStringsSep;
  optionalString = condition: string: if condition then string else "";

  hasPrefix = prefix: string: substring 0 (stringLength prefix) string == prefix;
  hasSuffix =
    suffix: string:
    let
      start = stringLength string - stringLength suffix;
    in
    start >= 0 && substring start (-1) string == suffix;
  hasInfix = part: string: builtins.length (splitString part string) > 1;
  removePrefix =
    prefix: string:
    if hasPrefix prefix string then substring (stringLength prefix) (-1) string else string;
  removeSuffix =
    suffix: string:
    if hasSuffix suffix string then
      substring 0 (stringLength string - stringLength suffix) string
    else
      string;
  splitString =
    separator: string:
    builtins.filter isString (builtins.split (escapeRegex (toString separator)) (toString string));
  stringToCharacters = string: genList (n: substring n 1 string) (stringLength string);
  stringAsChars = function: string: concatStrings (map function (stringToCharacters string));
  escape = characters: replaceStrings characters (map (character: "\\${character}") characters);
  escapeRegex = escape (stringToCharacters "\\[{()^$?*+|.");
  escapeShellArg =
    value:
    let
      string = toString value;
    in
    if match "[[:alnum:],._+:@%/-]+" string != null then
      string
    else
      "'${replaceStrings [ "'" ] [ "'\\''" ] string}'";
  escapeShellArgs = concatMapStringsSep " " escapeShellArg;
  escapeNixString = string: escape [ "$" ] (builtins.toJSON string);
  toShellVar = name: value: "${name}=${escapeShellArg value}";

  lowerChars = stringToCharacters "abcdefghijklmnopqrstuvwxyz";
  upperChars = stringToCharacters "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  toLower = replaceStrings upperChars lowerChars;
  toUpper = replaceStrings lowerChars upperChars;
  trim =
    string:
    let
      found = match "[[:space:]]*(.*[^[:space:]])[[:space:]]*" string;
    in
    if found == null then "" else head found;
  fixedWidthString =
    width: filler: string:
    if stringLength string >= width then string else fixedWidthString width filler (filler + string);
  toInt =
    string:
    let
      found = match "[[:space:]]*(-?[[:digit:]]+)[[:space:]]*" string;
    in
    if found == null then
      throw "toInt: Could not convert ${escapeNixString string} to int."
    else
      builtins.fromJSON (head found);
  toIntBase10 =
    string:
    let
      found = match "[[:space:]]*0*(-?[[:digit:]]+)[[:space:]]*" string;
    in
    if found == null then
      throw "toIntBase10: Could not convert ${escapeNixString string} to int."
    else
      builtins.fromJSON (head found);

  versionOlder = a: b: builtins.compareVersions b a == 1;
  versionAtLeast = a: b: !versionOlder a b;
  getName =
    package:
    if isString package then
      (builtins.parseDrvName package).name
    else
      package.pname or (builtins.parseDrvName package.name).name;
  sanitizeDerivationName =
    string:
    let
      parts = builtins.split "[^[:alnum:]+._?=-]+" (toString string);
      name = concatMapStrings (part: if isString part then part else "-") parts;
      undotted = removePrefix "." (unsafeDiscardStringContext name);
    in
    if undotted == "" then "unknown" else substring 0 207 undotted;

  isStringLike =
    value: isString value || builtins.isPath value || value ? outPath || value ? __toString;
  isConvertibleWithToString =
    value:
    isStringLike value
    || builtins.elem (builtins.typeOf value) [
      "null"
      "int"
      "float"
      "bool"
    ]
    || (builtins.isList value && builtins.all isConvertibleWithToString value);
  isStorePath =
    value:
    let
      path = toString value;
    in
    isStringLike value && substring 0 1 path == "/" && builtins.dirOf path == builtins.storeDir;

  makeSearchPath =
    below: packages:
    concatMapStringsSep ":" (path: "${path}/${below}") (builtins.filter (path: path != null) packages);
  makeSearchPathOutput =
    output: below: packages:
    makeSearchPath below (map (lib.getOutput output) packages);
  makeBinPath = makeSearchPathOutput "bin" "bin";
}
