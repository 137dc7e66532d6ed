"""A machine made of the host's own shell.

Commands really run, in bash, but see a directory of their own in place of ``/tmp``, ``/run`` and
``/etc``, and programs of the mock in place of ``systemctl`` and others that would touch the host.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from mock_server import Server

ROOTS = ("/tmp", "/run", "/etc", "/root", "/var", "/dev/tty", "/dev/vcs")
FAKES = Path(__file__).parent / "fakes"


class MockMachine:
    def __init__(
        self, server: Server, name: str, kind: str = "vm-script", lab: int | None = None
    ) -> None:
        self.server = server
        self.name = name
        self.kind = kind
        self.command = f"/nix/store/x/bin/run-{name}-vm"
        self.root = server.directory / (f"lab{lab}" if lab else "") / f"vm-state-{name}"
        for directory in ("tmp", "run", "etc", "root", "var", "dev"):
            (self.root / directory).mkdir(parents=True)
        (self.root / "tmp/shared").symlink_to(server.shared)
        self.booted = False
        self.boots = 0
        self.console: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.link_up = True
        self.balloon = 0
        self.changed = threading.Condition()

    def remove(self) -> None:
        self.end()
        shutil.rmtree(self.root)

    def save(self, place: Path) -> Callable[[MockMachine], None]:
        """Saves what is in it: what makes a machine so again."""
        shutil.copytree(self.root, place, symlinks=True)
        booted, boots, console = self.booted, self.boots, list(self.console)

        def restore(machine: MockMachine) -> None:
            shutil.rmtree(machine.root)
            shutil.copytree(place, machine.root, symlinks=True)
            with machine.changed:
                machine.booted, machine.boots, machine.console = booted, boots, list(console)
                machine.changed.notify_all()

        return restore

    def describe(self) -> dict[str, Any]:
        return {
            "lab": 1,
            "name": self.name,
            "kind": self.kind,
            "start_command": self.command,
            "state_dir": str(self.root),
            "shared_dir": str(self.server.shared),
            "booted": self.booted,
        }

    @property
    def token(self) -> str:
        return f"boot-{self.boots}"

    def say(self, text: str) -> None:
        with self.changed:
            self.console += text.split("\n")
            self.changed.notify_all()

    def event(self, name: str) -> None:
        with self.changed:
            self.events.append({"event": name, "data": {}, "timestamp": {"seconds": 1}})
            self.changed.notify_all()

    def boot(self) -> None:
        with self.changed:
            self.booted = True
            self.boots += 1
            self.console = []
            self.events = []
            self.changed.notify_all()
        self.say(f"Linux version 6.1.0 of {self.name}\nReached target Multi-User System.")
        self.say(f"{self.name} login: ")

    def reboot(self) -> None:
        self.event("RESET")
        self.boot()

    def end(self) -> None:
        with self.changed:
            self.booted = False
            self.changed.notify_all()

    def path(self, path: str) -> Path:
        for root in ROOTS:
            if path.startswith(root):
                return Path(f"{self.root}{path}")
        return Path(path)

    def here(self, text: str) -> str:
        """A command, with the machine's own directories in place of the host's."""
        roots = "|".join(re.escape(root) for root in ROOTS)
        # What a command printed may be given to the next one.
        own = re.escape(str(self.root))
        pattern = rf"{own}|(?<![\w/.])({roots})(?=/|\b|\d|\"|')"
        return re.sub(pattern, lambda found: f"{self.root}{found[1] or ''}", text)

    def exec(
        self, command: str, timeout: float | None, stdin: bytes, cancelled: threading.Event
    ) -> tuple[int, bool, bytes, bytes]:
        environment = {
            "PATH": f"{FAKES}:/usr/bin:/bin",
            "MACHINE": self.name,
            "ROOT": str(self.root),
            "HOME": str(self.root / "root"),
            "LC_ALL": "C.UTF-8",
        }
        with contextlib.ExitStack() as stack:
            directory = stack.enter_context(tempfile.TemporaryDirectory())
            out = stack.enter_context(tempfile.TemporaryFile())
            err = stack.enter_context(tempfile.TemporaryFile())
            # Not as an argument: it may be longer than those can be.
            script = Path(directory) / "script"
            script.write_text("set -euo pipefail; " + self.here(command))
            process = subprocess.Popen(
                ["bash", str(script)],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                env=environment,
                cwd=self.root / "root",
                start_new_session=True,
            )
            feeding = threading.Thread(target=_feed, args=(process, stdin))
            feeding.start()
            deadline = None if timeout is None else time.monotonic() + timeout
            timed_out = False
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.01)
                    break
                if cancelled.is_set() or (deadline is not None and time.monotonic() >= deadline):
                    timed_out = True
                    os.killpg(process.pid, 9)
                    process.wait()
            feeding.join()
            out.seek(0)
            err.seek(0)
            code = 124 if timed_out else process.returncode
            stdout, stderr = out.read(), err.read()
        if (self.root / "run/powered-off").exists():
            (self.root / "run/powered-off").unlink()
            self.end()
        if (self.root / "run/rebooted").exists():
            (self.root / "run/rebooted").unlink()
            self.reboot()
        return (code + 256 + 128 if code < -128 else code, timed_out, stdout, stderr)


def _feed(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.write(data)
    with contextlib.suppress(OSError):
        process.stdin.close()
