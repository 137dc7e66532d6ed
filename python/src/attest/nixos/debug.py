"""Breakpoints for scripts that run where there is no terminal."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .logger import Logger


class DebugNop:
    """What scripts know as ``debug`` when no hook was asked for: does nothing."""

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
        import os
        import random
        import shutil
        import socket
        import subprocess
        import sys

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

        RemotePdb(connection, sys._getframe(1)).set_trace()
