"""How scripts end, and what people get to see of it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from mock_server import Refusal, Server
from support import RUNNER, SOURCE, Run, run, start


def shown(ran: Run) -> str:
    """The traceback, without the marks that only some Pythons draw."""
    marks = re.compile(r"^\s*[~^]+\s*$")
    return "\n".join(line for line in ran.traceback if not marks.match(line))


def test_a_script_that_passes() -> None:
    ran = run("print('hello')\nmachine.succeed('true')\n")
    assert (ran.code, ran.outcome) == (0, "passed")
    assert "hello\n" in ran.stdout
    assert ran.stderr == ""
    assert "Test will time out and terminate in 3600 seconds" in ran.server.log()
    assert ("machine.sync", {"lab": 1, "machine": "machine"}) in ran.server.calls


def test_start_scripts_have_the_environment_of_the_script() -> None:
    ran = run(
        """
import os
machine.succeed("true")
machine.shutdown()
os.environ["NIX_DISK_IMAGE"] = "/elsewhere"
os.environ["LATIN"] = os.fsdecode(b"\\xff")
machine.start()
machine.shutdown()
machine.start()
"""
    )
    assert (ran.code, ran.outcome) == (0, "passed"), ran.stderr
    told = [params for method, params in ran.server.calls if method == "lab.environment"]
    assert len(told) == 1
    assert told[0]["environment"]["NIX_DISK_IMAGE"] == "/elsewhere"
    assert "LATIN" not in told[0]["environment"]


ASSERTION = """\
def check(name):
    # A comment.
    machine.succeed(
        f"cat {name}; exit 3",
    )

with subtest("files"):
    check("/nope")
"""


def test_a_failed_command() -> None:
    ran = run(ASSERTION)
    assert (ran.code, ran.outcome) == (1, "assertion")
    assert (
        shown(ran)
        == """\
