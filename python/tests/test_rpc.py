"""The client of the wire."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from attest._rpc import MAX_LINE, Client
from attest.errors import ProtocolError, RpcError, ServerGone
from mock_server import Refusal, Server
from support import SOURCE


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    client = Client(server.client_fd)
    yield client
    client.close()


class Raw:
    """The other end of a client, byte for byte."""

    def __init__(self) -> None:
        self.socket, client = socket.socketpair()
        self.client = Client(client.detach())
        self.stream = self.socket.makefile("rb")

    def answer(self, data: bytes) -> None:
        """Waits for a call, and answers it with these bytes."""
        self.stream.readline()
        self.socket.sendall(data)

    def call(self, data: bytes) -> Any:
        thread = threading.Thread(target=self.answer, args=(data,))
        thread.start()
        try:
            return self.client.call("x")
        finally:
            thread.join()


@pytest.fixture
def raw() -> Iterator[Raw]:
    raw = Raw()
    yield raw
    raw.client.close()
    raw.stream.close()
    raw.socket.close()


def test_agrees_on_a_generation(client: Client) -> None:
    assert client.hello()["generation"] == 1


def test_another_generation_is_refused(server: Server, client: Client) -> None:
    server.answers["hello"] = lambda params, data: {"generation": 0}
    with pytest.raises(ProtocolError, match=r"speaks generation 0 .*, this package generation 1"):
        client.hello()


def test_binary_data_goes_both_ways(server: Server, client: Client) -> None:
    server.answers["echo"] = lambda params, data: ({}, data[::-1])
    sent = [bytes(range(256)), b"", b"\n{}\n" * 100]
    assert client.call("echo", {}, sent).attachments == sent[::-1]


def test_a_hundred_megabytes_come_through(server: Server, client: Client) -> None:
    big = os.urandom(1 << 20) * 100
    server.answers["big"] = lambda params, data: ({}, [big])
    assert client.call("big").attachment(0) == big


def test_refusals_are_errors(server: Server, client: Client) -> None:
    def refuse(params: object, data: object) -> None:
        raise Refusal("unit", "unit `x` failed", machine="web", last_seen="y", detail={"z": 1})

    server.answers["x"] = refuse
    with pytest.raises(RpcError, match=r"^unit `x` failed$") as caught:
        client.call("x")
    error = caught.value
    assert (error.kind, error.machine, error.last_seen) == ("unit", "web", "y")
    assert error.detail == {"z": 1}


def test_calls_of_threads_run_at_once(server: Server, client: Client) -> None:
    together = threading.Barrier(20)
    server.answers["meet"] = lambda params, data: {"n": params["n"], "at": together.wait(20)}
    results: list[int] = []
    threads = [
        threading.Thread(
            target=lambda n=n: results.append(client.call("meet", {"n": n}).get("n") - n)
        )
        for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [0] * 20


def test_many_small_calls_of_threads(server: Server, client: Client) -> None:
    server.answers["echo"] = lambda params, data: params
    wrong: list[object] = []

    def work(thread: int) -> None:
        for n in range(100):
            if client.call("echo", {"n": [thread, n]}).get("n") != [thread, n]:
                wrong.append((thread, n))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_tick_runs_while_a_call_waits(server: Server, client: Client) -> None:
    go = threading.Event()
    server.answers["slow"] = lambda params, data: {"went": go.wait(20)}
    server.answers["quick"] = lambda params, data: {}
    ticks: list[int] = []

    def tick() -> float:
        # A tick makes calls of its own.
        client.call("quick")
        ticks.append(1)
        if len(ticks) == 5:
            go.set()
        return 0.01

    assert client.call("slow", tick=tick).get("went")
    assert len(ticks) >= 5


def test_a_tick_runs_while_another_thread_reads(server: Server, client: Client) -> None:
    go, end = threading.Event(), threading.Event()
    server.answers["slow"] = lambda params, data: {"went": go.wait(20)}
    server.answers["slower"] = lambda params, data: {"went": end.wait(20)}
    reader = threading.Thread(target=lambda: client.call("slower"))
    reader.start()
    server.wait_for(lambda: any(method == "slower" for method, _ in server.calls))
    ticks: list[int] = []

    def tick() -> float:
        ticks.append(1)
        if len(ticks) == 5:
            go.set()
        return 0.01

    assert client.call("slow", tick=tick).get("went")
    assert len(ticks) >= 5
    end.set()
    reader.join()


def test_a_tick_that_raises_cancels(server: Server, client: Client) -> None:
    cancelled = threading.Event()
    server.answers["slow"] = lambda params, data: {"x": cancelled.wait(20)}
    server.answers["quick"] = lambda params, data: {}

    def tick() -> float:
        raise KeyError("x")

    with pytest.raises(KeyError):
        client.call("slow", tick=tick)
    server.wait_for(lambda: server.cancelled)
    cancelled.set()
    # The late answer belongs to nobody, and the connection goes on.
    client.call("quick")


def test_closing_ends_waits(server: Server, client: Client) -> None:
    server.answers["slow"] = lambda params, data: {"x": time.sleep(0.5)}
    errors: list[Exception] = []

    def wait() -> None:
        try:
            client.call("slow")
        except ServerGone as error:
            errors.append(error)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    server.wait_for(lambda: len(server.calls) == 3)
    client.close()
    for thread in threads:
        thread.join()
    assert len(errors) == 3
    with pytest.raises(ServerGone):
        client.call("x")


def test_a_server_that_goes_is_told(raw: Raw) -> None:
    def go() -> None:
        raw.stream.readline()
        raw.socket.shutdown(socket.SHUT_RDWR)

    thread = threading.Thread(target=go)
    thread.start()
    with pytest.raises(ServerGone, match="attest is gone: it ended or was stopped"):
        raw.client.call("x")
    thread.join()
    with pytest.raises(ServerGone):
        raw.client.call("x")


def test_a_server_that_goes_in_the_middle_is_told(raw: Raw) -> None:
    def go() -> None:
        raw.answer(b'{"jsonrpc":"2.0","id":0,"result":{},"attachments":[10]}\nabc')
        raw.socket.shutdown(socket.SHUT_RDWR)

    thread = threading.Thread(target=go)
    thread.start()
    with pytest.raises(ServerGone, match="in the middle of an answer"):
        raw.client.call("x")
    thread.join()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"nonsense\n", "no JSON"),
        (b'\xff\xfe{"id":0}\n', "no JSON"),
        (b"[1,2]\n", "no message"),
        (b'{"jsonrpc":"2.0","id":"zero","result":{}}\n', "an answer to no call"),
        (b'{"jsonrpc":"2.0","id":0,"result":{},"attachments":[-1]}\n', "attachments of no size"),
        (b'{"jsonrpc":"2.0","id":0,"result":{},"attachments":7}\n', "attachments of no size"),
        (b'{"jsonrpc":"2.0","id":0,"result":{},"attachments":[99999999999]}\n', "more than"),
        (b'{"jsonrpc":"2.0","id":0}\n', "has no result"),
        (b'{"jsonrpc":"2.0","id":0,"error":7}\n', "an error that says nothing"),
        (
            b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"bad line"}}\n',
            "did not understand this package: bad line",
        ),
    ],
)
def test_malformed_answers_are_told(raw: Raw, answer: bytes, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        raw.call(answer)


def test_a_line_without_end_is_given_up(raw: Raw) -> None:
    with pytest.raises(ProtocolError, match="a line of more than"):
        raw.call(b"x" * (MAX_LINE + 1))


def test_answers_in_pieces(raw: Raw) -> None:
    data = json.dumps({"id": 0, "result": {"a": "ü"}, "attachments": [3, 2]}).encode()
    data += b"\nabcde"

    def dribble() -> None:
        raw.stream.readline()
        for byte in data:
            raw.socket.sendall(bytes([byte]))

    thread = threading.Thread(target=dribble)
    thread.start()
    reply = raw.client.call("x")
    thread.join()
    assert (reply.get("a"), reply.attachments) == ("ü", [b"abc", b"de"])


def test_members_that_are_missing_are_told(raw: Raw) -> None:
    reply = raw.call(b'{"id":0,"result":{}}\n')
    with pytest.raises(ProtocolError, match="no `code`"):
        reply.get("code")
    with pytest.raises(ProtocolError, match="0 attachments, not the 1"):
        reply.attachment(0)


def test_notifications_come_through(server: Server) -> None:
    came: list[object] = []
    client = Client(server.client_fd, lambda method, params: came.append((method, params)))
    server.answers["x"] = lambda params, data: {}
    server.send(b'{"jsonrpc":"2.0","method":"event","params":{"a":1}}\n')
    client.call("x")
    assert came == [("event", {"a": 1})]
    client.close()


def test_notifications_can_wait_for_the_next_call(server: Server, client: Client) -> None:
    server.answers["x"] = lambda params, data: {}
    client.notify("log.line", {"message": "1", "level": "info"}, flush=False)
    client.call("x")
    assert [method for method, _ in server.calls] == ["log.line", "x"]


def test_half_a_character_is_refused_in_a_call_and_shown_in_the_log(
    server: Server, client: Client
) -> None:
    with pytest.raises(ValueError, match="surrogates"):
        client.call("x", {"command": "\udc80"})
    with pytest.raises(ValueError):
        client.call("x", {"timeout": float("nan")})
    client.notify("log.line", {"message": "\udc80", "level": "info"})
    server.wait_for(lambda: server.log() == ["?"])


def test_a_fork_cannot_disturb(server: Server, client: Client) -> None:
    server.answers["x"] = lambda params, data: {}
    child = os.fork()
    if child == 0:
        try:
            client.call("x")
        except ServerGone:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    client.call("x")


CTRL_C = """
import os, sys, threading
sys.path[:0] = [{source!r}]
from attest._rpc import Client
client = Client({fd})
{before}
try:
    client.call("slow")
