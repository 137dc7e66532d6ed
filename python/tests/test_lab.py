"""Labs of attest's own, from plain Python."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

import attest
from support import FAKE_ATTEST, SOURCE


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTEST", str(FAKE_ATTEST))


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "attest.toml"
    path.write_text("[networks.lan]\n[machines.web-1]\n[machines.db]\n")
    return path


@pytest.fixture
def lab(manifest: Path) -> Iterator[attest.Lab]:
    with attest.lab(manifest) as lab:
        yield lab


def test_a_lab(lab: attest.Lab) -> None:
    assert lab.names == ["db", "web-1"]
    assert [machine.name for machine in lab] == ["db", "web-1"]
    assert len(lab) == 2
    assert "db" in lab
    assert "other" not in lab
    assert lab.networks == ["lan"]
    assert lab["db"] is lab.machine("db")
    assert lab["web_1"] is lab["web-1"]
    assert repr(lab) == "<Lab of web-1, db>"
    assert lab.output.is_dir()
    with pytest.raises(KeyError, match="no machine `x`; it has `web-1`, `db`"):
        lab["x"]
    # It has booted: nothing has to be started.
    assert lab["db"].booted
    assert lab["db"].succeed("echo hello") == "hello\n"


def test_a_lab_that_is_started_later(manifest: Path) -> None:
    with attest.lab(manifest.parent, start=False) as lab:
        assert not lab["db"].booted
        lab.start()
        assert lab["db"].booted
        lab.close()


def test_several_labs_in_one_session(manifest: Path) -> None:
    with attest.Session() as session:
        assert session.version
        with (
            attest.lab(manifest, session=session) as one,
            attest.lab(manifest, session=session) as other,
        ):
            one["db"].succeed("touch /tmp/here")
            other["db"].fail("test -e /tmp/here")


def test_commands(lab: attest.Lab) -> None:
    machine = lab["db"]
    done = machine.exec("echo out; echo err >&2; exit 3", timeout=timedelta(seconds=60))
    assert (done.status, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
    assert (done.text, done.signal, done.timed_out) == ("out\n", None, False)
    assert done.seconds >= 0
    with pytest.raises(attest.RequestedAssertionFailed) as caught:
        done.check()
    assert str(caught.value) == (
        "command `echo out; echo err >&2; exit 3` failed (exit code 3)\nstdout: out\nstderr: err"
    )
    assert (caught.value.machine, caught.value.status, caught.value.stderr) == ("db", 3, "err\n")
    assert machine.exec(["printf", "%s|", "a b", "$x", "'"]).stdout == b"a b|$x|'|"
    assert machine.exec(["cat"], stdin=b"\0\xff").stdout == b"\0\xff"
    assert machine.exec("cat", stdin="text", check=True).text == "text"
    late = machine.exec("sleep 30", timeout=0.2)
    assert (late.status, late.timed_out) == (124, True)
    with pytest.raises(attest.RequestedAssertionFailed, match="timed out"):
        late.check()
    assert "status 124" in repr(late)
    with pytest.raises(TypeError, match="an argument of exec"):
        machine.exec(["echo", 7])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="a program to run"):
        machine.exec([])
    with pytest.raises(TypeError, match="stdin of exec"):
        machine.exec("cat", stdin=7)  # type: ignore[arg-type]


def test_failures_have_what_the_command_wrote(lab: attest.Lab) -> None:
    with pytest.raises(attest.RequestedAssertionFailed) as caught:
        lab["db"].succeed("echo out; echo err >&2; exit 3")
    error = caught.value
    assert (error.machine, error.status) == ("db", 3)
    assert (error.stdout, error.stderr) == ("out\n", "err\n")
    assert str(error) == (
        "command `echo out; echo err >&2; exit 3` failed (exit code 3)\nstdout: out\nstderr: err"
    )


def test_files(lab: attest.Lab, tmp_path: Path) -> None:
    machine = lab["db"]
    (tmp_path / "file").write_text("hello\n")
    assert machine.upload(tmp_path / "file", "/tmp/file") == 6
    assert machine.download("/tmp/file", tmp_path / "back") == 6
    assert (tmp_path / "back").read_text() == "hello\n"


def test_life(lab: attest.Lab) -> None:
    machine = lab["db"]
    machine.pause()
    machine.resume()
    machine.sync()
    machine.succeed("true")
    machine.reboot()
    machine.succeed("true")
    machine.shutdown()
    assert not machine.booted
    machine.start()
    machine.succeed("true")
    machine.crash()
    with pytest.raises(attest.MachineError):
        machine.connected = True
        machine.execute("true")


def test_balloons(lab: attest.Lab) -> None:
    machine = lab["db"]
    machine.balloon("64M")
    statistics = machine.balloon_statistics()
    assert (statistics["target"], statistics["free"]) == (64 << 20, None)
    for size, is_bytes in (("1 GiB", 1 << 30), ("2K", 2048), (0, 0), (5 << 20, 5 << 20)):
        machine.balloon(size)
        assert machine.balloon_statistics()["actual"] == is_bytes
    for wrong in ("64", "64m", "M", "", "1.5G", "-1M", "iB", "²M", -1):
        with pytest.raises(ValueError, match="the size of balloon"):
            machine.balloon(wrong)
    for other in (1.5, None, True):
        with pytest.raises(TypeError, match="the size of balloon"):
            machine.balloon(other)  # type: ignore[arg-type]


def test_units(lab: attest.Lab) -> None:
    assert lab["db"].unit("multi-user.target")["ActiveState"] == "active"
    lab["db"].wait_for_unit("multi-user.target")


def test_a_manifest_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(attest.MachineError, match=r"attest.toml cannot be read"):
        attest.lab(tmp_path)


def test_no_attest(monkeypatch: pytest.MonkeyPatch, manifest: Path) -> None:
    monkeypatch.setenv("ATTEST", "/nowhere/attest")
    with pytest.raises(attest.MachineError, match="`/nowhere/attest` cannot be started: No such"):
        attest.lab(manifest)
    monkeypatch.delenv("ATTEST")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(attest.MachineError, match="there is no `attest` on PATH"):
        attest.lab(manifest)


def test_an_attest_that_ends_at_once(monkeypatch: pytest.MonkeyPatch, manifest: Path) -> None:
    monkeypatch.setenv("ATTEST", "/bin/true")
    with pytest.raises(attest.ServerGone):
        attest.lab(manifest)


def test_a_lab_whose_attest_dies_can_be_closed(
    monkeypatch: pytest.MonkeyPatch, manifest: Path, tmp_path: Path
) -> None:
    # What is killed leaves its directory.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    lab = attest.lab(manifest)
    assert lab._session is not None
    lab._session._process.kill()
    lab._session._process.wait()
    lab.close()
    with pytest.raises(attest.MachineError):
        lab["db"].succeed("true")


def test_the_package_says_what_is_in_it() -> None:
    assert set(attest.__all__) <= set(dir(attest))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        attest.nothing  # noqa: B018
    assert callable(attest.retry)


def test_nothing_heavy_is_loaded_before_it_is_used() -> None:
    code = f"""
import sys
before = set(sys.modules)
sys.path.insert(0, {str(SOURCE)!r})
import attest._run, attest.nixos.driver, attest.nixos.aliases
heavy = {{"unittest", "subprocess", "inspect", "pdb", "tempfile", "shutil", "socket", "pathlib",
         "typing", "contextlib", "traceback", "code", "datetime", "logging"}}
print(sorted((set(sys.modules) - before) & heavy))
"""
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
