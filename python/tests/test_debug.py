"""The debugger of scripts that have no terminal."""

from __future__ import annotations

import re
import socket

import pytest

from mock_server import Server
from support import start


def test_a_failure_stops_in_the_debugger_when_asked_to() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Server() as server:
        server.described["debug_hook"] = "attach-here"
        server.script(f"secret = 42\ndebug.breakpoint(port={port})\nprint('gone on', secret)\n")
        process = start(server)
        server.wait_for(lambda: any("attach-here" in line for line in server.log("test-error")))
        assert re.match(
            r"Breakpoint reached, run 'sudo attach-here \d{6,7}'$", server.log("test-error")[0]
        )
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"p secret\nsecret = 43\ncontinue\n")
            said = connection.makefile().read()
        stdout, _ = process.communicate(timeout=60)
        assert "42" in said
        assert "gone on 43" in stdout
        assert process.returncode == 0


def test_a_failure_can_be_examined_when_asked_to() -> None:
    try:
        socket.create_server(("127.0.0.1", 4444)).close()
    except OSError as error:
        pytest.skip(f"the debugger's port is taken: {error}")
    with Server() as server:
        server.described["debug_hook"] = "attach-here"
        server.script("def f(x):\n    machine.succeed('false')\n\nf('the value')\n")
        process = start(server)
        server.wait_for(lambda: any("attach-here" in line for line in server.log("test-error")))
        with socket.create_connection(("127.0.0.1", 4444)) as connection:
            connection.sendall(b"p x\nquit\n")
            said = connection.makefile().read()
        process.communicate(timeout=60)
        assert "-> machine.succeed('false')" in said
        assert "'the value'" in said
        assert process.returncode == 1
        assert server.ended is not None
        assert server.ended["outcome"] == "assertion"
