# What functions give.
{ lib }:
{
  attribute-sets = {
    expr = [
      (lib.recursiveUpdate {
        a.b = 1;
        a.c = 2;
      } { a.c = 3; })
      (lib.filterAttrs (name: value: name == "a" || value == 3) {
        a = 1;
        b = 2;
        c = 3;
      })
      (lib.mapAttrs' (name: value: lib.nameValuePair "x${name}" (value + 1)) { a = 1; })
      (lib.attrByPath [ "a" "b" ] 9 { a.b = 1; })
      (lib.attrByPath [ "a" "c" ] 9 { a.b = 1; })
      (lib.setAttrByPath [ "a" "b" ] 1)
      (lib.hasAttrByPath [ "a" "b" ] { a.b = 1; })
      (lib.concatMapAttrs (name: value: { ${name + "2"} = value; }) { a = 1; })
      (lib.collect builtins.isInt {
        a = 1;
        b.c = 2;
      })
      (lib.mapAttrsRecursive (path: value: "${lib.concatStringsSep "." path}=${toString value}") {
        a.b = 1;
      })
      (lib.cartesianProduct {
        a = [
          1
          2
        ];
        b = [ 3 ];
      })
    ];
    expected = [
      {
        a.b = 1;
        a.c = 3;
      }
      {
        a = 1;
        c = 3;
      }
      { xa = 2; }
      1
      9
      { a.b = 1; }
      true
      { a2 = 1; }
      [
        1
        2
      ]
      { a.b = "a.b=1"; }
      [
        {
          a = 1;
          b = 3;
        }
        {
          a = 2;
          b = 3;
        }
      ]
    ];
  };
  lists = {
    expr = [
      (lib.imap1 (n: value: "${toString n}${value}") [
        "a"
        "b"
      ])
      (lib.range 2 4)
      (lib.unique [
        1
        2
        1
      ])
      (lib.flatten [
        1
        [
          2
          [ 3 ]
        ]
      ])
      (lib.subtractLists
        [ 1 ]
        [
          1
          2
        ]
      )
      (lib.last [
        1
        2
      ])
      (lib.take 1 [
        1
        2
      ])
      (lib.drop 3 [
        1
        2
      ])
      (lib.foldr (a: b: "${a}${b}") "z" [
        "x"
        "y"
      ])
      (lib.findFirst (n: n > 1) 9 [
        1
        2
      ])
      (lib.findFirst (n: n > 2) 9 [
        1
        2
      ])
      (lib.zipListsWith (a: b: a + b)
        [ 1 ]
        [
          2
          3
        ]
      )
      (lib.partition (n: n > 1) [
        1
        2
      ])
      (lib.toList 1)
      (lib.allUnique [
        1
        1
      ])
    ];
    expected = [
      [
        "1a"
        "2b"
      ]
      [
        2
        3
        4
      ]
      [
        1
        2
      ]
      [
        1
        2
        3
      ]
      [ 2 ]
      2
      [ 1 ]
      [ ]
      "xyz"
      2
      9
      [ 3 ]
      {
        right = [ 2 ];
        wrong = [ 1 ];
      }
      [ 1 ]
      false
    ];
  };
  strings = {
    expr = [
      (lib.escapeShellArg "it's")
      (lib.escapeShellArgs [
        "a b"
        "plain-1.0"
      ])
      (lib.splitString "." "a.b.c")
      (lib.hasInfix "b.c" "a.b.c")
      (lib.hasInfix "bxc" "a.b.c")
      (lib.removeSuffix ".nix" "a.nix")
      (lib.fixedWidthString 4 "0" "12")
      (lib.toHexString 250)
      (lib.toHexString 0)
      (lib.toLower "AbC")
      (lib.stringAsChars (c: if c == "-" then "_" else c) "a-b")
      (lib.strings.sanitizeDerivationName "a b/c")
      (lib.versionAtLeast "2.26.1" "2.26")
      (lib.versionOlder "2.8" "2.26")
      (lib.toInt "12")
      (lib.optionalString false "a")
      (lib.trim "  a b ")
      (lib.makeBinPath [
        "/a"
        "/b"
      ])
      (lib.concatImapStringsSep "," (n: text: "${text}${toString n}") [
        "a"
        "b"
      ])
      (lib.getName "hello-1.0")
      (lib.boolToString true)
    ];
    expected = [
      "'it'\\''s'"
      "'a b' plain-1.0"
      [
        "a"
        "b"
        "c"
      ]
      true
      false
      "a"
      "0012"
      "FA"
      "0"
      "abc"
      "a_b"
      "a-b-c"
      true
      true
      12
      ""
      "a b"
      "/a/bin:/b/bin"
      "a1,b2"
      "hello"
      "true"
    ];
  };
  packages = {
    expr =
      let
        make =
          {
            a,
            b ? 2,
          }:
          {
            result = a + b;
          };
        called = lib.callPackageWith { a = 1; } make { };
        extensible = lib.makeExtensible (final: {
          a = 1;
          b = final.a + 1;
        });
      in
      [
        called.result
        (called.override { b = 5; }).result
        (called.override (old: {
          a = old.a + 10;
        })).result
        (extensible.extend (_: previous: { a = previous.a + 10; })).b
        (
          (lib.composeManyExtensions [
            (_: previous: { a = previous.a + 1; })
            (_: previous: { a = previous.a * 2; })
          ])
          { }
          { a = 1; }
        ).a
        (lib.extends (_: previous: { a = previous.a + 1; }) (_: { a = 1; }) { }).a
      ];
    expected = [
      3
      6
      13
      12
      4
      2
    ];
  };
}
