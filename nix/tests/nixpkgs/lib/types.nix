# Types of options: what may be defined, and how several definitions become one value.
{ lib }:
let
  inherit (builtins)
    all
    filter
    head
    isAttrs
    isInt
    isList
    isString
    length
    mapAttrs
    ;
  inherit (lib.options)
    getFiles
    getValues
    mergeDefaultOption
    mergeEqualOption
    mergeOneOption
    showFiles
    showOption
    ;
  inherit (lib.modules) evalModules mergeDefinitions setDefaultModuleLocation;

  # A type's description within that of another.
  phrase =
    bare: type:
    if builtins.elem (type.descriptionClass or null) bare then
      type.description
    else
      "(${type.description})";
  ofWhat = phrase [
    "noun"
    "composite"
  ];

  # Of types of elements: the type of what both become, where their elements do.
  joinedOf =
    elemType: make: other:
    let
      both = elemType.typeMerge other.nestedTypes.elemType.functor;
    in
    if both == null then null else make both;

  mkOptionType =
    {
      name,
      description ? null,
      descriptionClass ? null,
      check ? _: true,
      merge ? mergeDefaultOption,
      emptyValue ? { },
      getSubOptions ? _: { },
      getSubModules ? null,
      substSubModules ? _: null,
      nestedTypes ? { },
      # How this and another of its name become one, where both are declared for an option.
      joined ? null,
      wrapped ? null,
    }:
    let
      self = {
        _type = "option-type";
        inherit
          name
          descriptionClass
          check
          merge
          emptyValue
          getSubOptions
          getSubModules
          substSubModules
          nestedTypes
          ;
        description = if description == null then name else description;
        functor = {
          inherit name wrapped;
          type = self;
        };
        typeMerge =
          other:
          if other.name != name then
            null
          else if joined != null then
            joined other.type
          else if wrapped != null then
            null
          else
            self;
      };
    in
    self;

  simple =
    name: description: check:
    mkOptionType {
      inherit name description check;
      descriptionClass = "noun";
      merge = mergeEqualOption;
    };
  clause = type: type // { descriptionClass = "nonRestrictiveClause"; };

  separated =
    separator:
    mkOptionType {
      name = "separatedString";
      description =
        if separator == "" then
          "Concatenated string"
        else
          "strings concatenated with ${builtins.toJSON separator}";
      descriptionClass = "noun";
      check = isString;
      merge = _: defs: lib.concatStringsSep separator (getValues defs);
    };

  # A definition's part, as mergeDefinitions wants them.
  part = file: value: { inherit file value; };

  attrsWith =
    lazy: elemType:
    mkOptionType {
      name = if lazy then "lazyAttrsOf" else "attrsOf";
      description = "${lib.optionalString lazy "lazy "}attribute set of ${ofWhat elemType}";
      descriptionClass = "composite";
      check = isAttrs;
      merge =
        loc: defs:
        let
          merged = lib.zipAttrsWith (name: mergeDefinitions (loc ++ [ name ]) elemType) (
            map (def: mapAttrs (_: part def.file) def.value) defs
          );
        in
        if lazy then
          mapAttrs (_: each: each.optionalValue.value or elemType.emptyValue.value or each.mergedValue) merged
        else
          mapAttrs (_: each: each.mergedValue) (lib.filterAttrs (_: each: each.isDefined) merged);
      emptyValue.value = { };
      getSubOptions = prefix: elemType.getSubOptions (prefix ++ [ "<name>" ]);
      inherit (elemType) getSubModules;
      substSubModules = modules: attrsWith lazy (elemType.substSubModules modules);
      nestedTypes = { inherit elemType; };
      wrapped = elemType;
      joined = joinedOf elemType (attrsWith lazy);
    };

  types = rec {
    inherit mkOptionType;
    isType = type: value: value._type or null == type;
    isOptionType = isType "option-type";

    raw = mkOptionType {
      name = "raw";
      description = "raw value";
      descriptionClass = "noun";
      merge = mergeOneOption;
    };
    unspecified = mkOptionType {
      name = "unspecified";
      description = "unspecified value";
      descriptionClass = "noun";
    };
    anything = mkOptionType {
      name = "anything";
      description = "anything";
      descriptionClass = "noun";
      merge =
        loc: defs:
        let
          values = getValues defs;
          every = check: all check values;
        in
        if every (value: isAttrs value && !lib.isDerivation value) then
          (lazyAttrsOf anything).merge loc defs
        else if every isList && length defs > 1 then
          (listOf anything).merge loc defs
        else if every lib.isFunction then
          argument:
          anything.merge (loc ++ [ "<function body>" ]) (
            map (def: def // { value = def.value argument; }) defs
          )
        else
          mergeEqualOption loc defs;
    };

    bool = simple "bool" "boolean" builtins.isBool;
    int = simple "int" "signed integer" isInt;
    float = simple "float" "floating point number" builtins.isFloat;
    number = either int float;
    ints =
      let
        named =
          name: description: check:
          clause (simple name description (value: isInt value && check value));
        bits =
          width: highest:
          (named "unsignedInt${toString width}"
            "${toString width} bit unsigned integer; between 0 and ${toString highest} (both inclusive)"
            (value: value >= 0 && value <= highest)
          );
      in
      {
        between =
          low: high:
          assert lib.assertMsg (low <= high) "ints.between: lowest must be smaller than highest";
          simple "intBetween" "integer between ${toString low} and ${toString high} (both inclusive)" (
            value: isInt value && value >= low && value <= high
          );
        unsigned = named "unsignedInt" "unsigned integer, meaning >=0" (value: value >= 0);
        positive = named "positiveInt" "positive integer, meaning >0" (value: value > 0);
        u8 = bits 8 255;
        u16 = bits 16 65535;
        u32 = bits 32 4294967295;
      };
    port = ints.u16;

    str = simple "str" "string" isString;
    nonEmptyStr = simple "nonEmptyStr" "non-empty string" (
      value: isString value && builtins.match "[ \t\n]*" value == null
    );
    singleLineStr =
      simple "singleLineStr" "(optionally newline-terminated) single-line string" (
        value: isString value && builtins.match "[^\n\r]*\n?" value != null
      )
      // {
        merge = loc: defs: lib.removeSuffix "\n" (mergeEqualOption loc defs);
      };
    strMatching =
      pattern:
      simple "strMatching ${lib.escapeNixString pattern}" "string matching the pattern ${pattern}" (
        value: isString value && builtins.match pattern value != null
      );
    separatedString = separated;
    lines = separated "\n";
    path = simple "path" "absolute path" (
      value: lib.isStringLike value && builtins.substring 0 1 (toString value) == "/"
    );
    pathInStore = simple "pathInStore" "path in the Nix store" (
      value:
      lib.isStringLike value && builtins.match "${builtins.storeDir}/[^.].*" (toString value) != null
    );
    package = simple "package" "package" (value: lib.isDerivation value || lib.isStorePath value) // {
      merge = mergeOneOption;
    };
    pkgs = simple "pkgs" "Nixpkgs package set" (value: value._type or null == "pkgs") // {
      merge = mergeOneOption;
    };

    attrs = mkOptionType {
      name = "attrs";
      description = "attribute set";
      check = isAttrs;
      merge = _: defs: lib.mergeAttrsList (getValues defs);
      emptyValue.value = { };
    };
    attrsOf = attrsWith false;
    lazyAttrsOf = attrsWith true;
    listOf =
      elemType:
      mkOptionType {
        name = "listOf";
        description = "list of ${ofWhat elemType}";
        descriptionClass = "composite";
        check = isList;
        merge =
          loc: defs:
          let
            element =
              n: def: m: value:
              mergeDefinitions (loc ++ [ "[definition ${toString n}-entry ${toString m}]" ]) elemType [
                (part def.file value)
              ];
            elements = lib.imap1 (n: def: lib.imap1 (element n def) def.value) defs;
          in
          map (each: each.mergedValue) (filter (each: each.isDefined) (builtins.concatLists elements));
        emptyValue.value = [ ];
        getSubOptions = prefix: elemType.getSubOptions (prefix ++ [ "*" ]);
        inherit (elemType) getSubModules;
        substSubModules = modules: listOf (elemType.substSubModules modules);
        nestedTypes = { inherit elemType; };
        wrapped = elemType;
        joined = joinedOf elemType listOf;
      };
    uniq = unique { message = ""; };
    unique =
      { message }:
      type:
      mkOptionType {
        name = "unique";
        inherit (type)
          check
          description
          descriptionClass
          getSubOptions
          getSubModules
          ;
        merge = lib.mergeUniqueOption {
          inherit message;
          inherit (type) merge;
        };
        nestedTypes.elemType = type;
        wrapped = type;
      };
    nullOr =
      elemType:
      mkOptionType {
        name = "nullOr";
        description = "null or ${phrase [ "noun" "conjunction" ] elemType}";
        descriptionClass = "conjunction";
        check = value: value == null || elemType.check value;
        merge =
          loc: defs:
          let
            nulls = lib.count (def: def.value == null) defs;
          in
          if nulls == length defs then
            null
          else if nulls != 0 then
            throw "The option `${showOption loc}' is defined both null and not null, in ${showFiles (getFiles defs)}."
          else
            elemType.merge loc defs;
        emptyValue.value = null;
        inherit (elemType) getSubOptions getSubModules;
        substSubModules = modules: nullOr (elemType.substSubModules modules);
        nestedTypes = { inherit elemType; };
        wrapped = elemType;
        joined = joinedOf elemType nullOr;
      };
    functionTo =
      elemType:
      mkOptionType {
        name = "functionTo";
        description = "function that evaluates to a(n) ${ofWhat elemType}";
        descriptionClass = "composite";
        check = lib.isFunction;
        merge =
          loc: defs:
          let
            result =
              argument:
              (mergeDefinitions (loc ++ [ "<function body>" ]) elemType (
                map (def: def // { value = def.value argument; }) defs
              )).mergedValue;
          in
          lib.setFunctionArgs result (lib.mergeAttrsList (map (def: lib.functionArgs def.value) defs));
        inherit (elemType) getSubOptions getSubModules;
        nestedTypes = { inherit elemType; };
        wrapped = elemType;
      };

    enum =
      values:
      let
        show = value: if isString value then builtins.toJSON value else toString value;
      in
      mkOptionType {
        name = "enum";
        description =
          if values == [ ] then
            "impossible (empty enum)"
          else if length values == 1 then
            "value ${show (head values)} (singular enum)"
          else
            "one of ${lib.concatMapStringsSep ", " show values}";
        descriptionClass = if length values < 2 then "noun" else "conjunction";
        check = value: builtins.elem value values;
        merge = mergeEqualOption;
        joined = other: enum (lib.unique (values ++ other.values));
      }
      // {
        inherit values;
      };
    either =
      a: b:
      mkOptionType {
        name = "either";
        description = "${phrase [ "noun" "conjunction" "composite" ] a} or ${
          phrase [ "noun" "conjunction" "composite" ] b
        }";
        descriptionClass = "conjunction";
        check = value: a.check value || b.check value;
        merge =
          loc: defs:
          if all (def: a.check def.value) defs then
            a.merge loc defs
          else if all (def: b.check def.value) defs then
            b.merge loc defs
          else
            mergeOneOption loc defs;
        nestedTypes = {
          left = a;
          right = b;
        };
        wrapped = [
          a
          b
        ];
      };
    oneOf = list: builtins.foldl' either (head list) (builtins.tail list);
    coercedTo =
      from: coerce: to:
      mkOptionType {
        name = "coercedTo";
        description = "${ofWhat to} or ${ofWhat from} convertible to it";
        check = value: (from.check value && to.check (coerce value)) || to.check value;
        merge =
          loc: defs:
          to.merge loc (
            map (def: def // { value = if from.check def.value then coerce def.value else def.value; }) defs
          );
        inherit (to) getSubOptions getSubModules emptyValue;
        wrapped = to;
      };

    submodule =
      modules:
      submoduleWith {
        shorthandOnlyDefinesConfig = true;
        modules = lib.toList modules;
      };
    submoduleWith =
      given@{
        modules,
        specialArgs ? { },
        shorthandOnlyDefinesConfig ? false,
        description ? null,
        class ? null,
      }:
      let
        asModule =
          { file, value }:
          if isAttrs value && shorthandOnlyDefinesConfig then
            {
              _file = file;
              config = value;
            }
          else
            setDefaultModuleLocation file value;
        evaluate =
          loc: more:
          evalModules {
            inherit specialArgs class;
            prefix = loc;
            modules =
              modules
              ++ [
                {
                  _file = "lib/types.nix";
                  # So that it can be given otherwise.
                  _module.args.name = lib.mkOptionDefault (if loc == [ ] then "" else lib.last loc);
                }
              ]
              ++ more;
          };
      in
      mkOptionType {
        name = "submodule";
        description = if description == null then "submodule" else description;
        descriptionClass = "noun";
        check = value: isAttrs value || lib.isFunction value || path.check value;
        merge = loc: defs: (evaluate loc (map asModule defs)).config;
        emptyValue.value = { };
        getSubOptions =
          prefix:
          let
            evaluated = evaluate prefix [ { _module.check = false; } ];
          in
          evaluated.options;
        getSubModules = modules;
        substSubModules = other: submoduleWith (given // { modules = other; });
        joined = other: submoduleWith (given // { modules = modules ++ other.getSubModules; });
      };
    deferredModule = deferredModuleWith { };
    deferredModuleWith =
      {
        staticModules ? [ ],
      }:
      mkOptionType {
        name = "deferredModule";
        description = "module";
        descriptionClass = "noun";
        check = value: isAttrs value || lib.isFunction value || path.check value;
        merge = loc: defs: {
          imports =
            staticModules
            ++ map (def: setDefaultModuleLocation "${def.file}, via option ${showOption loc}" def.value) defs;
        };
        getSubModules = staticModules;
        joined = other: deferredModuleWith { staticModules = staticModules ++ other.getSubModules; };
      };
    optionType = simple "optionType" "optionType" isOptionType // {
      merge = mergeOneOption;
    };
  };
in
types
