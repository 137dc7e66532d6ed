"""Breakpoints for scripts that run where there is no terminal."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from .logger import Logger
    from .remote_pdb import RemotePdb

#: Where those who attach look for the debugger.
_PORT = 4444


class DebugNop:
    """What scripts know as ``debug`` when no hook was asked for: does nothing."""

    def post_mortem(self, error: BaseException, name: str) -> None:
        """Does nothing."""

    def breakpoint(self, host: str = "127.0.0.1", port: int = 4444) -> None:
        """Does nothing."""


class Debug(DebugNop):
    """What scripts know as ``debug``: a debugger that waits for a connection."""

    def __init__(self, logger: Logger, attach_command: str) -> None:
        self.logger = logger
        self.attach = attach_command

    def breakpoint(self, host: str = "127.0.0.1", port: int = 4444) -> None:
        """Stops the script, and serves Python's debugger on a TCP port of the host.

        The log says how to get there from outside of a sandbox.
        """
        import sys

        self._serve(host, port, sys._getframe(1)).set_trace()

    def post_mortem(self, error: BaseException, name: str) -> None:
        """Serves the debugger at the line of the script, whose file is ``name``, that failed."""
        frames = script_frames(error.__traceback__, name)
        if frames is not None:
            self._serve("127.0.0.1", _PORT, None).examine(frames)

    def _serve(self, host: str, port: int, frame: FrameType | None) -> RemotePdb:
        import os
        import random
        import shutil
        import socket
        import subprocess

        pattern = str(random.SystemRandom().randrange(999_999, 9_999_999))
        bash = shutil.which("bash")
        if bash is not None:
            os.environ["bashInteractive"] = bash
        with socket.create_server((host, port)) as server:
            # Whoever attaches finds the sandbox by this process.
            marker = subprocess.Popen(["sleep", pattern])
            try:
                self.logger.log_test_error(
                    f"Breakpoint reached, run 'sudo {self.attach} {pattern}'"
                )
                connection, _ = server.accept()
            finally:
                marker.kill()
                marker.wait()
        from .remote_pdb import RemotePdb

        return RemotePdb(connection, frame)


def script_frames(traceback: TracebackType | None, name: str) -> TracebackType | None:
    """The part of a traceback that is in the script."""
    from types import TracebackType

    entries = []
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == name:
            entries.append(traceback)
        traceback = traceback.tb_next
    made = None
    for entry in reversed(entries):
        made = TracebackType(made, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return made
