# Fails when the closure of a package is larger than it may be, or has a path in it that does not belong there, and
# says how that came in.
{
  lib,
  runCommand,
  package,
  # Megabytes.
  limit ? 20,
  # Regular expressions (of awk) of names without their hashes.
  forbidden ? [
    "^(python|perl|ruby|bash)"
    "(gcc|clang|rustc|cargo|binutils)"
    "-dev$"
    "-source$"
    "^source$"
    "^linux-"
    "^glibc"
    "^stdenv"
  ],
}:
runCommand "${package.pname or package.name}-closure-check"
  {
    exportReferencesGraph = [
      "closure"
      package
    ];
    inherit package;
  }
  ''
    # For each path: itself, what it was derived by, the number of its references, and those.
    awk -v root="$package" -v patterns=${lib.escapeShellArg (builtins.concatStringsSep "\n" forbidden)} '
      function name(path) { sub("^.*/[a-z0-9]+-", "", path); return path }
      function way(path,   text) {
        text = name(path)
        while (path != root && path in from) { path = from[path]; text = text " <- " name(path) }
        return text
      }
      BEGIN { count = split(patterns, pattern, "\n") }
      state == 0 { path = $0; all[++paths] = path; state = 1; next }
      state == 1 { state = 2; next }
      state == 2 { left = $0; state = left > 0 ? 3 : 0; next }
      state == 3 { if ($0 != path) refs[path] = refs[path] " " $0; if (--left == 0) state = 0 }
      END {
        queue[last = 1] = root; seen[root] = 1
        for (first = 1; first <= last; first++) {
          n = split(refs[queue[first]], next_, " ")
          for (i = 1; i <= n; i++) if (!(next_[i] in seen)) {
            seen[next_[i]] = 1; from[next_[i]] = queue[first]; queue[++last] = next_[i]
          }
        }
        for (i = 1; i <= paths; i++) {
          for (j = 1; j <= count; j++) if (all[i] != root && name(all[i]) ~ pattern[j]) {
            print "closure: " name(all[i]) " does not belong there (" pattern[j] "): " way(all[i]); bad = 1; break
          }
          print all[i] > "paths"
        }
        exit bad
      }' closure

    kilobytes=0
    while read -r path; do
      size=$(du -sk "$path" | cut -f 1)
      kilobytes=$((kilobytes + size))
      echo "$size kB $path"
    done < paths
    if [ "$kilobytes" -gt ${toString (limit * 1000)} ]; then
      echo "closure: $kilobytes kB are more than ${toString limit} MB"
      exit 1
    fi
    echo "$kilobytes kB" > $out
  ''
