"""What every machine can do: run commands, and wait for things."""

from __future__ import annotations

from time import monotonic

from .._rpc import Reply
from .._values import kind, quote, read_text, seconds, text
from ..errors import (
    InterruptedBySnapshot,
    MachineError,
    RequestedAssertionFailed,
    RpcError,
)
from .console import ConsoleMixin
from .copies import CopiesMixin
from .life import LifeMixin
from .retrying import retry, timed_out
from .units import UnitsMixin

#: Leaves this package out of the tracebacks of pytest.
__tracebackhide__ = True

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Callable

    from .._rpc import Client, Tick
    from .._values import Timeout
    from .logger import Logger
    from .surroundings import Surroundings

__all__ = ["BaseMachine"]

#: A command that is awaited inside the machine must fit into a message of 64 KiB; UTF-8 has 4 bytes
#: at most for a character. A longer one is tried again from here.
_LONGEST_AWAITED = 15_000

#: Names of files that a shell leaves as they are.
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+@%:,=")


class BaseMachine(LifeMixin, UnitsMixin, CopiesMixin, ConsoleMixin):
    """A machine of a test.

    Machines are made by the driver or by a lab, never by hand. All waiting methods take their
    time-out in seconds (int or float), as a timedelta, or None for no limit.
    """

    def __init__(self, surroundings: Surroundings, described: dict[str, Any]) -> None:
        self._surroundings = surroundings
        self._client: Client = surroundings.client
        self._described = described
        self._lab = int(described.get("lab", 1))
        self._connected = False
        self._token: str | None = None
        self._stale: str | None = None
        self._ever_started = bool(described.get("booted", False))
        self._console_from = 0
        self._console_rest: list[str] = []
        #: The machine's name.
        self.name = str(described["name"])
        #: Writes to the log of the test.
        self.logger: Logger = surroundings.logger
        #: Called before each command, and while something is awaited.
        self.callbacks: list[Callable[[], object]] = list(surroundings.callbacks)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} '{self.name}'>"

    # Calls.

    def _params(self, more: dict[str, Any] | None = None) -> dict[str, Any]:
        params: dict[str, Any] = {"lab": self._lab, "machine": self.name}
        if more:
            params.update(more)
        return params

    def _rpc(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        attachments: Sequence[bytes] = (),
    ) -> Reply:
        """A call about this machine. Raises RpcError as it came."""
        return self._client.call(method, self._params(params), attachments, self._tick())

    def _call(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        attachments: Sequence[bytes] = (),
    ) -> Reply:
        """A call about this machine, whose failure is one of the machine."""
        try:
            return self._rpc(method, params, attachments)
        except RpcError as error:
            raise self._failure(error) from None

    def _failure(self, error: RpcError) -> Exception:
        """What a script gets to see of a refusal."""
        if error.kind == "usage":
            return ValueError(error.message)
        failure: RequestedAssertionFailed | MachineError
        if error.kind in ("command", "timed-out", "unit"):
            failure = RequestedAssertionFailed(error.message)
        else:
            message = error.message
            if self.name not in message:
                message = f"machine `{self.name}`: {message}"
            is_cut = error.kind == "interrupted"
            failure = (InterruptedBySnapshot if is_cut else MachineError)(message)
        failure.machine = self.name
        failure.last_seen = error.last_seen
        return failure

    def _tick(self) -> Tick | None:
        """What must be done while a call is awaited: the callbacks, when there are any."""
        surroundings = self._surroundings
        if self.callbacks == surroundings.callbacks:
            if not surroundings.callbacks or surroundings.next_check() is None:
                return None
            between = surroundings.next_check
        else:

            def between() -> float | None:
                return 1.0

        def tick() -> float | None:
            self.run_callbacks()
            return between()

        return tick

    def run_callbacks(self) -> None:
        """Calls the callbacks: the polling conditions that are due, and what a script added."""
        for callback in self.callbacks:
            callback()

    # The log.

    def log(self, msg: str) -> None:
        """Writes a line to the log, with the machine's name."""
        self.logger.log(msg, {"machine": self.name})

    # Commands.

    def execute(
        self,
        command: str,
        check_return: bool = True,
        check_output: bool = True,
        timeout: Timeout = 900,
    ) -> tuple[int, str]:
        """Runs a shell command: its status, and what it wrote to standard output.

        It runs in bash with ``set -euo pipefail``. The machine is started, and awaited, when that
        has not been done. The status is 124 when the time is over (900 seconds; None: no limit).

        Without ``check_return`` the status is -1, and the machine may vanish meanwhile. Without
        ``check_output`` the command is not awaited, the status is -2, and the output is empty.

        Raises MachineError when the machine cannot run commands.
        """
        self._command(command, "execute")
        self.run_callbacks()
        if not check_output:
            self._execute(command, None, detach=True)
            return (-2, "")
        try:
            status, output, _ = self._execute(command, seconds(timeout))
        except MachineError:
            if check_return:
                raise
            return (-1, "")
        return (status if check_return else -1, read_text(output))

    def _execute(
        self, command: str, timeout: float | None, detach: bool = False
    ) -> tuple[int, bytes, bytes]:
        self.connect()
        params: dict[str, Any] = {
            "command": self._prepare(command),
            "timeout": timeout,
            # What a command complains about belongs on the console, as on a real one.
            "stderr": "console",
        }
        if detach:
            params["detach"] = True
            self._call("machine.exec", params)
            return (0, b"", b"")
        reply = self._call("machine.exec", params)
        code = reply.get("code")
        stderr = reply.attachments[1] if len(reply.attachments) > 1 else b""
        return (int(code), reply.attachment(0), stderr)

    def _prepare(self, command: str) -> str:
        """What must stand around a command on this kind of machine."""
        return command

    def _command(self, command: object, method: str) -> str:
        if not isinstance(command, str):
            raise TypeError(
                f"{method}() takes shell commands as strings, not {kind(command)}: {command!r}"
            )
        return text(command, f"the command of {method}()")

    def succeed(self, *commands: str, timeout: Timeout = None) -> str:
        """Runs shell commands, one after the other: what all of them wrote to standard output.

        The time-out is for each of them (None: no limit).

        Raises RequestedAssertionFailed for the first one whose status is not 0.
        """
        for command in commands:
            self._command(command, "succeed")
        limit = seconds(timeout)
        written = []
        for command in commands:
            with self._quick_nested(f"must succeed: {command}"):
                self.run_callbacks()
                status, output, errors = self._execute(command, limit)
                if status != 0:
                    raise self._command_failed(
                        f"command `{command}` failed (exit code {status})", status, output, errors
                    )
            written.append(output)
        return read_text(b"".join(written))

    def fail(self, *commands: str, timeout: Timeout = None) -> str:
        """Runs shell commands, which must fail: what all of them wrote to standard output.

        Raises RequestedAssertionFailed for the first one whose status is 0.
        """
        for command in commands:
            self._command(command, "fail")
        limit = seconds(timeout)
        written = []
        for command in commands:
            with self._quick_nested(f"must fail: {command}"):
                self.run_callbacks()
                status, output, errors = self._execute(command, limit)
                if status == 0:
                    raise self._command_failed(
                        f"command `{command}` unexpectedly succeeded", status, output, errors
                    )
            written.append(output)
        return read_text(b"".join(written))

    def _command_failed(
        self, message: str, status: int, output: bytes, errors: bytes
    ) -> RequestedAssertionFailed:
        """The failure of a command, with what it wrote in the log."""
        stdout, stderr = read_text(output), read_text(errors)
        self.log(f"output: {stdout}")
        if stderr:
            self.log(f"stderr: {stderr}")
        failure = RequestedAssertionFailed(message)
        failure.machine = self.name
        failure.status = status
        failure.stdout = stdout
        failure.stderr = stderr
        return failure

    def sleep(self, secs: int | float) -> None:
        """Sleeps, in the time of the guest, which may stand still while the host's goes on."""
        self.succeed(f"sleep {secs}")

    # Waits.

    def _wait(self, message: str, target: dict[str, Any], timeout: Timeout) -> Reply:
        """Lets attest wait for something inside the machine."""
        limit = seconds(timeout)
        with self._quick_nested(message):
            self.connect()
            started = monotonic()
            try:
                return self._rpc("machine.wait", {"for": target, "timeout": limit})
            except RpcError as error:
                raise self._wait_failed(error, monotonic() - started, timeout) from None

    def _wait_failed(self, error: RpcError, elapsed: float, timeout: Timeout) -> Exception:
        if error.kind != "timed-out":
            return self._failure(error)
        if error.last_seen:
            self.log(f"last seen: {error.last_seen}")
        failure = RequestedAssertionFailed(timed_out(elapsed, timeout))
        failure.machine = self.name
        failure.last_seen = error.last_seen
        return failure

    def wait_until_succeeds(self, command: str, timeout: Timeout = 900) -> str:
        """Runs a shell command again and again until it succeeds: its standard output then.

        Raises RequestedAssertionFailed when the time is over (900 seconds), also while the command
        runs.
        """
        self._command(command, "wait_until_succeeds")
        return self._wait_for_command(f"waiting for success: {command}", command, True, timeout)

    def wait_until_fails(self, command: str, timeout: Timeout = 900) -> str:
        """Runs a shell command again and again until it fails: its standard output then.

        Raises RequestedAssertionFailed when the time is over (900 seconds), also while the command
        runs.
        """
        self._command(command, "wait_until_fails")
        return self._wait_for_command(f"waiting for failure: {command}", command, False, timeout)

    def _wait_for_command(self, message: str, command: str, success: bool, timeout: Timeout) -> str:
        if len(command) > _LONGEST_AWAITED:
            return self._try_command(message, command, success, timeout)
        target = {"succeeds" if success else "fails": self._prepare(command)}
        return read_text(self._wait(message, target, timeout).attachment(0))

    def _try_command(self, message: str, command: str, success: bool, timeout: Timeout) -> str:
        output = ""

        def is_so(_last: bool) -> bool:
            nonlocal output
            status, output = self.execute(command, timeout=timeout)
            return (status == 0) == success

        with self._quick_nested(message):
            retry(is_so, timeout)
        return output

    def wait_for_file(self, filename: str, timeout: Timeout = 900) -> None:
        """Waits until a file exists; the shell expands its name.

        Raises RequestedAssertionFailed when the time is over (900 seconds).
        """
        text(filename, "the file name of wait_for_file()")
        if filename.startswith("/") and _PLAIN.issuperset(filename):
            target = {"file": filename}
        else:
            target = {"succeeds": self._prepare(f"test -e {filename}")}
        self._wait(f"waiting for file '{filename}'", target, timeout)

    def wait_for_open_port(
        self, port: int, addr: str = "localhost", timeout: Timeout = 900
    ) -> None:
        """Waits until something in the machine accepts connections to a TCP port of ``addr``.

        Raises RequestedAssertionFailed when the time is over (900 seconds).
        """
        target = {"port": _port(port), "host": text(addr, "an address")}
        self._wait(f"waiting for TCP port {port} on {addr}", target, timeout)

    def wait_for_closed_port(
        self, port: int, addr: str = "localhost", timeout: Timeout = 900
    ) -> None:
        """Waits until nothing accepts connections to a TCP port of ``addr``.

        Raises RequestedAssertionFailed when the time is over (900 seconds).
        """
        target = {"closed_port": _port(port), "host": text(addr, "an address")}
        self._wait(f"waiting for TCP port {port} on {addr} to be closed", target, timeout)

    def wait_for_open_unix_socket(
        self, addr: str, is_datagram: bool = False, timeout: Timeout = 900
    ) -> None:
        """Waits until something listens on a Unix socket, of streams or of datagrams.

        Raises RequestedAssertionFailed when the time is over (900 seconds).
        """
        text(addr, "the path of wait_for_open_unix_socket()")
        what = "datagram" if is_datagram else "stream"
        if addr.startswith("/") and _PLAIN.issuperset(addr):
            target: dict[str, Any] = {"unix_socket": addr, "datagram": bool(is_datagram)}
        else:
            flags = "-zuU" if is_datagram else "-zU"
            target = {"succeeds": self._prepare(f"nc {flags} {addr}")}
        self._wait(f"waiting for UNIX-domain {what} on '{addr}'", target, timeout)

    def _quote(self, value: object) -> str:
        return quote(value)


def _port(port: object) -> int:
    """A number of a TCP port, which scripts also write as a string."""
    try:
        number = int(str(port))
    except ValueError:
        raise TypeError(f"a TCP port must be a number, not {port!r}") from None
    if not 0 < number < 65536:
        raise ValueError(f"a TCP port is between 1 and 65535, not {number}")
    return number
