# What evaluations of modules give.
{
  lib,
  evaluate,
  one,
}:
let
  inherit (lib) mkOption types;
in
{
  default = {
    expr = evaluate [ { options.a.b = mkOption { default = 1; }; } ];
    expected.a.b = 1;
  };
  priorities = {
    expr = map (one types.int) [
      [
        1
        (lib.mkDefault 2)
      ]
      [
        (lib.mkForce 3)
        1
      ]
      [
        (lib.mkOverride 40 4)
        (lib.mkForce 3)
        1
      ]
    ];
    expected = [
      1
      3
      4
    ];
  };
  conditions = {
    expr = evaluate [
      (
        { config, ... }:
        {
          options = {
            on = mkOption { type = types.bool; };
            list = mkOption { type = types.listOf types.int; };
            deep.er = mkOption {
              type = types.int;
              default = 0;
            };
          };
          config = lib.mkMerge [
            { on = true; }
            (lib.mkIf config.on { list = [ 1 ]; })
            (lib.mkIf (!config.on) { list = [ 2 ]; })
            (lib.mkIf config.on (lib.mkForce { deep.er = 7; }))
            {
              list = lib.mkMerge [
                [ 3 ]
                (lib.mkIf false [ 4 ])
              ];
            }
          ];
        }
      )
      { deep.er = 6; }
    ];
    expected = {
      on = true;
      list = [
        1
        3
      ];
      deep.er = 7;
    };
  };
  order-of-lists = {
    expr =
      let
        list = value: { x = value; };
      in
      (evaluate [
        { options.x = mkOption { type = types.listOf types.str; }; }
        (list [ "first" ])
        {
          imports = [
            (list [ "imported" ])
            { imports = [ (list [ "imported by an import" ]) ]; }
          ];
          x = [ "importing" ];
        }
        (list (lib.mkBefore [ "before" ]))
        (list (lib.mkAfter [ "after" ]))
        (list [ "last" ])
      ]).x;
    expected = [
      "before"
      "imported by an import"
      "imported"
      "last"
      "importing"
      "first"
      "after"
    ];
  };
  lines = {
    expr = one types.lines [
      "a"
      "b"
    ];
    expected = "b\na";
  };
  either-and-null = {
    expr = [
      (one (types.nullOr types.int) [ null ])
      (one (types.either types.int types.str) [ "a" ])
      (one (types.oneOf [
        types.bool
        types.int
        types.str
      ]) [ 2 ])
      (one (types.enum [
        "a"
        1
      ]) [ 1 ])
      (one (types.coercedTo types.int toString types.str) [ 5 ])
    ];
    expected = [
      null
      "a"
      2
      1
      "5"
    ];
  };
  submodules = {
    expr =
      one
        (types.attrsOf (
          types.submodule (
            { name, config, ... }:
            {
              options.name = mkOption { default = name; };
              options.size = mkOption { type = types.int; };
              options.double = mkOption { default = config.size * 2; };
            }
          )
        ))
        [
          { a.size = 1; }
          {
            b = { ... }: {
              size = 4;
              name = "other";
            };
          }
          { c = lib.mkIf false { size = 9; }; }
        ];
    expected = {
      a = {
        name = "a";
        size = 1;
        double = 2;
      };
      b = {
        name = "other";
        size = 4;
        double = 8;
      };
    };
  };
  submodule-twice = {
    expr =
      (evaluate [
        { options.x = mkOption { type = types.submodule { options.a = mkOption { }; }; }; }
        { options.x = mkOption { type = types.submodule { options.b = mkOption { default = 2; }; }; }; }
        { x.a = 1; }
      ]).x;
    expected = {
      a = 1;
      b = 2;
    };
  };
  lazy-attributes = {
    expr =
      (one (types.lazyAttrsOf types.int) [
        {
          good = 1;
          bad = throw "not looked at";
        }
      ]).good;
    expected = 1;
  };
  functions = {
    expr =
      (one (types.functionTo (types.listOf types.int)) [
        (n: [ n ])
        (n: [ (n + 1) ])
      ])
        5;
    expected = [
      6
      5
    ];
  };
  deferred = {
    expr =
      evaluate [
        (
          { config, ... }:
          {
            options.defaults = mkOption { type = types.deferredModule; };
            options.result = mkOption { type = types.submoduleWith { modules = [ config.defaults ]; }; };
            config.result = { };
            config.defaults.options.n = mkOption { default = 1; };
          }
        )
        { defaults = { lib, ... }: { n = lib.mkForce 3; }; }
      ]
      // {
        defaults = null;
      };
    expected = {
      defaults = null;
      result.n = 3;
    };
  };
  free-form = {
    expr = evaluate [
      {
        freeformType = types.attrsOf types.int;
        options.known = mkOption { default = "k"; };
      }
      { other = 3; }
    ];
    expected = {
      known = "k";
      other = 3;
    };
  };
  arguments = {
    expr =
      (lib.evalModules {
        specialArgs.special = 1;
        modules = [
          { _module.args.module = 2; }
          (
            { special, module, ... }:
            {
              options.x = mkOption { default = special + module; };
            }
          )
        ];
      }).config.x;
    expected = 3;
  };
  extension = {
    expr =
      let
        first = lib.evalModules { modules = [ { options.x = mkOption { default = 1; }; } ]; };
      in
      [
        (first.extendModules { modules = [ { x = 2; } ]; }).config.x
        (lib.evalModules {
          modules = [
            { options.inner = mkOption { inherit (first) type; }; }
            { inner.x = 5; }
          ];
        }).config.inner.x
      ];
    expected = [
      2
      5
    ];
  };
  about-options = {
    expr =
      let
        evaluated = lib.evalModules {
          modules = [
            {
              options.a = mkOption { type = types.int; };
              options.b = mkOption { default = 1; };
            }
            { a = lib.mkForce 1; }
          ];
        };
        inherit (evaluated) options;
      in
      [
        options.a.isDefined
        options.a.highestPrio
        options.b.highestPrio
        options.a.loc
        options.a.definitions
        (toString options.a)
      ];
    expected = [
      true
      50
      1500
      [ "a" ]
      [ 1 ]
      "a"
    ];
  };
  once-by-key = {
    expr =
      let
        module = {
          key = "one";
          x = [ 1 ];
        };
      in
      (evaluate [
        { options.x = mkOption { type = types.listOf types.int; }; }
        module
        { imports = [ module ]; }
      ]).x;
    expected = [ 1 ];
  };
  disabled = {
    expr =
      (evaluate [
        { options.x = mkOption { default = 1; }; }
        {
          key = "unwanted";
          x = 2;
        }
        { disabledModules = [ { key = "unwanted"; } ]; }
      ]).x;
    expected = 1;
  };
  aliases = {
    expr =
      let
        renamed = evaluate [
          { options.new.name = mkOption { type = types.int; }; }
          (lib.mkAliasOptionModule [ "old" "name" ] [ "new" "name" ])
          { old.name = 4; }
        ];
      in
      [
        renamed.new.name
        renamed.old.name
      ];
    expected = [
      4
      4
    ];
  };
  descriptions = {
    expr = map (type: type.description) [
      types.bool
      types.int
      types.str
      types.path
      types.package
      types.ints.positive
      types.ints.unsigned
      types.port
      (types.ints.between 1 8)
      (types.listOf (types.nullOr types.str))
      (types.attrsOf (types.listOf types.ints.positive))
      (types.nullOr (
        types.enum [
          "a"
          "b"
        ]
      ))
      (types.either types.int (types.listOf types.str))
      (types.strMatching "[a-z]+")
      types.nonEmptyStr
      types.lines
      (types.submodule { })
      types.deferredModule
      (types.functionTo types.str)
      types.raw
      (types.lazyAttrsOf types.anything)
      (types.enum [ "only" ])
    ];
    expected = [
      "boolean"
      "signed integer"
      "string"
      "absolute path"
      "package"
      "positive integer, meaning >0"
      "unsigned integer, meaning >=0"
      "16 bit unsigned integer; between 0 and 65535 (both inclusive)"
      "integer between 1 and 8 (both inclusive)"
      "list of (null or string)"
      "attribute set of list of (positive integer, meaning >0)"
      "null or one of \"a\", \"b\""
      "signed integer or list of string"
      "string matching the pattern [a-z]+"
      "non-empty string"
      "strings concatenated with \"\\n\""
      "submodule"
      "module"
      "function that evaluates to a(n) string"
      "raw value"
      "lazy attribute set of anything"
      "value \"only\" (singular enum)"
    ];
  };
  checks = {
    expr = map ({ t, v }: t.check v) [
      {
        t = types.ints.positive;
        v = 0;
      }
      {
        t = types.ints.between 1 3;
        v = 3;
      }
      {
        t = types.nonEmptyStr;
        v = " ";
      }
      {
        t = types.path;
        v = /x;
      }
      {
        t = types.path;
        v = "x";
      }
      {
        t = types.package;
        v = "/x";
      }
      {
        t = types.listOf types.int;
        v = [ "lists are looked at when merged" ];
      }
      {
        t = types.nullOr types.int;
        v = "a";
      }
      {
        t = types.functionTo types.int;
        v = {
          __functor = _: _: 1;
        };
      }
      {
        t = types.strMatching "a+";
        v = "ab";
      }
    ];
    expected = [
      false
      true
      false
      true
      false
      false
      true
      false
      true
      false
    ];
  };
}
