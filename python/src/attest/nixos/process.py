"""The process in which a machine runs, in the shape of a `subprocess.Popen`."""

from __future__ import annotations

#: Leaves this package out of the tracebacks of pytest.
__tracebackhide__ = True

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .life import LifeMixin


class ConsoleInput:
    """The standard input of the process: the machine's serial console."""

    def __init__(self, machine: LifeMixin) -> None:
        self._machine = machine

    def write(self, data: bytes) -> int:
        """Types on the serial console."""
        self._machine._call("machine.send_console", None, [bytes(data)])
        return len(data)

    def flush(self) -> None:
        """Does nothing: what is written is sent at once."""


class MachineProcess:
    """A machine's process on the host. It belongs to attest, which ends and reaps it."""

    stdout = None
    stderr = None

    def __init__(self, machine: LifeMixin) -> None:
        self._machine = machine
        self.stdin = ConsoleInput(machine)

    @property
    def args(self) -> Any:
        """The start command."""
        return self._machine._described.get("start_command")

    @property
    def pid(self) -> int | None:
        """The number of the process; None when it has ended."""
        return self._machine.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs, 0 afterwards."""
        return self.poll()

    def poll(self) -> int | None:
        """None while it runs, 0 afterwards."""
        return None if self._machine.booted else 0

    def wait(self, timeout: float | None = None) -> int:
        """Waits until it has ended: 0.

        Raises subprocess.TimeoutExpired when it has not after ``timeout`` seconds.
        """
        from ..errors import RpcError

        try:
            self._machine._rpc("machine.wait_ended", {"timeout": timeout})
        except RpcError as error:
            if error.kind == "timed-out" and timeout is not None:
                from subprocess import TimeoutExpired

                raise TimeoutExpired(str(self.args), timeout) from None
            raise self._machine._failure(error) from None
        return 0

    def terminate(self) -> None:
        """Ends it without waiting."""
        self._machine._call("machine.release")

    def kill(self) -> None:
        """Pulls the plug."""
        self._machine._call("machine.kill")

    def send_signal(self, signal: int) -> None:
        """Sends a signal to the process on the host."""
        import os

        pid = self.pid
        if pid is not None:
            os.kill(pid, signal)
