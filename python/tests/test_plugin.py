"""The plugin of pytest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support import FAKE_ATTEST, SOURCE

pytest_plugins = ["pytester"]


@pytest.fixture
def log(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a manifest, and where the fake attest writes what it was asked."""
    log = pytester.path / "attest.log"
    monkeypatch.setenv("ATTEST", str(FAKE_ATTEST))
    monkeypatch.setenv("FAKE_ATTEST_LOG", str(log))
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    # The plugin is there twice where the package was installed from this checkout.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makefile(".toml", attest="[machines.web-1]\n[machines.db]\n")
    return log


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "attest.pytest_plugin", *arguments)


def calls(log: Path, method: str) -> list[tuple[int, dict[str, Any]]]:
    """The calls of a method, each with the process that was asked."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [(process, params) for process, name, params in lines if name == method]


def test_each_test_has_a_lab_of_its_own(pytester: pytest.Pytester, log: Path) -> None:
    pytester.makepyfile(
        """
        def test_lab(lab):
            assert lab.names == ["db", "web-1"]
            lab["db"].succeed("touch /tmp/here")

        def test_machines(db, web_1):
            assert web_1.name == "web-1"
            db.fail("test -e /tmp/here")
        """
    )
    run(pytester, "-v").assert_outcomes(passed=2)
    assert len(calls(log, "lab.open")) == 2
    assert len(calls(log, "lab.close")) == 2
    # One attest for all.
    assert len({process for process, _ in calls(log, "lab.open")}) == 1


@pytest.mark.parametrize(
    ("scope", "labs"), [("class", 3), ("module", 2), ("session", 1), ("package", 1)]
)
def test_labs_are_shared(pytester: pytest.Pytester, log: Path, scope: str, labs: int) -> None:
    header = f"import pytest\npytestmark = pytest.mark.lab(shared={scope!r})\n"
    package = pytester.mkpydir("package")
    (package / "test_one.py").write_text(
        header
        + "class TestA:\n    def test_1(self, db): pass\n    def test_2(self, db): pass\n"
        + "class TestB:\n    def test_1(self, db): pass\n"
    )
    (package / "test_two.py").write_text(header + "class TestA:\n    def test_1(self, db): pass\n")
    run(pytester).assert_outcomes(passed=4)
    assert len(calls(log, "lab.open")) == labs
    assert len(calls(log, "lab.close")) == labs


def test_manifests_by_marker_and_option(pytester: pytest.Pytester, log: Path) -> None:
    pytester.mkdir("sub")
    (pytester.path / "sub/other.toml").write_text("[machines.other]\n")
    pytester.makeini("[pytest]\nattest_manifest = sub/other.toml\n")
    pytester.makepyfile(
        """
        import pytest

        def test_option(other): pass

        @pytest.mark.lab("attest.toml", start=False, backend="nspawn")
        def test_marker(db):
            assert not db.booted

        @pytest.mark.lab(manifest="attest.toml", snapshots="never")
        def test_keyword(lab): assert "db" in lab
        """
    )
    run(pytester, "--strict-markers").assert_outcomes(passed=3)
    opened = [params for _, params in calls(log, "lab.open")]
    assert [Path(params["manifest"]).name for params in opened] == [
        "other.toml",
        "attest.toml",
        "attest.toml",
    ]
    assert opened[1]["backend"] == "nspawn"
    assert [params.get("snapshots") for params in opened] == [None, None, "never"]


def test_options(pytester: pytest.Pytester, log: Path) -> None:
    pytester.makepyfile("def test_a(lab): assert 'test_a' in str(lab.output)")
    output = pytester.path / "results"
    run(pytester, "--attest-backend=qemu", f"--attest-output={output}").assert_outcomes(passed=1)
    ((_, params),) = calls(log, "lab.open")
    assert params["backend"] == "qemu"
    assert params["output"] == str(output / "test_options.py__test_a")


def test_failures_show_the_test_and_the_consoles(pytester: pytest.Pytester, log: Path) -> None:
    pytester.makepyfile(
        """
        def test_it(db, lab):
            db.execute("for n in $(seq 100); do echo line $n >&2; done")
            db.succeed("echo last words >&2; exit 3")
        """
    )
    result = run(pytester)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            '>*db.succeed("echo last words >&2; exit 3")',
            "E*RequestedAssertionFailed: command `echo last words >&2; exit 3` failed *",
            "*console of db*",
            "(the last 60 of *",
            "line 100",
            "last words",
            "*console of web-1*",
            "web-1 login:*",
        ]
    )
    # None of this package's own code.
    assert "def succeed" not in result.stdout.str()
    assert "_execute" not in result.stdout.str()


def test_names_that_are_no_machines(pytester: pytest.Pytester, log: Path) -> None:
    pytester.makepyfile("def test_a(no_such_machine): pass")
    result = run(pytester)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "*there is no fixture `no_such_machine`, and the lab has no machine of that name: "
            "its machines are db, web_1*"
        ]
    )


def test_without_a_manifest(pytester: pytest.Pytester, log: Path) -> None:
    (pytester.path / "attest.toml").unlink()
    pytester.makepyfile("def test_a(lab): pass\ndef test_b(db): pass\ndef test_c(): pass\n")
    result = run(pytester)
    result.assert_outcomes(errors=2, passed=1)
    result.stdout.fnmatch_lines(["*there is no attest.toml above the test*"])
    result.stdout.fnmatch_lines(["*fixture 'db' not found*"])
    # Nothing was started that was not needed.
    assert not log.exists()


def test_mistakes_in_the_marker(pytester: pytest.Pytester, log: Path) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.lab(shared="universe")
        def test_a(lab): pass

        @pytest.mark.lab(colour=1)
        def test_b(lab): pass
        """
    )
    result = run(pytester)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*it is one of class, module, package, session*"])
    result.stdout.fnmatch_lines(["*not colour*"])


