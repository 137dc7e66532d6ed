"""Sessions at a terminal: the prompt, the debugger, and what they keep."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mock_server import Server
from support import RUNNER, environment, start


class Terminal:
    """A runner at a terminal of its own."""

    def __init__(self, server: Server) -> None:
        self.terminal, inside = pty.openpty()
        env = {**environment(server), "TERM": "dumb", "PYTHON_BASIC_REPL": "1"}
        self.process = subprocess.Popen(
            [sys.executable, str(RUNNER)],
            env=env,
            pass_fds=[server.client_fd],
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
            cwd=server.directory,
        )
        os.close(server.client_fd)
        os.close(inside)
        self.said = ""

    def until(self, pattern: str) -> str:
        """Reads until the terminal shows something: what it showed after the last match."""
        deadline = time.monotonic() + 30
        while True:
            found = re.search(pattern, self.said)
            if found:
                before, self.said = self.said[: found.end()], self.said[found.end() :]
                return before
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self.terminal], [], [], max(0, left))
            assert ready, f"/{pattern}/ did not come: {self.said!r}"
            try:
                data = os.read(self.terminal, 4096)
            except OSError:
                data = b""
            assert data, f"/{pattern}/ did not come: {self.said!r}"
            self.said += data.decode().replace("\r", "")

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def end(self) -> int:
        """Waits for the end of the program: its exit code."""
        with contextlib.suppress(OSError):
            while os.read(self.terminal, 4096):
                pass
        code = self.process.wait(30)
        os.close(self.terminal)
        return code


def test_a_session() -> None:
    with Server() as server:
        server.script("print('the script', machine.succeed('echo ran'))\n1 / 0\n")
        server.described["interactive"] = True
        terminal = Terminal(server)
        terminal.until(r"test_script\(\) runs the script.*\n.*\n>>> ")
        terminal.type("machine.succeed('echo hello')\n")
        terminal.until(r"\n'hello\\n'\n>>> ")
        # Errors end nothing, and show what was typed only.
        terminal.type("machine.succeed('false')\n")
        shown = terminal.until(r"\n>>> ")
        assert "RequestedAssertionFailed: command `false` failed (exit code 1)" in shown
        assert "attest" not in shown
        assert shown.count("  File ") == 1
        # The script can be run, and run again.
        for _ in range(2):
            terminal.type("test_script()\n")
            terminal.until("the script ran")
            # Before the next prompt, not somewhere after it.
            shown = terminal.until(">>> ")
            assert "line 2, in <module>" in shown
            assert "ZeroDivisionError: division by zero" in shown
        terminal.type("log.error('no end')\n")
        terminal.until(">>> ")
        # Completion of globals and of attributes.
        terminal.type("start_a\t")
        terminal.until(r"start_all\(")
        terminal.type(")\n")
        terminal.until(">>> ")
        terminal.type("machine.wait_until_s\t")
        terminal.until(r"wait_until_succeeds\(")
        terminal.type("'true')\n")
        terminal.until(">>> ")
        # Ctrl-C ends a command, not the session.
        terminal.type("machine.wait_until_succeeds('false')\n")
        server.wait_for(lambda: str(server.calls).count("machine.wait'") == 2)
        os.kill(terminal.process.pid, signal.SIGINT)
        terminal.until("KeyboardInterrupt")
        terminal.until(">>> ")
        terminal.type("exit()\n")
        assert terminal.end() == 0
        assert server.ended is not None
        assert server.ended["outcome"] == "passed"
        history = (server.directory / ".nixos-test-history").read_text()
        assert "machine.succeed('echo hello')\n" in history


def test_the_history_is_there_the_next_time() -> None:
    with Server() as server:
        (server.directory / ".nixos-test-history").write_text("print('from the last time')\n")
        server.described["interactive"] = True
        terminal = Terminal(server)
        terminal.until(">>> ")
        terminal.type("\x10\n")
        terminal.until(r"\nfrom the last time\n>>> ")
        terminal.type("\x04")
        assert terminal.end() == 0


def test_breakpoint_at_a_terminal() -> None:
    with Server() as server:
        server.script("def f(x):\n    breakpoint()\n    return x\n\nprint('got', f(1))\n")
        terminal = Terminal(server)
        shown = terminal.until(r"\(Pdb\) ")
        assert "-> " in shown
        terminal.type("p x\n")
        terminal.until(r"\n1\n")
        # Lines of the script are shown, though it is no file.
        terminal.type("list\n")
        terminal.until(r"print\('got', f\(1\)\)")
        terminal.type("p machine.succeed('echo from pdb')\n")
        terminal.until(r"from pdb\\n'\n\(Pdb\) ")
        terminal.type("x = 2\n")
        terminal.until(r"\(Pdb\) ")
        terminal.type("continue\n")
        terminal.until("got 2")
        assert terminal.end() == 0


@pytest.mark.parametrize("call", ["breakpoint()", "import pdb; pdb.set_trace()"])
def test_breakpoint_on_a_pipe(call: str) -> None:
    with Server() as server:
        server.script(f"a = 5\n{call}\nb = a + 1\nprint('after', b)\n")
        process = start(server)
        stdout, stderr = process.communicate("p a\nn\nn\np b\nc\n", timeout=60)
        assert process.returncode == 0, stderr
        assert "-> b = a + 1" in stdout
        assert "after 6" in stdout


def test_leaving_the_debugger_fails_the_script() -> None:
    with Server() as server:
        server.script("breakpoint()\nprint('nev' + 'er')\n")
        process = start(server)
        stdout, _ = process.communicate("q\n", timeout=60)
        assert process.returncode == 1
        assert "never" not in stdout
        assert server.ended is not None
        assert server.ended["message"] == "BdbQuit"


def test_a_shell_by_hand(tmp_path: Path) -> None:
    with Server() as server:
        server.script("machine.shell_interact()\nprint('back')\n")
        terminal = Terminal(server)
        terminal.until(r"\$ ")
        terminal.type("mkdir -p /tmp/place; cd /tmp/place\n")
        terminal.until(r"\$ ")
        terminal.type("pwd; false; echo $? no-such-variable=$nothing; echo err >&2\n")
        shown = terminal.until(r"err\n.*\$ ")
        assert f"{server.machines['machine'].root}/tmp/place\n1 no-such-variable=\n" in shown
        terminal.type("\x04")
        terminal.until("back")
        assert terminal.end() == 0


def test_a_console_by_hand() -> None:
    with Server() as server:
        server.script("machine.start()\nmachine.console_interact()\nprint('back')\n")
        terminal = Terminal(server)
        server.wait_for(lambda: any("Terminal is ready" in line for line in server.log()))
        terminal.type("root\n")
        server.wait_for(lambda: any(method == "machine.send_console" for method, _ in server.calls))
        terminal.type("\x04")
        terminal.until("back")
        assert terminal.end() == 0
        assert server.machines["machine"].console[-1] == "root"
