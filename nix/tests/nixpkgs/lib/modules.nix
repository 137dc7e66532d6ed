# The module system: modules are gathered, the trees of their options and of their definitions laid
# over each other, and what is defined for an option merged as its type says.
{ lib }:
let
  inherit (builtins)
    addErrorContext
    attrNames
    concatMap
    filter
    head
    isAttrs
    length
    mapAttrs
    ;
  inherit (lib.options)
    isOption
    mkOption
    showDefs
    showFiles
    showOption
    ;

  kind = value: value._type or null;
  # Names that a module may have beside, or in the place of, its configuration.
  ownNames = [
    "_class"
    "_file"
    "key"
    "disabledModules"
    "imports"
    "options"
    "config"
    "meta"
    "freeformType"
  ];

  # ---- From what is written to one shape ----

  load =
    args: file: key: module:
    if lib.isFunction module then
      fromSet file key (apply args key module)
    else if isAttrs module && kind module != null then
      fromSet file key { config = module; }
    else if isAttrs module && !lib.isDerivation module then
      fromSet file key module
    else if lib.isStringLike module then
      let
        path = toString module;
        content = import module;
      in
      fromSet path path (if lib.isFunction content then apply args path content else content)
    else
      throw "Module `${key}' is of type ${builtins.typeOf module}, and no module.";

  apply =
    args: key: function:
    let
      argument =
        name: _:
        addErrorContext "while evaluating the module argument `${name}' in \"${key}\":" (
          args.${name} or args.config._module.args.${name}
        );
    in
    function (args // mapAttrs argument (lib.functionArgs function));

  fromSet =
    file: key: module:
    let
      foreign = attrNames (removeAttrs module ownNames);
      explicit = module ? config || module ? options;
      own = if explicit then module.config or { } else removeAttrs module ownNames;
    in
    if explicit && foreign != [ ] then
      throw "Module `${toString module.key or key}' has an unsupported attribute `${head foreign}'. This is caused by introducing a top-level `config' or `options' attribute. Add configuration attributes immediately on the top level instead, or move all of them (namely: ${toString foreign}) into the explicit `config' attribute."
    else
      {
        file = toString module._file or file;
        key = toString module.key or key;
        class = module._class or null;
        imports = module.imports or [ ];
        disabled = module.disabledModules or [ ];
        options = module.options or { };
        config =
          if module ? freeformType then
            mkMerge [
              own
              { _module.freeformType = module.freeformType; }
            ]
          else
            own;
      };

  # All modules with what they import, each key once.
  gather =
    {
      args,
      class,
      modulesPath,
    }:
    modules:
    let
      items =
        parent: parentKey:
        lib.imap1 (
          n: module:
          let
            loaded = load args parent "${parentKey}:anon-${toString n}" module;
          in
          if loaded.class != null && class != null && loaded.class != class then
            throw "The module `${loaded.file}' (class: \"${loaded.class}\") cannot be imported into a module evaluation that expects class \"${class}\"."
          else
            {
              inherit (loaded) key;
              inherit loaded;
            }
        );
      found = builtins.genericClosure {
        startSet = items "<unknown-file>" "" modules;
        operator = item: items item.loaded.file item.key item.loaded.imports;
      };
      keyOf =
        module:
        if isAttrs module then
          toString module.key
        else if lib.hasPrefix "/" (toString module) then
          toString module
        else
          "${modulesPath}/${module}";
      disabled = concatMap (item: map keyOf item.loaded.disabled) found;
    in
    map (item: item.loaded) (filter (item: !builtins.elem item.key disabled) found);

  # ---- The two trees ----

  # Definitions of one place, each a plain attribute set: what makes them conditional, or of another
  # priority, goes to what is in them.
  plain =
    loc: definition:
    let
      inherit (definition) value;
      within = content: plain loc (definition // { value = content; });
      through =
        wrap: map (inner: inner // { value = mapAttrs (_: wrap) inner.value; }) (within value.content);
    in
    if kind value == "merge" then
      concatMap within value.contents
    else if kind value == "if" then
      through (mkIf value.condition)
    else if kind value == "override" then
      through (mkOverride value.priority)
    else if isAttrs value then
      [ definition ]
    else
      throw "In module `${definition.file}', you're trying to define a value of type `${builtins.typeOf value}'\nrather than an attribute set for the option\n`${showOption loc}'!\n\nThis usually happens if `${showOption loc}' has option\ndefinitions inside that are not matched. Please check how to properly define\nthis option by e.g. referring to `man 5 configuration.nix'!";

  # The same names together, with the files that they are from.
  named =
    list:
    lib.zipAttrsWith (_: found: found) (
      map (
        { file, value }:
        mapAttrs (_: inner: {
          inherit file;
          value = inner;
        }) value
      ) list
    );

  mergeTree =
    loc: declarations: definitions:
    let
      declared = named declarations;
      defined = named (concatMap (plain loc) definitions);
      results = mapAttrs (
        name: found:
        let
          here = loc ++ [ name ];
          its = defined.${name} or [ ];
          sides = builtins.partition (each: isOption each.value) found;
        in
        if sides.wrong == [ ] then
          {
            options = mergeOption here found its;
            unmatched = [ ];
          }
        else if sides.right == [ ] then
          mergeTree here found its
        else
          throw "The option `${showOption here}' in module ${showFiles (lib.getFiles sides.right)} would be a parent of the following options, but its type `${
            (head sides.right).value.type.description or "unspecified value"
          }' does not support nested options.\n${
            lib.concatMapStringsSep "\n" (
              { file, value }:
              "- option(s) with prefix `${showOption (here ++ [ (head (attrNames value)) ])}' in module `${file}'"
            ) sides.wrong
          }"
      ) declared;
      undeclared = removeAttrs defined (attrNames declared);
    in
    {
      options = mapAttrs (_: result: result.options) results;
      unmatched =
        concatMap (result: result.unmatched) (builtins.attrValues results)
        ++ concatMap (name: map (def: def // { loc = loc ++ [ name ]; }) undeclared.${name}) (
          attrNames undeclared
        );
    };

  # ---- One option ----

  mergeOption =
    loc: declarations: definitions:
    let
      declaration = builtins.foldl' (
        known:
        { file, value }:
        let
          twice = name: known ? ${name} && value ? ${name};
          type = known.type.typeMerge value.type.functor;
        in
        if twice "default" || twice "apply" || (twice "type" && type == null) then
          throw "The option `${showOption loc}' in `${file}' is already declared in ${showFiles known.declarations}."
        else
          known
          // value
          // lib.optionalAttrs (twice "type") { inherit type; }
          // {
            declarations = known.declarations ++ [ file ];
          }
      ) { declarations = [ ]; } declarations;
      type = declaration.type or lib.types.unspecified;
      default = lib.optional (declaration ? default) {
        file = head declaration.declarations;
        value = mkOptionDefault declaration.default;
      };
      merged = mergeDefinitions loc type (default ++ definitions);
      value =
        if declaration.readOnly or false && length (default ++ definitions) > 1 then
          throw "The option `${showOption loc}' is read-only, but it's set multiple times. Definition values:${showDefs definitions}"
        else
          (declaration.apply or lib.id) merged.mergedValue;
    in
    declaration
    // {
      inherit loc type;
      inherit (merged) isDefined;
      value = addErrorContext "while evaluating the option `${showOption loc}':" value;
      definitions = lib.getValues merged.defsFinal;
      definitionsWithLocations = merged.defsFinal;
      files = lib.getFiles merged.defsFinal;
      highestPrio = merged.priority;
      __toString = _: showOption loc;
    };

  discharge =
    definition:
    let
      inherit (definition) value;
      within = content: discharge (definition // { value = content; });
    in
    if kind value == "merge" then
      concatMap within value.contents
    else if kind value == "if" then
      if !builtins.isBool value.condition then
        throw "‘mkIf’ called with a non-Boolean condition"
      else if value.condition then
        within value.content
      else
        [ ]
    else
      [ definition ];

  # A number that definitions may be wrapped with, and what they are without it.
  wrapped = type: default: {
    number = { value, ... }: if kind value == type then value.priority else default;
    is = { value, ... }: kind value == type;
    bare = def: if kind def.value == type then def // { value = def.value.content; } else def;
  };
  override = wrapped "override" defaultOverridePriority;
  order = wrapped "order" defaultOrderPriority;

  mergeDefinitions =
    loc: type: definitions:
    let
      all = concatMap discharge definitions;
      # The smallest number counts most.
      priority = builtins.foldl' (found: def: lib.min found (override.number def)) 9999 all;
      chosen = map override.bare (filter (def: override.number def == priority) all);
      defsFinal =
        if builtins.any order.is chosen then map order.bare (lib.sortOn order.number chosen) else chosen;
      wrong = filter (def: !type.check def.value) defsFinal;
      mergedValue =
        if defsFinal == [ ] then
          throw "The option `${showOption loc}' was accessed but has no value defined. Try setting the option."
        else if wrong != [ ] then
          throw "A definition for option `${showOption loc}' is not of type `${type.description}'. Definition values:${showDefs wrong}"
        else
          type.merge loc defsFinal;
      isDefined = defsFinal != [ ];
    in
    {
      inherit
        defsFinal
        isDefined
        mergedValue
        priority
        ;
      optionalValue = lib.optionalAttrs isDefined { value = mergedValue; };
    };

  # What every evaluation has.
  ownModule = {
    _file = "lib/modules.nix";
    key = "lib/modules.nix";
    options._module = {
      args = mkOption {
        type = lib.types.lazyAttrsOf lib.types.raw;
        default = { };
      };
      check = mkOption {
        type = lib.types.bool;
        default = true;
      };
      freeformType = mkOption {
        type = lib.types.nullOr lib.types.raw;
        default = null;
      };
      specialArgs = mkOption {
        type = lib.types.raw;
        readOnly = true;
      };
    };
  };

  unmatchedError =
    _prefix: unmatched:
    let
      first = head unmatched;
      name = showOption first.loc;
    in
    throw "The option `${name}' does not exist. Definition values:${showDefs [ first ]}";

  evalModules =
    given@{
      modules,
      prefix ? [ ],
      specialArgs ? { },
      class ? null,
      ...
    }:
    let
      args = {
        inherit lib options;
        config = values;
        _class = class;
        _prefix = prefix;
      }
      // specialArgs;
      loaded =
        gather
          {
            inherit args class;
            modulesPath = toString specialArgs.modulesPath or "";
          }
          (
            modules
            ++ [
              ownModule
              {
                _file = "lib/modules.nix";
                _module.args = { inherit extendModules moduleType; };
                _module.specialArgs = specialArgs;
              }
            ]
          );
      # The first modules of all define last: those that import come before what they import.
      ordered = lib.reverseList loaded;
      tree =
        mergeTree prefix
          (map ({ file, options, ... }: {
            inherit file;
            value = options;
          }) ordered)
          (
            map ({ file, config, ... }: {
              inherit file;
              value = config;
            }) ordered
          );
      inherit (tree) options;
      declared = lib.mapAttrsRecursiveCond (value: !isOption value) (_: option: option.value) options;
      freeform = declared._module.freeformType;
      relative = loc: lib.drop (length prefix) loc;
      values =
        if freeform == null then
          declared
        else
          lib.recursiveUpdate (freeform.merge prefix (
            map (
              {
                file,
                value,
                loc,
              }:
              {
                inherit file;
                value = lib.setAttrByPath (relative loc) value;
              }
            ) tree.unmatched
          )) declared;
      checked =
        if declared._module.check && freeform == null && tree.unmatched != [ ] then
          unmatchedError prefix tree.unmatched
        else
          true;
      extendModules =
        more:
        evalModules (
          given
          // {
            modules = modules ++ more.modules or [ ];
            specialArgs = specialArgs // more.specialArgs or { };
            prefix = more.prefix or prefix;
          }
        );
      moduleType = lib.types.submoduleWith { inherit modules specialArgs class; };
    in
    {
      _type = "configuration";
      inherit class extendModules;
      type = moduleType;
      options = builtins.seq checked options;
      config = builtins.seq checked (removeAttrs values [ "_module" ]);
      _module = builtins.seq checked values._module;
    };

  defaultOverridePriority = 100;
  defaultOrderPriority = 1000;
  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  mkMerge = contents: {
    _type = "merge";
    inherit contents;
  };
  mkOverride = priority: content: {
    _type = "override";
    inherit priority content;
  };
  mkOrder = priority: content: {
    _type = "order";
    inherit priority content;
  };
  mkOptionDefault = mkOverride 1500;

  mkAlias =
    { from, to }:
    { config, options, ... }:
    let
      option = lib.getAttrFromPath from options;
    in
    {
      options = lib.setAttrByPath from (mkOption {
        visible = false;
        type = (lib.getAttrFromPath to options).type or lib.types.unspecified;
        apply = _: lib.getAttrFromPath to config;
      });
      config = lib.setAttrByPath to (mkMerge (map (mkIf option.isDefined) option.definitions));
    };

  setDefaultModuleLocation = file: module: {
    _file = file;
    imports = [ module ];
  };
