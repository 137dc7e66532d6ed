//! Every kind of error, as a user sees it.

mod devices;
mod images;
mod setups;
mod steps;

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
    assert_snapshot!(toml("[machines.a]\nbackend = \"xen\"\naccelerator = \"hvf\"\nmachine-type = \"q53\"\nimage = 3\n"), @r#"
        error: `xen` is none of the values of `machines.a.backend`
         --> attest.toml:2:11
          |
        2 | backend = "xen"
          |           ^^^^^ expected "qemu" or "firecracker" or "cloud-hypervisor" or "nspawn" or "ssh"

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
fn names_of_cards() {
    assert_snapshot!(toml(
        "[networks.lan]\n[networks.wan]\n[machines.a]\nnetworks = [{ network = \"lan\", interface = \"a/b\" }, \
         { network = \"wan\", interface = \"longer-than-cards\" }]\n[machines.b]\nnetworks = [\
         { network = \"lan\", interface = \"up\" }, { network = \"wan\", interface = \"up\" }]\n"
    ));
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

        error: a test without `steps`, `script` or `rust` tests nothing
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
