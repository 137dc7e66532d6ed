//! Every kind of error, as a user sees it.

use std::fs;
use std::path::Path;

use attest_manifest::{Manifest, ManifestError};
use insta::assert_snapshot;

/// The errors of a manifest, without the temporary directory's name.
fn shown(name: &str, bytes: &[u8]) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join(name);
    fs::write(&path, bytes).expect("written");
    render(directory.path(), &error(&path))
}

fn error(path: &Path) -> ManifestError {
    Manifest::load(path)
        .and_then(|manifest| manifest.plan())
        .expect_err("wrong")
}

fn render(directory: &Path, error: &ManifestError) -> String {
    let directory = directory.display().to_string();
    error
        .render(false)
        .replace(&format!("{directory}/"), "")
        .replace(&directory, "DIR")
}

fn toml(text: &str) -> String {
    shown("attest.toml", text.as_bytes())
}

fn json(text: &str) -> String {
    shown("attest.json", text.as_bytes())
}

/// A test with these steps on two machines.
fn steps(steps: &str) -> String {
    toml(&format!(
        "machines = {{ a = {{}}, b = {{}} }}\n[tests.t]\nsteps = [\n{steps}\n]\n"
    ))
}

#[test]
fn unknown_keys() {
    assert_snapshot!(toml("[machines.a]\nmemmory = \"1G\"\ncpus = 2\n[machine.b]\n"), @r#"
        error: `machines.a` has no key `memmory`
         --> attest.toml:2:1
          |
        2 | memmory = "1G"
          | ^^^^^^^ unknown key
          |
          = help: did you mean `memory`?

        error: `machines.a` has no key `cpus`
         --> attest.toml:3:1
          |
        3 | cpus = 2
          | ^^^^ unknown key
          |
          = help: did you mean `vcpus`?

        error: the manifest has no key `machine`
         --> attest.toml:4:2
          |
        4 | [machine.b]
          |  ^^^^^^^ unknown key
          |
          = help: did you mean `machines`?
        "#);
    assert_snapshot!(json("{ \"machines\": { \"a\": { \"colour\": 1 } } }"), @r#"
        error: `machines.a` has no key `colour`
         --> attest.json:1:24
          |
        1 | { "machines": { "a": { "colour": 1 } } }
          |                        ^^^^^^^^ unknown key
          |
          = help: the keys here are: `image`, `kernel`, `backend`, `machine-type`, `accelerator`, `memory`, `vcpus`, `networks`, `environment`, `kernel-arguments`, `files`, `disks`, …
        "#);
}

#[test]
fn wrong_types() {
    assert_snapshot!(toml("name = 5\n[machines.a]\nmemory = 256\nvcpus = \"two\"\nnetworks = \"lan\"\ndisks = [{ read-only = \"yes\" }]\n"), @r#"
        error: `name` cannot be the number 5
         --> attest.toml:1:8
          |
        1 | name = 5
          |        ^ expected a text

        error: `machines.a.memory` cannot be the number 256
         --> attest.toml:3:10
          |
        3 | memory = 256
          |          ^^^ expected a size with its unit, as "256M" or "1G"

        error: `machines.a.vcpus` cannot be the text "two"
         --> attest.toml:4:9
          |
        4 | vcpus = "two"
          |         ^^^^^ expected a whole number

        error: `machines.a.networks` cannot be the text "lan"
         --> attest.toml:5:12
          |
        5 | networks = "lan"
          |            ^^^^^ expected a list, `[…]`

        error: `machines.a.disks[0].read-only` cannot be the text "yes"
         --> attest.toml:6:24
          |
        6 | disks = [{ read-only = "yes" }]
          |                        ^^^^^ expected `true` or `false`
        "#);
    assert_snapshot!(json("{ \"machines\": [], \"timeouts\": { \"boot\": null, \"run\": 60, \"test\": \"10 parsecs\" } }"), @r#"
        error: `machines` cannot be a list
         --> attest.json:1:15
          |
        1 | { "machines": [], "timeouts": { "boot": null, "run": 60, "test": "10 parsecs" } }
          |               ^^ expected a table

        error: `timeouts.run` cannot be the number 60
         --> attest.json:1:54
          |
        1 | { "machines": [], "timeouts": { "boot": null, "run": 60, "test": "10 parsecs" } }
          |                                                      ^^ expected a length of time with its unit, as "500ms", "10s", "2m" or "1h"

        error: `timeouts.test` cannot be the text "10 parsecs"
         --> attest.json:1:66
          |
        1 | { "machines": [], "timeouts": { "boot": null, "run": 60, "test": "10 parsecs" } }
          |                                                                  ^^^^^^^^^^^^ expected a length of time with its unit, as "500ms", "10s", "2m" or "1h"
        "#);
    assert_snapshot!(json("[]"), @r#"
        error: the manifest cannot be a list
         --> attest.json:1:1
          |
        1 | []
          | ^^ expected a table
        "#);
    assert_snapshot!(toml("[machines.a]\nbackend = \"firecracker\"\naccelerator = \"hvf\"\nmachine-type = \"q53\"\nimage = 3\n"), @r#"
        error: `firecracker` is none of the values of `machines.a.backend`
         --> attest.toml:2:11
          |
        2 | backend = "firecracker"
          |           ^^^^^^^^^^^^^ expected "qemu" or "nspawn" or "ssh"

        error: `hvf` is none of the values of `machines.a.accelerator`
         --> attest.toml:3:15
          |
        3 | accelerator = "hvf"
          |               ^^^^^ expected "auto" or "kvm" or "tcg"

        error: `q53` is none of the values of `machines.a.machine-type`
         --> attest.toml:4:16
          |
        4 | machine-type = "q53"
          |                ^^^^^ expected "microvm" or "q35"
          |
          = help: did you mean "q35"?

        error: `machines.a.image` cannot be the number 3
         --> attest.toml:5:9
          |
        5 | image = 3
          |         ^ expected the name of an image ("bare"), or a table with `kernel` and `initrd`
        "#);
    assert_snapshot!(toml("[machines.a]\nvcpus = 99999999999999999999999999\nmemory = 2026-01-01\n"), @r#"
        error: `machines.a.vcpus` cannot be a number with a fraction, or too large
         --> attest.toml:2:9
          |
        2 | vcpus = 99999999999999999999999999
          |         ^^^^^^^^^^^^^^^^^^^^^^^^^^ expected a whole number

        error: `machines.a.memory` cannot be a date or time
         --> attest.toml:3:10
          |
        3 | memory = 2026-01-01
          |          ^^^^^^^^^^ expected a size with its unit, as "256M" or "1G"
        "#);
}

#[test]
fn syntax() {
    assert_snapshot!(toml("[machines.a\nmemory = 1G\n"), @r#"
        error: this is no TOML: unclosed table
         --> attest.toml:1:12
          |
        1 | [machines.a
          |            ^ expected `]`
        "#);
    assert_snapshot!(json("{ \"machines\": { \"a\": {}, } }"), @r#"
        error: this is no JSON: key must be a string
         --> attest.json:1:26
          |
        1 | { "machines": { "a": {}, } }
          |                          ^ here
          |
          = help: remove the comma before it: JSON has none after the last element
        "#);
    assert_snapshot!(json("{ \"machines\": { \"a\": {}"), @r#"
        error: this is no JSON: EOF while parsing an object
         --> attest.json:1:23
          |
        1 | { "machines": { "a": {}
          |                       ^ here
        "#);
    assert_snapshot!(json("{ \"name\": \"\\ud800\", \"machines\": { \"a\": {} } }"), @r#"
        error: this is no JSON: unexpected end of hex escape
         --> attest.json:1:18
          |
        1 | { "name": "\ud800", "machines": { "a": {} } }
          |                  ^ here
        "#);
}

#[test]
fn duplicates() {
    assert_snapshot!(toml("[machines.a]\nvcpus = 1\nvcpus = 2\n[machines.b]\n[machines.a]\n"), @r#"
        error: `vcpus` is given twice
         --> attest.toml:3:1
          |
        2 | vcpus = 1
          | ----- the first
        3 | vcpus = 2
          | ^^^^^ the second
          |
          = help: rename one of them, or make one of both

        error: `a` is given twice
         --> attest.toml:5:11
          |
        1 | [machines.a]
          |           - the first
        ...
        5 | [machines.a]
          |           ^ the second
          |
          = help: rename one of them, or make one of both
        "#);
    assert_snapshot!(json("{\n\t\"machines\": {\n\t\t\"a\": {},\n\t\t\"b\": {},\n\t\t\"a\": { \"vcpus\": 2 }\n\t}\n}\n"), @r#"
        error: `a` is given twice
         --> attest.json:5:3
          |
        3 |         "a": {},
          |         --- the first
        4 |         "b": {},
        5 |         "a": { "vcpus": 2 }
          |         ^^^ the second
          |
          = help: rename one of them, or make one of both
        "#);
    assert_snapshot!(toml("[machines.a.files]\n\"/etc/x\" = \"1\"\n\"/etc//x\" = \"2\"\n"), @r#"
        error: `/etc//x` is given twice
         --> attest.toml:3:1
          |
        2 | "/etc/x" = "1"
          | -------- the first
        3 | "/etc//x" = "2"
          | ^^^^^^^^^ the same path again
        "#);
}

#[test]
fn names() {
    assert_snapshot!(toml("[networks.\"l n\"]\n[machines.Web_Server]\n[machines.-]\n[machines.localhost]\n[tests.\"a::b\"]\nsteps = []\n"), @r#"
        error: `l n` is no valid name of a network
         --> attest.toml:1:11
          |
        1 | [networks."l n"]
          |           ^^^^^ lowercase letters, digits and inner `-`, at most 63
          |
          = help: write `l-n`

        error: `Web_Server` is no valid name of a machine
         --> attest.toml:2:11
          |
        2 | [machines.Web_Server]
          |           ^^^^^^^^^^ lowercase letters, digits and inner `-`, at most 63
          |
          = help: write `web-server`

        error: `-` is no valid name of a machine
         --> attest.toml:3:11
          |
        3 | [machines.-]
          |           ^ lowercase letters, digits and inner `-`, at most 63

        error: `localhost` is every machine's name for itself
         --> attest.toml:4:11
          |
        4 | [machines.localhost]
          |           ^^^^^^^^^ choose another name

        error: a test's name is empty, or has `::` or control characters in it
         --> attest.toml:5:8
          |
        5 | [tests."a::b"]
          |        ^^^^^^
          |
          = help: `::` is kept for the tests in a Rust test binary
        "#);
}

#[test]
fn sizes() {
    assert_snapshot!(toml("[machines.a]\nmemory = \"63M\"\nvcpus = 0\n[machines.b]\nmemory = \"17T\"\nvcpus = 256\n[machines.c]\nmemory = \"65537K\"\ndisks = [{ size = \"0G\" }, {}, { size = \"1M\", read-only = true }]\n[networks.n]\nmtu = 1279\n[networks.o]\nmtu = 65522\n"), @r#"
        error: 63M of memory is impossible
         --> attest.toml:2:10
          |
        2 | memory = "63M"
          |          ^^^^^ less than the bare guest needs
          |
          = help: write "64M" or more

        error: 0 virtual CPUs are impossible
         --> attest.toml:3:9
          |
        3 | vcpus = 0
          |         ^ 1 to 255
          |
          = help: write `vcpus = 2`

        error: 17T of memory is impossible
         --> attest.toml:5:10
          |
        5 | memory = "17T"
          |          ^^^^^ more than any host has
          |
          = help: write "16T" or less

        error: 256 virtual CPUs are impossible
         --> attest.toml:6:9
          |
        6 | vcpus = 256
          |         ^^^ 1 to 255
          |
          = help: write `vcpus = 2`

        error: 65537K of memory is impossible
         --> attest.toml:8:10
          |
        8 | memory = "65537K"
          |          ^^^^^^^^ no multiple of 1 MiB
          |
          = help: write "65M"

        error: a disk of 0K is impossible
         --> attest.toml:9:19
          |
        9 | disks = [{ size = "0G" }, {}, { size = "1M", read-only = true }]
          |                   ^^^^
          |
          = help: write a size, as "1G"

        error: a disk has exactly one of `size` and `source`
         --> attest.toml:9:27
          |
        9 | disks = [{ size = "0G" }, {}, { size = "1M", read-only = true }]
          |                           ^^
          |
          = help: write `{ size = "1G" }` or `{ source = "disk.raw" }`

        error: an empty disk that cannot be written has no use
         --> attest.toml:9:58
          |
        9 | disks = [{ size = "0G" }, {}, { size = "1M", read-only = true }]
          |                                                          ^^^^
          |
          = help: leave `read-only` out, or give a `source`

        error: an MTU of 1279 is impossible
          --> attest.toml:11:7
           |
        11 | mtu = 1279
           |       ^^^^ IPv6 needs at least 1280
           |
           = help: write a number of bytes from 1280 to 65521

        error: an MTU of 65522 is impossible
          --> attest.toml:13:7
           |
        13 | mtu = 65522
           |       ^^^^^ a TAP takes no more than 65521
           |
           = help: write a number of bytes from 1280 to 65521
        "#);
}

#[test]
fn networks() {
    assert_snapshot!(toml("[networks.a]\nsubnet = \"10.0.0.1/24\"\nsubnet6 = \"10.0.0.0/8\"\n[networks.b]\nsubnet = \"ten\"\n[networks.c]\nsubnet = \"10.9.0.0/31\"\n[machines.m]\n"), @r#"
        error: `10.0.0.1/24` is no subnet
         --> attest.toml:2:10
          |
        2 | subnet = "10.0.0.1/24"
          |          ^^^^^^^^^^^^^ has bits beyond its prefix
          |
          = help: write "10.0.0.0/24"

        error: `10.0.0.0/8` is no subnet
         --> attest.toml:3:11
          |
        3 | subnet6 = "10.0.0.0/8"
          |           ^^^^^^^^^^^^ this is IPv4
          |
          = help: IPv4 subnets are given by `subnet`

        error: `ten` is no subnet
         --> attest.toml:5:10
          |
        5 | subnet = "ten"
          |          ^^^^^ an IPv4 address and a prefix length are needed
          |
          = help: write it as "10.0.0.0/24"

        error: 10.9.0.0/31 has no address for machine number 1
         --> attest.toml:7:10
          |
        7 | subnet = "10.9.0.0/31"
          |          ^^^^^^^^^^^^^ machine number n gets the n-th address
          |
          = help: a prefix of /30 or shorter has enough addresses
        "#);
    assert_snapshot!(toml("[networks.a]\nsubnet = \"10.0.0.0/16\"\n[networks.b]\nsubnet = \"10.0.7.0/24\"\n[machines.m]\n"), @r#"
        error: 10.0.7.0/24 of `b` overlaps with 10.0.0.0/16 of `a`
         --> attest.toml:4:10
          |
        2 | subnet = "10.0.0.0/16"
          |          ------------- the other
        3 | [networks.b]
        4 | subnet = "10.0.7.0/24"
          |          ^^^^^^^^^^^^^ has addresses of both networks
          |
          = help: leave it out to get a free one
        "#);
}

#[test]
fn cards() {
    assert_snapshot!(toml("[networks.lan]\n[machines.a]\n[machines.b]\nnetworks = [{ network = \"lan\", address = \"192.168.1.1\" }]\n[machines.c]\nnetworks = [\"lna\", \"lan\", \"lan\"]\n"), @r#"
        error: `a` and `b` have the same address 192.168.1.1
         --> attest.toml:4:42
          |
        2 | [machines.a]
          |           - derived for machine number 1
        3 | [machines.b]
        4 | networks = [{ network = "lan", address = "192.168.1.1" }]
          |                                          ^^^^^^^^^^^^^ given here
          |
          = help: leave it out, or take a number above 3: 1 to 3 are those of the machines

        error: there is no network `lna`
         --> attest.toml:6:13
          |
        6 | networks = ["lna", "lan", "lan"]
          |             ^^^^^ not in `[networks]`
          |
          = help: did you mean `lan`?

        error: `c` is on `lan` twice
         --> attest.toml:6:27
          |
        6 | networks = ["lna", "lan", "lan"]
          |                    -----  ^^^^^ a second card
          |                    |
          |                    the first
        "#);
    assert_snapshot!(toml(
        "[networks.lan]\n[networks.two]\n[machines.a]\nnetworks = [{ network = \"lan\", mac = \"02:00:00:00:00:01\" }, { network = \"two\", mac = \"02:00:00:00:00:01\" }]\n[machines.b]\nnetworks = [{ network = \"lan\", mac = \"ff:ff:ff:ff:ff:ff\" }, { network = \"two\", mac = \"2:3\" }]\n"
    ), @r#"
        error: two cards of `a` have the same MAC address 02:00:00:00:00:01
         --> attest.toml:4:86
          |
        4 | networks = [{ network = "lan", mac = "02:00:00:00:00:01" }, { network = "two", mac = "02:00:00:00:00:01" }]
          |                                      ------------------- given here                  ^^^^^^^^^^^^^^^^^^^ given here
          |
          = help: leave one out: derived MAC addresses never collide with each other

        error: `ff:ff:ff:ff:ff:ff` is no MAC address of a card
         --> attest.toml:6:38
          |
        6 | networks = [{ network = "lan", mac = "ff:ff:ff:ff:ff:ff" }, { network = "two", mac = "2:3" }]
          |                                      ^^^^^^^^^^^^^^^^^^^ this is the zero, the broadcast or a multicast address
          |
          = help: write six bytes in hexadecimal, as "02:00:00:00:00:01"

        error: `2:3` is no MAC address of a card
         --> attest.toml:6:86
          |
        6 | networks = [{ network = "lan", mac = "ff:ff:ff:ff:ff:ff" }, { network = "two", mac = "2:3" }]
          |                                                                                      ^^^^^ six pairs of hexadecimal digits are needed
          |
          = help: write six bytes in hexadecimal, as "02:00:00:00:00:01"
        "#);
    assert_snapshot!(toml(
        "[networks.lan]\n[machines.a]\nnetworks = [{ network = \"lan\", address = \"192.168.1.255\", address6 = \"fe80::1\" }]\n[machines.b]\nnetworks = [{ network = \"lan\", address = \"192.168.1.0\" }]\n[machines.c]\nnetworks = [{ network = \"lan\", address = \"10.0.0.1/8\" }, { address = \"x\" }]\n"
    ), @r#"
        error: `192.168.1.255` cannot be an address here
         --> attest.toml:3:42
          |
        3 | networks = [{ network = "lan", address = "192.168.1.255", address6 = "fe80::1" }]
          |                                          ^^^^^^^^^^^^^^^ the broadcast address
          |
          = help: write an address of 192.168.1.0/24, as "192.168.1.10"

        error: `fe80::1` cannot be an address here
         --> attest.toml:3:70
          |
        3 | networks = [{ network = "lan", address = "192.168.1.255", address6 = "fe80::1" }]
          |                                                                      ^^^^^^^^^ not in fd61:7474:6573:1::/64
          |
          = help: write an address of fd61:7474:6573:1::/64, as "fd61:7474:6573:1::a"

        error: `192.168.1.0` cannot be an address here
         --> attest.toml:5:42
          |
        5 | networks = [{ network = "lan", address = "192.168.1.0" }]
          |                                          ^^^^^^^^^^^^^ the network's own address
          |
          = help: write an address of 192.168.1.0/24, as "192.168.1.10"

        error: `10.0.0.1/8` cannot be an address here
         --> attest.toml:7:42
          |
        7 | networks = [{ network = "lan", address = "10.0.0.1/8" }, { address = "x" }]
          |                                          ^^^^^^^^^^^^ an address without prefix length is needed
          |
          = help: write an address of 192.168.1.0/24, as "192.168.1.10"

        error: `network` is missing in `machines.c.networks[1]`
         --> attest.toml:7:58
          |
        7 | networks = [{ network = "lan", address = "10.0.0.1/8" }, { address = "x" }]
          |                                                          ^^^^^^^^^^^^^^^^^ needs `network`
          |
          = help: add `network = …`
        "#);
}

#[test]
fn files() {
    assert_snapshot!(toml("[machines.a]\nkernel = \"bzImage\"\nimage = { initrd = \".\" }\ndisks = [{ source = \"disk.raw\" }]\nfiles = { \"etc/x\" = \"\", \"/y\" = { source = \"y\", mode = \"999\" }, \"/z\" = {} }\n"), @r#"
        error: `bzImage` cannot be read: No such file or directory (os error 2)
         --> attest.toml:2:10
          |
        2 | kernel = "bzImage"
          |          ^^^^^^^^^ no such file
          |
          = help: paths are relative to the manifest's directory, DIR

        error: `.` is a directory
         --> attest.toml:3:20
          |
        3 | image = { initrd = "." }
          |                    ^^^ a file is needed here

        error: `disk.raw` cannot be read: No such file or directory (os error 2)
         --> attest.toml:4:21
          |
        4 | disks = [{ source = "disk.raw" }]
          |                     ^^^^^^^^^^ no such file
          |
          = help: paths are relative to the manifest's directory, DIR

        error: `etc/x` is no absolute path
         --> attest.toml:5:11
          |
        5 | files = { "etc/x" = "", "/y" = { source = "y", mode = "999" }, "/z" = {} }
          |           ^^^^^^^ a path in the machine begins with `/`

        error: `y` cannot be read: No such file or directory (os error 2)
         --> attest.toml:5:43
          |
        5 | files = { "etc/x" = "", "/y" = { source = "y", mode = "999" }, "/z" = {} }
          |                                           ^^^ no such file
          |
          = help: paths are relative to the manifest's directory, DIR

        error: `999` is no mode
         --> attest.toml:5:55
          |
        5 | files = { "etc/x" = "", "/y" = { source = "y", mode = "999" }, "/z" = {} }
          |                                                       ^^^^^ octal, at most 7777
          |
          = help: write it as "0644" or "0755"

        error: a file has exactly one of `source` and `text`
         --> attest.toml:5:71
          |
        5 | files = { "etc/x" = "", "/y" = { source = "y", mode = "999" }, "/z" = {} }
          |                                                                       ^^
          |
          = help: write `{ source = "./app" }` or `{ text = "…" }`
        "#);
}

#[test]
fn tests_and_steps() {
    assert_snapshot!(toml("[machines.a]\n[tests.none]\n[tests.both]\nsteps = []\nrust = { binary = \"x\" }\n[tests.half]\nrust = { package = \"p\" }\n[tests.zero]\ntimeout = \"0s\"\nsteps = []\n"), @r#"
        error: a test without `steps` or `rust` tests nothing
         --> attest.toml:2:8
          |
        2 | [tests.none]
          |        ^^^^ nothing to do
          |
          = help: add `steps = [{ run = "…" }]`

        error: a test has either `steps` or `rust`, not both
         --> attest.toml:5:1
          |
        4 | steps = []
          | ----- the first
        5 | rust = { binary = "x" }
          | ^^^^ a second kind
          |
          = help: make two tests of it

        error: a Rust test is given by `binary`, or by `package` and `test`
         --> attest.toml:7:8
          |
        7 | rust = { package = "p" }
          |        ^^^^^^^^^^^^^^^^^
          |
          = help: write `rust = { package = "web", test = "lab" }`

        error: a time-out of zero ends everything before it begins
         --> attest.toml:9:11
          |
        9 | timeout = "0s"
          |           ^^^^ zero
          |
          = help: write how long it may take, as "10s"
        "#);
    assert_snapshot!(steps("{ run = \"true\" },\n{ on = \"c\", run = \"true\" },\n{ on = [\"a\", \"aa\"], run = \"true\" },\n{ on = \"a\" },\n{ on = \"a\", run = \"x\", argv = [\"y\"] },\n{ on = \"a\", rnu = \"x\" },"), @r#"
        error: which machine? The lab has several
         --> attest.toml:4:1
          |
        4 | { run = "true" },
          | ^^^^^^^^^^^^^^^^ `on` is missing
          |
          = help: add `on = "a"`

        error: there is no machine `c`
         --> attest.toml:5:8
          |
        5 | { on = "c", run = "true" },
          |        ^^^ not in `[machines]`
          |
          = help: did you mean `a`?

        error: there is no machine `aa`
         --> attest.toml:6:14
          |
        6 | { on = ["a", "aa"], run = "true" },
          |              ^^^^ not in `[machines]`
          |
          = help: did you mean `a`?

        error: a step needs one action
         --> attest.toml:7:1
          |
        7 | { on = "a" },
          | ^^^^^^^^^^^^ has none
          |
          = help: one of `run`, `argv`, `wait`, `unit`, `upload`, `download`, `reboot`, `parallel`

        error: a step has one action, not both `run` and `argv`
         --> attest.toml:8:24
          |
        8 | { on = "a", run = "x", argv = ["y"] },
          |             ---        ^^^^ a second
          |             |
          |             the first

        error: `tests.t.steps[5]` has no key `rnu`
         --> attest.toml:9:13
          |
        9 | { on = "a", rnu = "x" },
          |             ^^^ unknown key
          |
          = help: did you mean `run`?
        "#);
    assert_snapshot!(steps("{ on = \"a\", run = \"x\", stdout-matches = \"a(b\" },\n{ on = \"a\", argv = [] },\n{ on = \"a\", run = \"x\", status = 256 },\n{ on = \"a\", run = \"x\", status = 1, fails = true },\n{ on = \"a\", reboot = false },\n{ on = \"a\", reboot = true, stdout = \"\" },"), @r#"
        error: the regular expression `a(b` does not compile
         --> attest.toml:4:41
          |
        4 | { on = "a", run = "x", stdout-matches = "a(b" },
          |                                         ^^^^^ unclosed group
          |
          = help: in TOML, 'single quotes' keep backslashes as they are

        error: there is no program to run
         --> attest.toml:5:20
          |
        5 | { on = "a", argv = [] },
          |                    ^^
          |
          = help: write the program and its arguments: `argv = ["ls", "/"]`

        error: 256 is no exit code
         --> attest.toml:6:33
          |
        6 | { on = "a", run = "x", status = 256 },
          |                                 ^^^
          |
          = help: 0 to 255; a command that a signal ended has 128 + the signal's number

        error: `fails` and `status` exclude each other
         --> attest.toml:7:36
          |
        7 | { on = "a", run = "x", status = 1, fails = true },
          |                                 -  ^^^^^ any code but 0
          |                                 |
          |                                 exactly this code
          |
          = help: leave one out

        error: a step that does not reboot does nothing
         --> attest.toml:8:22
          |
        8 | { on = "a", reboot = false },
          |                      ^^^^^
          |
          = help: write `reboot = true`, or leave the step out

        error: `stdout` does not belong to `reboot`
         --> attest.toml:9:28
          |
        9 | { on = "a", reboot = true, stdout = "" },
          |                            ^^^^^^ only for `run` and `argv`
        "#);
    assert_snapshot!(steps("{ on = \"a\", wait = { port = 0 } },\n{ on = \"a\", wait = { port = 70000 } },\n{ on = \"a\", wait = { file = \"x\", closed = true } },\n{ on = \"a\", wait = {} , timeout = \"5s\" },\n{ on = \"a\", wait = { console = \"*\" } },"), @r#"
        error: there is no port 0
         --> attest.toml:4:29
          |
        4 | { on = "a", wait = { port = 0 } },
          |                             ^
          |
          = help: 1 to 65535

        error: `tests.t.steps[1].wait.port` cannot be the number 70000
         --> attest.toml:5:29
          |
        5 | { on = "a", wait = { port = 70000 } },
          |                             ^^^^^ expected a whole number from 0 to 65535

        error: `x` is no absolute path
         --> attest.toml:6:29
          |
        6 | { on = "a", wait = { file = "x", closed = true } },
          |                             ^^^ a path in the machine begins with `/`

        error: `closed` does not belong to `file`
         --> attest.toml:6:34
          |
        6 | { on = "a", wait = { file = "x", closed = true } },
          |                                  ^^^^^^ only for `port`

        error: a wait needs one condition
         --> attest.toml:7:20
          |
        7 | { on = "a", wait = {} , timeout = "5s" },
          |                    ^^ has none
          |
          = help: one of `port`, `file`, `socket`, `unit`, `succeeds`, `fails`, `process`, `console`

        error: `timeout` does not belong to `wait`
         --> attest.toml:7:25
          |
        7 | { on = "a", wait = {} , timeout = "5s" },
          |                         ^^^^^^^ only for `run` and `argv`
          |
          = help: write it inside: `wait = { …, timeout = "5s" }`

        error: the regular expression `*` does not compile
         --> attest.toml:8:32
          |
        8 | { on = "a", wait = { console = "*" } },
          |                                ^^^ repetition operator missing expression
          |
          = help: in TOML, 'single quotes' keep backslashes as they are
        "#);
    assert_snapshot!(steps("{ parallel = [{ parallel = [] }] },\n{ on = \"a\", parallel = [] },\n{ on = \"a\", upload = { from = \"gone\", to = \"rel\" } },\n{ on = \"a\", download = { from = \"/x\", to = \"../x\" } },\n{ on = \"a\", download = { from = \"/x\" } },"), @r#"
        error: parallel steps cannot hold parallel steps
         --> attest.toml:4:17
          |
        4 | { parallel = [{ parallel = [] }] },
          |                 ^^^^^^^^
          |
          = help: move its steps one level up: all of them run at once anyway

        error: `on` does not belong to `parallel`
         --> attest.toml:5:3
          |
        5 | { on = "a", parallel = [] },
          |   ^^
          |
          = help: give each of its steps its own `on`

        error: nothing to do at once
         --> attest.toml:5:24
          |
        5 | { on = "a", parallel = [] },
          |                        ^^
          |
          = help: give at least one step

        error: `gone` cannot be read: No such file or directory (os error 2)
         --> attest.toml:6:31
          |
        6 | { on = "a", upload = { from = "gone", to = "rel" } },
          |                               ^^^^^^ no such file
          |
          = help: paths are relative to the manifest's directory, DIR

        error: `rel` is no absolute path
         --> attest.toml:6:44
          |
        6 | { on = "a", upload = { from = "gone", to = "rel" } },
          |                                            ^^^^^ a path in the machine begins with `/`

        error: `../x` is not below the run's artifacts
         --> attest.toml:7:44
          |
        7 | { on = "a", download = { from = "/x", to = "../x" } },
          |                                            ^^^^^^ relative, without `..`
          |
          = help: write it as "app.log"

        error: `to` is missing in `tests.t.steps[4].download`
         --> attest.toml:8:24
          |
        8 | { on = "a", download = { from = "/x" } },
          |                        ^^^^^^^^^^^^^^^ needs `to`
          |
          = help: add `to = …`
        "#);
}

#[test]
fn empty_and_hostless() {
    assert_snapshot!(toml(""), @r#"
        error: the lab has no machine
         --> attest.toml:1:1
          |
        1 |
          | ^
          |
          = help: add one: `[machines.server]`, with nothing below it if you like
        "#);
    assert_snapshot!(json(""), @r#"
        error: this is no JSON: EOF while parsing a value
         --> attest.json:1:1
          |
        1 |
          | ^ here
        "#);
    assert_snapshot!(toml("# nothing yet\n"), @r#"
        error: the lab has no machine
         --> attest.toml:1:1
          |
        1 | # nothing yet
          | ^
          |
          = help: add one: `[machines.server]`, with nothing below it if you like
        "#);
}

#[test]
fn unreadable() {
    let directory = tempfile::tempdir().expect("a directory");
    assert_snapshot!(render(directory.path(), &error(&directory.path().join("gone.toml"))), @r#"
        error: the manifest gone.toml cannot be read: No such file or directory (os error 2)
         |
         = help: name a manifest or its directory: `attest run PATH`
        "#);
    assert_snapshot!(render(directory.path(), &error(directory.path())), @r#"
        error: the manifest attest.toml cannot be read: No such file or directory (os error 2)
         |
         = help: name a manifest or its directory: `attest run PATH`
        "#);
    assert_snapshot!(shown("attest.toml", b"[machines.a]\nname = \"\xff\"\n"), @r#"
        error: the manifest attest.toml is no text: byte 0xff in line 2 is no UTF-8
         |
         = help: a manifest is TOML or JSON in UTF-8
        "#);
}

#[test]
fn positions() {
    // Carriage returns, a byte order mark, tabs, and characters of several bytes or columns.
    assert_snapshot!(toml("[machines.a]\r\nmemory = \"1X\"\r\n"), @r#"
        error: `machines.a.memory` cannot be the text "1X"
         --> attest.toml:2:10
          |
        2 | memory = "1X"
          |          ^^^^ expected a size with its unit, as "256M" or "1G"
        "#);
    assert_snapshot!(toml("\u{feff}nmae = \"x\"\nmachines = { a = {} }\n"), @r#"
        error: the manifest has no key `nmae`
         --> attest.toml:1:1
          |
        1 | nmae = "x"
          | ^^^^ unknown key
          |
          = help: did you mean `name`?
        "#);
    assert_snapshot!(json("\u{feff}{\t\"name\": \"größe 漢字\",\t\"machines\": { \"a\": {\t\"memry\": 1 } } }"), @r#"
        error: `machines.a` has no key `memry`
         --> attest.json:1:44
          |
        1 | {    "name": "größe 漢字",    "machines": { "a": {    "memry": 1 } } }
          |                                                       ^^^^^^^ unknown key
          |
          = help: did you mean `memory`?
        "#);
    assert_snapshot!(toml("[tests.\"\\u001b[31m\"]\n[machines.a]\n"), @r#"
        error: a test's name is empty, or has `::` or control characters in it
         --> attest.toml:1:8
          |
        1 | [tests."\u001b[31m"]
          |        ^^^^^^^^^^^^
          |
          = help: `::` is kept for the tests in a Rust test binary

        error: a test without `steps` or `rust` tests nothing
         --> attest.toml:1:8
          |
        1 | [tests."\u001b[31m"]
          |        ^^^^^^^^^^^^ nothing to do
          |
          = help: add `steps = [{ run = "…" }]`
        "#);
}

#[test]
fn only_the_first_are_shown() {
    let steps: String = (0..50)
        .map(|_| "{ on = \"z\", run = \"true\" },\n")
        .collect();
    let text = toml(&format!("[machines.a]\n[tests.t]\nsteps = [\n{steps}]\n"));
    assert_eq!(text.matches("there is no machine `z`").count(), 20);
    assert!(
        text.ends_with("note: and 30 more; the first 20 are shown"),
        "{text}"
    );
}

#[test]
fn color_is_asked_for() {
    let error = "[machine.a]".parse::<Manifest>().expect_err("wrong");
    assert!(error.render(true).contains('\u{1b}') && !error.render(false).contains('\u{1b}'));
}

#[test]
fn code_has_paths_instead_of_places() {
    let mut file = attest_manifest::ManifestFile::default();
    file.machines.insert(
        "A".to_owned(),
        attest_manifest::Machine {
            vcpus: Some(0),
            ..Default::default()
        },
    );
    let error = file.plan().expect_err("wrong");
    assert_snapshot!(error.render(false), @r#"
        error: machines.A: `A` is no valid name of a machine
         |
         = help: write `a`

        error: machines.A.vcpus: 0 virtual CPUs are impossible
         |
         = help: write `vcpus = 2`
        "#);
    assert_snapshot!(error.to_string(), @r#"machines.A: `A` is no valid name of a machine (and 1 more problem)"#);
}

#[test]
fn units() {
    assert_snapshot!(steps("{ on = \"a\", wait = { unit = \"a/b\" } },\n{ on = \"a\", unit = { start = \"x\", stop = \"y\" } },\n{ on = \"a\", unit = {} },\n{ on = \"a\", wait = { port = 1, user = \"u\", stopped = true } },\n{ on = \"a\", unit = { reload = \"x\", user = \"\" }, user = \"u\" },"), @r#"
        error: `a/b` is no name of a unit
         --> attest.toml:4:29
          |
        4 | { on = "a", wait = { unit = "a/b" } },
          |                             ^^^^^
          |
          = help: write it as `nginx.service`

        error: a step with a unit has one action, not both `start` and `stop`
         --> attest.toml:5:35
          |
        5 | { on = "a", unit = { start = "x", stop = "y" } },
          |                      -----        ^^^^ a second
          |                      |
          |                      the first

        error: a step with a unit needs one action
         --> attest.toml:6:20
          |
        6 | { on = "a", unit = {} },
          |                    ^^ has none
          |
          = help: one of `start`, `stop`, `restart`, `reload`, `isolate`

        error: `user` does not belong to `port`
         --> attest.toml:7:32
          |
        7 | { on = "a", wait = { port = 1, user = "u", stopped = true } },
          |                                ^^^^ only for `unit`

        error: `stopped` does not belong to `port`
         --> attest.toml:7:44
          |
        7 | { on = "a", wait = { port = 1, user = "u", stopped = true } },
          |                                            ^^^^^^^ only for `unit`

        error: this is no name of a user
         --> attest.toml:8:43
          |
        8 | { on = "a", unit = { reload = "x", user = "" }, user = "u" },
          |                                           ^^

        error: `user` does not belong to `unit`
         --> attest.toml:8:49
          |
        8 | { on = "a", unit = { reload = "x", user = "" }, user = "u" },
          |                                                 ^^^^ only for `run` and `argv`
          |
          = help: write it inside: `unit = { …, user = "alice" }`
        "#);
}