except KeyboardInterrupt:
    print("interrupted", client.call("quick").result, flush=True)
{after}
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        # Another thread reads, and goes on after the interruption; then the main thread does.
        (
            "thread = threading.Thread(target=client.call, args=('other',)); thread.start()",
            "client.call('release'); thread.join()",
        ),
    ],
    ids=["alone", "with another thread"],
)
def test_ctrl_c_cancels_the_call_and_comes_through(before: str, after: str) -> None:
    with Server() as server:
        released = threading.Event()
        server.answers["slow"] = lambda params, data: {"x": released.wait(20)}
        server.answers["other"] = lambda params, data: {"x": released.wait(20)}
        server.answers["release"] = lambda params, data: {"x": released.set()}
        server.answers["quick"] = lambda params, data: "quick"
        code = CTRL_C.format(source=str(SOURCE), fd=server.client_fd, before=before, after=after)
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            pass_fds=[server.client_fd],
            stdout=subprocess.PIPE,
            text=True,
        )
        os.close(server.client_fd)
        needed = {"slow", "other"} if before else {"slow"}
        server.wait_for(lambda: needed <= {method for method, _ in server.calls})
        _until_it_sleeps(process.pid)
        process.send_signal(signal.SIGINT)
        stdout, _ = process.communicate(timeout=60)
        assert stdout == "interrupted quick\n"
        assert process.returncode == 0
        assert len(server.cancelled) == 1
        released.set()