Traceback (most recent call last):
  File "<string>", line 8, in <module>
    check("/nope")
  File "<string>", line 3, in check
    machine.succeed(

RequestedAssertionFailed: command `cat /nope; exit 3` failed (exit code 1)"""
    ) or sys.version_info >= (3, 13)
    assert ran.traceback[-1] == (
        "RequestedAssertionFailed: command `cat /nope; exit 3` failed (exit code 1)"
    )
    assert ran.server.log("test-error")[1:] == ran.traceback
    assert ran.server.log("test-error")[0].startswith('Test "files" failed with error: "command')
    assert "output: " in ran.server.log("info")
    stderr = [line for line in ran.server.log("info") if line.startswith("stderr: ")]
    assert "No such file or directory" in stderr[0]
    assert ran.stderr == ""
    ends = [params for method, params in ran.server.calls if method == "log.end"]
    assert ends[-1]["error"] == "command `cat /nope; exit 3` failed (exit code 1)"


def test_a_failed_assertion_of_unittest() -> None:
    ran = run("t.assertEqual(1, 2, 'no')\n")
    assert (ran.code, ran.outcome) == (1, "assertion")
    assert (
        shown(ran)
        == """\
Traceback (most recent call last):
  File "<string>", line 1, in <module>
    t.assertEqual(1, 2, 'no')

RequestedAssertionFailed: 1 != 2 : no"""
    )


def test_a_machine_that_breaks() -> None:
    def prepare(server: Server) -> None:
        def fail(params: object, data: object) -> None:
            raise Refusal("machine", "machine `machine` ended: crashed", machine="machine")

        server.answers["machine.exec"] = fail

    ran = run("machine.succeed('true')\n", prepare=prepare)
    assert (ran.code, ran.outcome) == (1, "machine-error")
    assert (
        shown(ran)
        == """\
Traceback (most recent call last):
  File "<string>", line 1, in <module>
    machine.succeed('true')

MachineError: machine `machine` ended: crashed"""
    )


def test_other_errors_show_all_frames_but_ours() -> None:
    ran = run("import json\n\ndef f():\n    json.loads('{')\n\nretry(lambda last: f())\n")
    assert (ran.code, ran.outcome) == (1, "error")
    files = [line.split('"')[1] for line in ran.traceback if line.startswith("  File ")]
    assert files[:3] == ["<string>"] * 3
    assert files[3].endswith("json/__init__.py")
    assert not any("attest" in file for file in files)
    assert "    json.loads('{')" in ran.traceback
    assert ran.traceback[-1].startswith("json.decoder.JSONDecodeError: ")


def test_chains_of_errors_are_shown() -> None:
    script = """\
try:
    machine.succeed("false")
except Exception as error:
    raise ValueError("after that") from error
"""
    ran = run(script)
    text = shown(ran)
    assert "The above exception was the direct cause" in text
    assert "command `false` failed" in text
    assert text.count('File "<string>"') == 2
    assert text.endswith("ValueError: after that")


def test_a_failure_while_another_one_is_handled() -> None:
    ran = run("try:\n    t.assertEqual(1, 2)\nfinally:\n    [][0]\n")
    assert (
        shown(ran)
        == """\
Traceback (most recent call last):
  File "<string>", line 2, in <module>
    t.assertEqual(1, 2)

RequestedAssertionFailed: 1 != 2

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "<string>", line 4, in <module>
    [][0]
IndexError: list index out of range"""
    )


def test_plain_asserts() -> None:
    ran = run("x = 1\nassert x == 2, 'x is wrong'\n")
    assert ran.code == 1
    assert shown(ran).endswith("    assert x == 2, 'x is wrong'\nAssertionError: x is wrong")


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("raise SystemExit", 0),
        ("exit_code = 0; import sys; sys.exit(exit_code)", 0),
        ("import sys; sys.exit(7)", 7),
        ("import sys; sys.exit('words')", 1),
        ("log.error('words')", 1),
    ],
)
def test_exits(statement: str, code: int) -> None:
    ran = run(statement)
    assert (ran.code, ran.outcome) == (code, "exit")
    if "words" in statement:
        assert "words" in ran.server.log()


def test_syntax_errors_have_file_line_and_caret() -> None:
    ran = run("a = 1\nif a\n    pass\n")
    assert (ran.code, ran.outcome) == (1, "error")
    assert ran.traceback[:3] == ['  File "<string>", line 2', "    if a", "        ^"]
    assert ran.traceback[3].startswith("SyntaxError: ")
    assert len(ran.traceback) == 4


def test_a_script_can_have_a_name_of_its_own() -> None:
    ran = run("1 / 0\n", name="/tests/mine.py")
    assert shown(ran) == (
        'Traceback (most recent call last):\n  File "/tests/mine.py", line 1, in <module>\n'
        "    1 / 0\nZeroDivisionError: division by zero"
    )


def test_a_script_that_is_missing() -> None:
    def prepare(server: Server) -> None:
        server.described["script"] = {"path": "/nowhere/script", "name": "<string>"}

    ran = run(None, prepare=prepare)
    assert (ran.code, ran.outcome) == (1, "error")
    assert "No such file or directory: '/nowhere/script'" in ran.traceback[-1]


def test_a_script_in_another_encoding() -> None:
    text = "# -*- coding: latin-1 -*-\nassert 'ü'.encode() == b'\\xc3\\xbc'\n"

    def prepare(server: Server) -> None:
        path = server.directory / "latin"
        path.write_bytes(text.encode("latin-1"))
        server.described["script"] = {"path": str(path), "name": "<string>"}

    assert run(None, prepare=prepare).code == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("machine.succeed(['a'])", "TypeError: succeed() takes shell commands as strings, not"),
        ("machine.execute(None)", "TypeError: execute() takes shell commands as strings, not No"),
        ("machine.fail('a\\0b')", "ValueError: the command of fail() has a NUL character at po"),
        ("machine.succeed('a', time=1)", "TypeError: "),
        ("machine.wait_for_unit(7)", "TypeError: the unit of wait_for_unit() must be a string"),
        ("machine.wait_for_file('a\\0')", "ValueError: the file name of wait_for_file() has a NUL"),
        ("machine.wait_for_open_port('x')", "TypeError: a TCP port must be a number, not 'x'"),
        ("machine.wait_for_open_port(0)", "ValueError: a TCP port is between 1 and 65535, not 0"),
        ("machine.succeed('true', timeout='1m')", "TypeError: timeout must be seconds or a timed"),
        ("retry(lambda last: 1, float('nan'))", "ValueError: timeout must be a finite number"),
        ("machine.wait_for_console_text('(')", "error: missing ), unterminated subpattern"),
        ("retry(7)", "TypeError: retry() needs something to call, not int"),
        ("create_machine(7)", "TypeError: create_machine() takes a start command as a string"),
        ("machine.no_such_method()", "AttributeError: 'QemuMachine' object has no attribute"),
        ("no_such_machine.succeed('true')", "NameError: name 'no_such_machine' is not defined"),
    ],
)
def test_bad_arguments_name_themselves(line: str, message: str) -> None:
    ran = run(line)
    assert (ran.code, ran.outcome) == (1, "error")
    text = shown(ran)
    assert message in text.replace("re.PatternError", "error").replace("re.error", "error")
    assert f"    {line}" in ran.traceback
    assert str(SOURCE) not in text


@pytest.mark.parametrize(
    ("kind", "line", "message"),
    [
        ("usage", "machine.send_key('no-such')", "ValueError: bad key"),
        ("unsupported", "machine.send_key('no-such')", "MachineError: machine `machine`: bad key"),
        ("infrastructure", "machine.block()", "MachineError: machine `machine`: bad key"),
    ],
)
def test_refusals_of_attest(kind: str, line: str, message: str) -> None:
    def prepare(server: Server) -> None:
        def refuse(params: object, data: object) -> None:
            raise Refusal(kind, "bad key")

        server.answers["machine.send_keys"] = server.answers["machine.link"] = refuse

    ran = run(line, prepare=prepare)
    assert ran.code == 1
    assert ran.traceback[-1] == message


def test_waits_say_what_was_seen_last() -> None:
    ran = run("machine.wait_until_succeeds('exit 9', timeout=0.1)")
    assert ran.outcome == "assertion"
    assert "last seen: exit code 9" in ran.server.log()
    assert re.match(
        r"RequestedAssertionFailed: action timed out after 0\.\d\d seconds \(timeout=0\.1\)$",
        ran.traceback[-1],
    )


def test_units_without_the_agent() -> None:
    """A server that cannot wait for units: systemctl is asked instead."""

    def prepare(server: Server) -> None:
        def refuse(params: object, data: object) -> None:
            raise Refusal("unsupported", "no D-Bus here")

        server.answers["machine.wait_unit"] = refuse

    script = """\
machine.wait_for_unit("multi-user.target")
machine.execute("systemd-run --unit=bad -- false")
with t.assertRaisesRegex(Exception, 'unit "bad.service" reached state "failed"'):
    machine.wait_for_unit("bad.service", timeout=60)
with t.assertRaisesRegex(Exception, 'unit "no.service" is inactive and there are no pending jobs'):
    machine.wait_for_unit("no.service", timeout=60)
"""
    assert run(script, prepare=prepare).code == 0


def test_start_all_starts_at_once() -> None:
    together = threading.Barrier(3)

    def prepare(server: Server) -> None:
        def start_machine(params: dict[str, Any], data: object) -> dict[str, Any]:
            # Nobody comes through before all are there.
            together.wait(30)
            server.machines[params["machine"]].boot()
            return {"pid": 1, "started": True}

        server.answers["machine.start"] = start_machine

    ran = run("start_all()\n", machines=["a", "b", "c"], prepare=prepare)
    assert ran.code == 0, ran.traceback
    assert ran.server.log().count("starting vm") == 3


def test_start_all_tells_who_did_not_start() -> None:
    def prepare(server: Server) -> None:
        def start_machine(params: dict[str, Any], data: object) -> dict[str, Any]:
            if params["machine"] == "b":
                raise Refusal("machine", "machine `b`: no such file: run-b-vm", machine="b")
            return {"pid": 1, "started": True}

        server.answers["machine.start"] = start_machine

    ran = run("start_all()\n", machines=["a", "b", "c"], prepare=prepare)
    assert (ran.code, ran.outcome) == (1, "machine-error")
    assert ran.traceback[-1] == "MachineError: machine `b`: no such file: run-b-vm"


def test_execute_without_a_status_survives_the_end_of_the_machine() -> None:
    script = """\
t.assertEqual(machine.execute("poweroff", check_return=False), (-1, ""))
machine.wait_for_shutdown()
machine.start()
with t.assertRaisesRegex(Exception, "ended"):
    machine.execute("poweroff")
"""
    assert run(script).code == 0


def test_the_environment_is_clean() -> None:
    ran = run(
        "assert 'ATTEST_RPC_FD' not in os.environ\nimport subprocess\n"
        "print(subprocess.run(['ls', '/proc/self/fd'], stdout=-1, text=True).stdout.split())"
    )
    assert ran.code == 0
    # The connection is not handed on to what a script starts: 0, 1, 2, and ls's own one.
    assert ran.stdout.splitlines()[-1] == "['0', '1', '2', '3']"


def test_scripts_do_not_inherit_this_packages_future() -> None:
    script = "def f(a: int): pass\nassert f.__annotations__ == {'a': int}, f.__annotations__\n"
    assert run(script).code == 0


def test_ctrl_c_reaches_the_script() -> None:
    with Server() as server:
        server.script("try:\n    machine.succeed('sleep 100')\nfinally:\n    print('cleaned up')\n")
        process = start(server)
        server.wait_for(lambda: any(method == "machine.exec" for method, _ in server.calls))
        process.send_signal(signal.SIGINT)
        stdout, _ = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "cleaned up" in stdout
        assert server.cancelled
        assert server.ended is not None
        assert server.ended["outcome"] == "interrupted"
        assert server.ended["traceback"] == [
            "Traceback (most recent call last):",
            '  File "<string>", line 2, in <module>',
            "    machine.succeed('sleep 100')",
            *[line for line in server.ended["traceback"] if "^" in line],
            "KeyboardInterrupt",
        ]


def test_a_script_can_catch_ctrl_c_and_go_on() -> None:
    with Server() as server:
        server.script(
            "try:\n    machine.wait_until_succeeds('false')\nexcept KeyboardInterrupt:\n    pass\n"
            "machine.succeed('true')\n"
        )
        process = start(server)
        server.wait_for(lambda: any(method == "machine.wait" for method, _ in server.calls))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 0


def test_attest_that_vanishes_ends_the_script() -> None:
    with Server() as server:
        server.script("machine.succeed('true')\nmachine.succeed('sleep 100')\n")
        process = start(server)
        server.wait_for(lambda: str(server.calls).count("machine.exec") == 2)
        server.close()
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "attest is gone" in stderr
        assert "machine.succeed('sleep 100')" in stderr


def test_without_attest() -> None:
    for value in (None, "x", "77"):
        env = {name: text for name, text in os.environ.items() if name != "ATTEST_RPC_FD"}
        if value is not None:
            env["ATTEST_RPC_FD"] = value
        done = subprocess.run(
            [sys.executable, str(RUNNER)], env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 3
        assert done.stderr.startswith("attest: ATTEST_RPC_FD is ")
        assert done.stderr.count("\n") == 1


def test_the_package_is_compiled_once_whatever_is_said_of_scripts(tmp_path: Path) -> None:
    package = tmp_path / "attest"
    shutil.copytree(SOURCE / "attest", package, ignore=shutil.ignore_patterns("__pycache__"))

    def outline(**more: str) -> None:
        (tmp_path / "helper.py").write_text("HELP = 1\n")
        (tmp_path / "script.py").write_text("import helper\n")
        done = subprocess.run(
            [sys.executable, str(package / "_runner.py"), "outline", "script.py"],
            cwd=tmp_path,
            env={**os.environ, **more},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def compiled() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in tmp_path.rglob("__pycache__/*.pyc")}

    outline(PYTHONDONTWRITEBYTECODE="1")
    first = compiled()
    sources = {path.stem for path in package.rglob("*.py")}
    assert {path.name.split(".")[0] for path in first} == sources
    outline(PYTHONDONTWRITEBYTECODE="1")
    assert compiled() == first


def old_pythons() -> list[Path]:
    """Pythons on this host that are too old."""
    found = Path.home().glob(".pyenv/versions/*/bin/python")
    return [path for path in found if re.match(r"2\.|3\.[0-8]\.", path.parts[-3])]


@pytest.mark.skipif(not old_pythons(), reason="this host has no old Python")
def test_a_python_that_is_too_old_says_so() -> None:
    for python in old_pythons():
        done = subprocess.run([python, RUNNER], capture_output=True, text=True, check=False)
        assert done.returncode == 3
        assert done.stderr.startswith("attest: scripts need CPython 3.9 or newer, and ")


def test_polling_conditions_end_the_script_by_name() -> None:
    script = """\
@polling_condition
def the_sky_is_up():
    return False

with the_sky_is_up:
    machine.succeed("true")
"""
    ran = run(script)
    assert (ran.code, ran.outcome) == (1, "assertion")
    assert ran.traceback[-1].endswith("Polling condition failed: the_sky_is_up")
    assert "Checking polling condition 'the_sky_is_up'" in [
        params["message"] for method, params in ran.server.calls if method == "log.begin"
    ]


def test_scripts_of_attests_own() -> None:
    def prepare(server: Server) -> None:
        server.described["surface"] = "attest"
        for machine in server.machines.values():
            machine.kind = "nspawn"
            machine.boot()

    script = """\
t.assertEqual(lab.names, ["db", "web-1"])
t.assertIs(lab["db"], db)
t.assertIs(lab["web-1"], web_1)
t.assertEqual(web_1.exec(["printf", "%s", "a b"]).stdout, b"a b")

@polling_condition
def holds():
    return db.execute("true")[0] == 0

with holds, subtest("both at once"):
    db.succeed("true")
retry(lambda last: web_1.exec("true").status == 0)
with t.assertRaisesRegex(Exception, "failed"):
    db.exec("false", check=True)
"""
    ran = run(script, name="/tests/own.py", machines=["web-1", "db"], prepare=prepare)
    assert (ran.code, ran.outcome) == (0, "passed"), ran.traceback
    # Nothing but what the script says: attest itself says the rest.
    assert ran.stdout == ""
    assert not any("will time out" in line for line in ran.server.log())


def test_failures_of_threads_are_shown_as_those_of_the_script() -> None:
    script = """\
import threading

def work():
    machine.succeed("false")

thread = threading.Thread(target=work, name="worker")
thread.start()
thread.join()
print("gone on")
"""
    ran = run(script)
    assert ran.code == 0
    assert "gone on" in ran.stdout
    assert ran.stderr == ""
    shown = [line for line in ran.server.log("test-error") if "^" not in line]
    assert shown == [
        "Exception in thread worker:",
        "Traceback (most recent call last):",
        '  File "<string>", line 4, in work',
        '    machine.succeed("false")',
        "",
        "RequestedAssertionFailed: command `false` failed (exit code 1)",
    ]


def test_texts_without_measure_are_taken_apart_or_refused() -> None:
    script = """\
log.info("x" * 20_000_000)
log.info("line\\n" * 1_000_000)
with log.nested("y" * 20_000_000):
    pass
try:
    machine.succeed("z" * 20_000_000)
except ValueError as error:
    log.info(str(error))
raise ValueError("w" * 20_000_000)
"""
    ran = run(script)
    assert (ran.code, ran.outcome) == (1, "error")
    told = ran.server.log("info")
    assert sum(line.count("x") for line in told if set(line) == {"x"}) == 20_000_000
    assert sum(line.split().count("line") for line in told) == 1_000_000
    assert any("bytes long: attest takes 16777216" in line for line in told)