def test_parameters_and_fixtures_of_others_win(pytester: pytest.Pytester, log: Path) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def db(): return "mine"

        @pytest.fixture
        def both(db, web_1): return (db, web_1.name)

        def test_fixture(both): assert both == ("mine", "web-1")

        @pytest.mark.parametrize("n", [1, 2])
        def test_parameter(n, web_1): assert n and web_1.name == "web-1"
        """
    )
    run(pytester).assert_outcomes(passed=3)


def test_workers_of_xdist_have_labs_of_their_own(pytester: pytest.Pytester, log: Path) -> None:
    pytest.importorskip("xdist")
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("n", range(4))
        @pytest.mark.lab(shared="session")
        def test_a(n, db): db.succeed("true")
        """
    )
    result = run(pytester, "-p", "xdist", "-n", "2", f"--attest-output={pytester.path / 'out'}")
    result.assert_outcomes(passed=4)
    opened = calls(log, "lab.open")
    assert len({process for process, _ in opened}) == len(opened) == 2
    assert {Path(params["output"]).name for _, params in opened} == {"session.gw0", "session.gw1"}


SET_UP = """
import pytest

def prepare(lab):
    lab["db"].succeed("echo made > /tmp/made")
    return {"list": []}

pytestmark = pytest.mark.lab(setup=prepare)

@pytest.mark.parametrize("n", range(3))
def test_a(n, db, lab_state):
    assert lab_state == {"list": []}
    lab_state["list"].append(n)
    assert db.succeed("cat /tmp/made") == "made\\n"
    db.succeed("echo changed > /tmp/made")

@pytest.mark.lab(setup=None)
def test_without(db, lab_state):
    assert lab_state is None
    db.fail("test -e /tmp/made")
"""


def test_each_test_has_a_fork_of_what_the_set_up_left(pytester: pytest.Pytester, log: Path) -> None:
    pytester.makepyfile(SET_UP)
    run(pytester).assert_outcomes(passed=4)
    # One that is set up, which the first test has, and one without.
    assert len(calls(log, "lab.open")) == 2
    assert len(calls(log, "lab.snapshot")) == 1
    assert [params for _, params in calls(log, "lab.fork")] == [{"snapshot": 1}] * 2
    assert len(calls(log, "lab.close")) == 4
    assert len(calls(log, "snapshot.drop")) == 1


def test_where_nothing_is_saved_each_test_is_set_up(
    pytester: pytest.Pytester, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_ATTEST_SAVES_NOTHING", "1")
    pytester.makepyfile(test_one=SET_UP, test_two=SET_UP)
    result = run(pytester)
    result.assert_outcomes(passed=8, warnings=1)
    result.stdout.fnmatch_lines(
        ["*PytestWarning: each test sets up a lab of its own: db: the backend `nspawn` has no *"]
    )
    assert len(calls(log, "lab.open")) == len(calls(log, "lab.close")) == 8
    assert len(calls(log, "lab.snapshot")) == 2
    assert calls(log, "lab.fork") == []


def test_a_set_up_that_fails_fails_its_tests(pytester: pytest.Pytester, log: Path) -> None:
    pytester.makepyfile(
        """
        import pytest

        def prepare(lab):
            lab["db"].succeed("exit 7")

        @pytest.mark.lab(setup=prepare)
        def test_a(lab): pass

        @pytest.mark.lab(setup="prepare")
        def test_b(lab): pass
        """
    )
    result = run(pytester)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(
        ["*command `exit 7` failed*", "*lab(setup='prepare'): it is a function that takes a lab*"]
    )
    assert len(calls(log, "lab.open")) == len(calls(log, "lab.close")) == 1