in
{
  inherit
    defaultOrderPriority
    defaultOverridePriority
    evalModules
    mergeDefinitions
    mkIf
    mkMerge
    mkOptionDefault
    mkOrder
    mkOverride
    setDefaultModuleLocation
    ;
  mkDefault = mkOverride 1000;
  mkImageMediaOverride = mkOverride 60;
  mkForce = mkOverride 50;
  mkVMOverride = mkOverride 10;
  mkBefore = mkOrder 500;
  mkAfter = mkOrder 1500;
  mkAssert =
    assertion: message: content:
    if assertion then content else throw "\nFailed assertion: ${message}";
  # The configuration as a module that names this file.
  importApply = file: argument: setDefaultModuleLocation (toString file) (import file argument);

  mkRemovedOptionModule =
    path: instead:
    { options, ... }:
    {
      options = lib.setAttrByPath path (mkOption {
        visible = false;
        apply =
          _:
          throw "The option `${showOption path}' can no longer be used since it's been removed. ${instead}";
      });
      config.assertions =
        let
          option = lib.getAttrFromPath path options;
        in
        [
          {
            assertion = !option.isDefined;
            message = "The option definition `${showOption path}' in ${showFiles option.files} no longer has any effect; please remove it.\n${instead}";
          }
        ];
    };
  mkRenamedOptionModule = from: to: mkAlias { inherit from to; };
  mkAliasOptionModule = from: to: mkAlias { inherit from to; };
}