def _until_it_sleeps(pid: int) -> None:
    """Waits until the main thread of a process waits in the kernel."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "S":
            return
    raise AssertionError("the process never sleeps")


def test_a_storm_of_signals_tears_nothing_apart() -> None:
    """A signal handler that raises, at any instant: each call is answered or cancelled."""
    code = f"""
import signal, sys
sys.path[:0] = [{str(SOURCE)!r}]
from attest._rpc import Client
client = Client(int(sys.argv[1]))
class Now(BaseException): pass
def raise_now(*_): raise Now
signal.signal(signal.SIGALRM, raise_now)
torn = 0
for n in range(1500):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.00001 + (n % 100) * 0.000003)
        try:
            reply = client.call("echo", {{"n": n}}, [b"x" * n])
            assert reply.get("n") == n and reply.attachments == [b"x" * n], n
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except Now:
        torn += 1
reply = client.call("echo", {{"n": -1}})
assert reply.get("n") == -1
print("torn", torn)
"""
    with Server() as server:
        server.answers["echo"] = lambda params, data: (params, data)
        done = subprocess.run(
            [sys.executable, "-c", code, str(server.client_fd)],
            pass_fds=[server.client_fd],
            stdout=subprocess.PIPE,
            timeout=120,
            check=True,
        )
        os.close(server.client_fd)
    assert done.stdout.startswith(b"torn ")
