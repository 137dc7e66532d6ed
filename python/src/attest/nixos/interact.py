"""A session by hand in a machine's shell."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Callable

    Run = Callable[[str, str], "tuple[str, str]"]


def shell(run: Run, address: str | None) -> None:
    """Reads lines and runs them, until the end of input or Ctrl-C."""
    if address is None:
        _converse(run, _ask, _say)
        return
    import subprocess

    with subprocess.Popen(
        ["socat", address, "STDIO"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as bridge:
        assert bridge.stdin is not None and bridge.stdout is not None
        read, write = bridge.stdout, bridge.stdin
        _converse(run, lambda: _line(read), lambda shown: _send(write, shown))


def _converse(run: Run, ask: Callable[[], str | None], say: Callable[[str], None]) -> None:
    directory = ""
    while True:
        try:
            line = ask()
            if line is None:
                return
            if line.strip():
                shown, directory = run(line, directory)
                say(shown)
        except KeyboardInterrupt:
            return


def _ask() -> str | None:
    try:
        return input("$ ")
    except EOFError:
        return None


def _say(shown: str) -> None:
    sys.stdout.write(shown if shown.endswith("\n") or not shown else shown + "\n")
    sys.stdout.flush()


def _line(source: IO[str]) -> str | None:
    return source.readline() or None


def _send(target: IO[str], shown: str) -> None:
    target.write(shown)
    target.flush()
