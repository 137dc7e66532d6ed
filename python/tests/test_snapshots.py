"""Saved labs and machines."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import attest
from attest._rpc import Client
from attest.nixos.logger import Logger
from attest.nixos.surroundings import Surroundings
from mock_server import Refusal, Server
from support import run


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(["web-1", "db"]) as server:
        yield server


@pytest.fixture
def lab(server: Server) -> Iterator[attest.Lab]:
    client = Client(server.client_fd)
    client.hello()
    for machine in server.machines.values():
        machine.boot()
    surroundings = Surroundings(client, Logger(client, exit_on_error=False), str(server.output))
    yield attest.Lab(client, server.lab(), None, surroundings)
    client.close()


def test_forks_begin_as_the_lab_was_saved(lab: attest.Lab, server: Server) -> None:
    lab["db"].succeed("echo saved > /tmp/file")
    with lab.snapshot() as snapshot:
        lab["db"].succeed("echo later > /tmp/file")
        with snapshot.fork() as one, snapshot.fork() as other:
            assert one.names == other.names == lab.names
            one["db"].succeed("echo one >> /tmp/file")
            assert one["db"].succeed("cat /tmp/file") == "saved\none\n"
            assert other["db"].succeed("cat /tmp/file") == "saved\n"
            assert one["web_1"].booted
        assert sorted(server.labs) == [1]
        assert lab["db"].succeed("cat /tmp/file") == "later\n"
    assert server.snapshots == {}
    # A second time, and after attest has gone, nothing happens.
    snapshot.drop()
    dropped = [params for method, params in server.calls if method == "snapshot.drop"]
    assert dropped == [{"snapshot": 1}]


def test_a_fork_of_now(lab: attest.Lab) -> None:
    lab["db"].succeed("echo now > /tmp/file")
    with lab.fork() as fork, fork.fork() as again:
        again["db"].succeed("echo again > /tmp/file")
        assert fork["db"].succeed("cat /tmp/file") == "now\n"
        assert again.log is lab.log


def test_a_lab_is_put_back(lab: attest.Lab, server: Server) -> None:
    lab["db"].succeed("echo saved > /tmp/file")
    snapshot = lab.snapshot()
    lab["db"].succeed("echo later > /tmp/file")
    before = len([method for method, _ in server.calls if method == "machine.connect"])
    lab.restore(snapshot)
    assert lab["db"].succeed("cat /tmp/file") == "saved\n"
    # It is asked for its session again.
    assert len([method for method, _ in server.calls if method == "machine.connect"]) > before


def test_a_machine_is_put_back(lab: attest.Lab) -> None:
    snapshot = lab["db"].snapshot()
    for machine in lab:
        machine.succeed("touch /tmp/later")
    lab["db"].restore(snapshot)
    lab["db"].fail("test -e /tmp/later")
    lab["web-1"].succeed("test -e /tmp/later")
    snapshot.drop()
    with pytest.raises(attest.MachineError, match="there is no snapshot 1 in this session"):
        lab["db"].restore(snapshot)


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal("unsupported", "db: the backend `nspawn` has no snapshot: …", machine="db"),
        Refusal("", "there is no method `lab.snapshot`", -32601),
    ],
)
def test_labs_that_cannot_be_saved(lab: attest.Lab, server: Server, refusal: Refusal) -> None:
    def refuse(params: object, data: object) -> None:
        raise refusal

    for method in ("lab.snapshot", "lab.fork", "machine.snapshot"):
        server.answers[method] = refuse
    for attempt in (lab.snapshot, lab.fork, lab["db"].snapshot):
        with pytest.raises(attest.SnapshotsUnsupported) as caught:
            attempt()
        assert str(caught.value) == str(refusal)
        assert isinstance(caught.value, attest.MachineError)


def test_other_refusals_are_no_lack_of_support(lab: attest.Lab, server: Server) -> None:
    def refuse(params: object, data: object) -> None:
        raise Refusal("machine", "db: the machine is off; start it first", machine="db")

    server.answers["lab.snapshot"] = refuse
    with pytest.raises(attest.MachineError, match="the machine is off") as caught:
        lab.snapshot()
    assert not isinstance(caught.value, attest.SnapshotsUnsupported)
    assert caught.value.machine == "db"


def test_a_command_that_goes_on_ends(lab: attest.Lab, server: Server) -> None:
    """attest ends what goes on in a lab that is saved, and says that by its kind."""
    saved = threading.Event()

    def interrupted(params: object, data: object) -> None:
        assert saved.wait(30)
        raise Refusal("interrupted", "db: exec was ended by a snapshot", machine="db")

    server.answers["machine.exec"] = interrupted
    failures: list[BaseException] = []

    def work() -> None:
        try:
            lab["db"].succeed("sleep 1000")
        except attest.InterruptedBySnapshot as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    server.wait_for(lambda: any(method == "machine.exec" for method, _ in server.calls))
    lab.snapshot()
    saved.set()
    thread.join(30)
    assert [str(failure) for failure in failures] == ["db: exec was ended by a snapshot"]


def test_scripts_save_and_fork() -> None:
    def prepare(server: Server) -> None:
        server.part("test", "test_x")

    script = """\
def test_x(lab, machine):
    machine.succeed("touch /tmp/saved")
    with lab.snapshot() as snapshot, snapshot.fork() as fork:
        fork["db"].succeed("test -e /tmp/saved")
        fork["db"].succeed("exit 3")
"""
    ran = run(script, machines=["db"], prepare=prepare)
    assert (ran.code, ran.outcome) == (1, "assertion")
    assert any("line 5, in test_x" in line for line in ran.traceback)
    assert sorted(ran.server.labs) == [1]


def test_scripts_show_what_cannot_be_saved_as_an_error_of_machines() -> None:
    def prepare(server: Server) -> None:
        def refuse(params: object, data: object) -> None:
            raise Refusal("unsupported", "db: no snapshot")

        server.answers["lab.snapshot"] = refuse
        server.part("test", "test_x")

    ran = run("def test_x(lab): lab.snapshot()\n", machines=["db"], prepare=prepare)
    assert (ran.code, ran.outcome) == (1, "machine-error")
    assert ran.traceback[-1] == "SnapshotsUnsupported: db: no snapshot"


def test_a_snapshot_whose_attest_is_gone_can_be_dropped(lab: attest.Lab, server: Server) -> None:
    snapshot = lab.snapshot()
    server.connection.shutdown(2)
    with pytest.raises(attest.ServerGone):
        lab["db"].succeed("true")
    snapshot.drop()
    assert Path(server.directory / "snapshot1").exists()
