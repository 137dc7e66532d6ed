# Lists.
{ lib }:
rec {
  inherit (builtins)
    all
    any
    concatLists
    concatMap
    elem
    elemAt
    filter
    foldl'
    genList
    groupBy
    head
    isList
    length
    map
    partition
    sort
    tail
    ;

  toList = value: if isList value then value else [ value ];
  optional = condition: value: if condition then [ value ] else [ ];
  optionals = condition: list: if condition then list else [ ];
  range = first: last: if last < first then [ ] else genList (n: first + n) (last - first + 1);
  imap0 = function: list: genList (n: function n (elemAt list n)) (length list);
  imap1 = function: imap0 (n: function (n + 1));
  sublist =
    start: count: list:
    let
      left = length list - start;
    in
    genList (n: elemAt list (start + n)) (lib.max 0 (lib.min count left));
  take = count: sublist 0 count;
  drop = count: list: sublist count (length list) list;
  last = list: elemAt list (length list - 1);
  init = list: take (length list - 1) list;
  reverseList = list: genList (n: elemAt list (length list - 1 - n)) (length list);
  foldr =
    function: start: list:
    foldl' (state: value: function value state) start (reverseList list);
  flatten = value: if isList value then concatMap flatten value else [ value ];
  unique = foldl' (seen: value: if elem value seen then seen else seen ++ [ value ]) [ ];
  allUnique = list: length (unique list) == length list;
  count = wanted: list: length (filter wanted list);
  remove = value: filter (other: other != value);
  subtractLists = without: filter (value: !elem value without);
  intersectLists = with': filter (value: elem value with');
  findFirst =
    wanted: default: list:
    let
      found = filter wanted list;
    in
    if found == [ ] then default else head found;
  findFirstIndex =
    wanted: default: list:
    findFirst (n: wanted (elemAt list n)) default (range 0 (length list - 1));
  zipListsWith =
    function: a: b:
    genList (n: function (elemAt a n) (elemAt b n)) (lib.min (length a) (length b));
  sortOn = key: builtins.sort (a: b: key a < key b);
  cartesianProduct =
    sets:
    foldl' (found: name: concatMap (set: map (value: set // { ${name} = value; }) sets.${name}) found) [
      { }
    ] (builtins.attrNames sets);
}
