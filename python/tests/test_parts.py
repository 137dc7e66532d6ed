"""Set-ups and tests of scripts, run one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mock_server import Server
from support import SOURCE, Run, run

SCRIPT = """\
import attest
import functools

print("top level")


def told(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        print("told")
        return function(*args, **kwargs)
    return wrapper


@attest.setup
def database(lab, state):
    assert state is None
    lab["db"].succeed("touch /tmp/made")
    return {"token": "ü", "list": (1, 2.5, None, True)}


@attest.setup(after=database)
def nothing(): ...


@attest.test(setup=database)
@told
def reads(web_1, lab, state, *, db, more=1):
    assert (web_1, db) == (lab["web-1"], lab["db"])
    assert state == {"token": "ü"}, state
    with subtest("both"):
        t.assertEqual(more, 1)
    return "not of interest"


def test_fails(lab):
    lab["db"].succeed("exit 3")


def test_wants(lab, colour): ...


def test_yields(lab):
    yield 1


not_there = 7
"""


def part(kind: str, function: str, value: object = None, script: str = SCRIPT) -> Run:
    def prepare(server: Server) -> None:
        server.part(kind, function, value)

    return run(script, machines=["web-1", "db"], prepare=prepare)


def test_a_set_up_gives_on_what_it_returns() -> None:
    ran = part("setup", "database")
    assert (ran.code, ran.outcome) == (0, "passed"), ran.traceback
    assert ran.server.ended is not None
    assert ran.server.ended["value"] == {"token": "ü", "list": [1, 2.5, None, True]}
    # The rest of the script did not run.
    commands = [params["command"] for method, params in ran.server.calls if "exec" in method]
    assert commands == ["touch /tmp/made"]


def test_a_set_up_that_returns_nothing() -> None:
    ran = part("setup", "nothing", {"token": "ü"})
    assert ran.outcome == "passed"
    assert ran.server.ended is not None
    assert ran.server.ended.get("value") is None


def test_a_test_gets_what_it_takes() -> None:
    ran = part("test", "reads", {"token": "ü"})
    assert (ran.code, ran.outcome) == (0, "passed"), ran.traceback
    assert ran.stdout == "top level\ntold\n"
    assert ran.server.ended is not None
    assert ran.server.ended.get("value") is None
    begun = [params for method, params in ran.server.calls if method == "log.begin"]
    assert [params["message"] for params in begun if params.get("subtest")] == ["both"]


def test_the_only_machine_is_machine() -> None:
    def prepare(server: Server) -> None:
        server.part("test", "test_x")

    ran = run("def test_x(machine, db): assert machine is db\n", machines=["db"], prepare=prepare)
    assert ran.outcome == "passed", ran.traceback


def test_failures_are_those_of_the_script() -> None:
    ran = part("test", "test_fails")
    assert (ran.code, ran.outcome) == (1, "assertion")
    files = [line for line in ran.traceback if line.startswith("  File ")]
    line = SCRIPT.splitlines().index('    lab["db"].succeed("exit 3")') + 1
    assert files == [f'  File "<string>", line {line}, in test_fails']
    assert "RequestedAssertionFailed: command `exit 3` failed (exit code 3)" in ran.traceback


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            "test_wants",
            "`test_wants` takes `colour`, which is none of `db`, `web_1`, `lab`, `state`",
        ),
        ("test_yields", "`test_yields` has a `yield`, so that calling it does nothing"),
        ("not_there", "`not_there` is no function when the script has run, but int"),
        ("nowhere", "`nowhere` is no function when the script has run, but NoneType"),
    ],
)
def test_functions_that_cannot_be_called(function: str, message: str) -> None:
    ran = part("test", function)
    assert (ran.code, ran.outcome) == (1, "error")
    assert ran.traceback[-1] == f"ScriptError: {message}"
    assert str(SOURCE) not in "\n".join(ran.traceback)
    if function.startswith("test_"):
        assert ran.traceback[0].startswith('  File "<string>", line ')
        assert ran.traceback[1].startswith(f"    def {function}(")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{1, 2}", "it is set, which JSON cannot say; keep it in a file of a machine"),
        ("{'a': [b'x']}", "`['a'][0]` is bytes, which JSON cannot say"),
        ("{'a': {7: 1}}", "`['a']` is a dictionary with the key 7, which is no string"),
        ("[float('nan')]", "`[0]` is nan, which JSON cannot say"),
        ("[1 << 64]", "`[0]` is a number of more than 64 bits"),
        ("'\\ud800'", "it is a string with half a character"),
        ("'x' * (1 << 20)", "it is longer than 1048576 bytes; keep it in a file"),
        ("loop", "it is nested more than 64 deep"),
        ("(yes for yes in ())", "it is generator, which JSON cannot say"),
    ],
)
def test_what_is_no_state(value: str, message: str) -> None:
    script = f"loop = []\nloop.append(loop)\ndef make():\n    return {value}\n"
    ran = part("setup", "make", script=script)
    assert (ran.code, ran.outcome) == (1, "error")
    assert (
        f"ScriptError: what the set-up `make` returned is no state: {message}"
        in (ran.traceback[-1])
    )
    assert ran.server.ended is not None
    assert "value" not in ran.server.ended


def test_a_part_that_exits() -> None:
    ran = part("test", "test_x", script="def test_x(): raise SystemExit(3)\n")
    assert (ran.code, ran.outcome) == (3, "exit")


def test_scripts_import_what_stands_next_to_them() -> None:
    def prepare(server: Server) -> None:
        (server.directory / "helper.py").write_text("VALUE = 7\n")
        (server.directory / "attest.py").write_text("raise SystemError('not me')\n")
        server.part("setup", "make")

    script = "import attest, helper\n@attest.setup\ndef make(): return helper.VALUE\n"
    ran = run(script, prepare=prepare)
    assert ran.outcome == "passed", ran.traceback
    assert ran.server.ended is not None
    assert ran.server.ended["value"] == 7


def test_decorated_functions_stay_as_they_are() -> None:
    import attest

    def function(lab: Any) -> None: ...

    assert attest.setup(function) is function
    assert attest.setup(after=function)(function) is function
    assert attest.test(function) is function
    assert attest.test(setup=None)(function) is function
    assert Path(attest.__file__ or "").is_file()
