"""Running scripts against the mock."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from mock_server import Server

SOURCE = Path(__file__).parent.parent / "src"
RUNNER = SOURCE / "attest" / "_runner.py"
CORPUS = Path(__file__).parent / "corpus"
FAKE_ATTEST = Path(__file__).parent / "fakes" / "attest"


@dataclass
class Run:
    """How a script went."""

    code: int
    stdout: str
    stderr: str
    server: Server

    @property
    def outcome(self) -> str:
        assert self.server.ended is not None, self
        return str(self.server.ended["outcome"])

    @property
    def traceback(self) -> list[str]:
        assert self.server.ended is not None, self
        return list(self.server.ended["traceback"])


def environment(server: Server) -> dict[str, str]:
    return {**os.environ, "ATTEST_RPC_FD": str(server.client_fd), "PYTHONWARNINGS": "default"}


def start(server: Server, **more: Any) -> subprocess.Popen[str]:
    """Starts the runner, as attest does."""
    options: dict[str, Any] = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "cwd": server.directory,
    }
    options.update(more)
    process = subprocess.Popen(
        [sys.executable, str(RUNNER)],
        env=environment(server),
        pass_fds=[server.client_fd],
        **options,
    )
    os.close(server.client_fd)
    return process


def run(
    script: str | None,
    *,
    name: str = "<string>",
    stdin: str = "",
    machines: list[str] | None = None,
    containers: list[str] | None = None,
    prepare: Callable[[Server], object] = lambda server: None,
) -> Run:
    """Runs a script to its end."""
    with Server(machines, containers) as server:
        if script is not None:
            server.script(script, name)
        prepare(server)
        process = start(server)
        try:
            stdout, stderr = process.communicate(stdin, timeout=120)
        finally:
            process.kill()
            process.wait()
        return Run(process.returncode, stdout, stderr, server)


@dataclass
class CorpusScript:
    """A script of the corpus, with what its header says."""

    path: Path
    text: str

    def words(self, key: str) -> list[str]:
        """The words after ``# key:`` in the header."""
        return (self.line(key) or "").split()

    def line(self, key: str) -> str | None:
        """The text after ``# key:`` in the header."""
        found = re.search(rf"^# {key}: (.*)$", self.text, re.MULTILINE)
        return None if found is None else found[1]


def corpus() -> list[CorpusScript]:
    """All scripts of the corpus."""
    return [CorpusScript(path, path.read_text()) for path in sorted(CORPUS.glob("*.py"))]
