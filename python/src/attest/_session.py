"""A program of attest's, started to serve this process."""

from __future__ import annotations

import os

from ._rpc import Client
from .errors import MachineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from types import TracebackType

#: Leaves this package out of the tracebacks of pytest.
__tracebackhide__ = True

#: The environment variable with the path of the program.
PROGRAM_VARIABLE = "ATTEST"


class Session:
    """A connection to an ``attest rpc`` of its own, which ends with it, and all labs with that.

    ``program`` is the path of attest's program; else it is that of the environment variable
    ``ATTEST``, else the one on ``PATH``. Threads may share a session; processes may not.

    Raises MachineError when there is no such program, or it does not answer.
    """

    def __init__(self, program: str | os.PathLike[str] | None = None) -> None:
        import socket
        import subprocess

        path = os.fspath(program or os.environ.get(PROGRAM_VARIABLE) or _on_path())
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process: subprocess.Popen[bytes] = subprocess.Popen(
                    [path, "rpc", "--fd", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                )
            except OSError as error:
                ours.close()
                raise MachineError(f"`{path}` cannot be started: {error.strerror}") from None
        self.client = Client(ours.detach())
        try:
            #: The version of attest.
            self.version = str(self.client.hello().get("version", ""))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends all labs, and the program."""
        self.client.close()
        self._process.wait()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _on_path() -> str:
    import shutil

    found = shutil.which("attest")
    if found is None:
        raise MachineError(
            f"there is no `attest` on PATH: install it, or set {PROGRAM_VARIABLE} to its path"
        )
    return found
