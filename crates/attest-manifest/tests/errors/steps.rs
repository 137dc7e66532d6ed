//! Mistakes in tests and their steps.

use insta::assert_snapshot;

use crate::toml;

/// A test with these steps on two machines.
fn steps(steps: &str) -> String {
    toml(&format!(
        "machines = {{ a = {{}}, b = {{}} }}\n[tests.t]\nsteps = [\n{steps}\n]\n"
    ))
}

#[test]
fn tests_and_steps() {
    assert_snapshot!(toml("[machines.a]\n[tests.none]\n[tests.both]\nsteps = []\nrust = { binary = \"x\" }\n[tests.half]\nrust = { package = \"p\" }\n[tests.zero]\ntimeout = \"0s\"\nsteps = []\n"), @r#"
        error: a test without `steps`, `script` or `rust` tests nothing
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
