"""Machines of labs: all that machines of NixOS's driver can do, and more."""

from __future__ import annotations

import os

from ._snapshots import MachineSnapshot, call
from ._values import kind, quote, read_text, seconds, size_in_bytes, text
from .errors import RequestedAssertionFailed
from .nixos.qemu import QemuMachine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from ._values import Timeout

#: Leaves this package out of the tracebacks of pytest.
__tracebackhide__ = True


class CompletedCommand:
    """A command that has ended."""

    __slots__ = (
        "command",
        "machine",
        "seconds",
        "signal",
        "status",
        "stderr",
        "stdout",
        "timed_out",
    )

    def __init__(
        self,
        machine: str,
        command: str,
        status: int,
        stdout: bytes,
        stderr: bytes,
        signal: int | None,
        timed_out: bool,
        seconds: float,
    ) -> None:
        #: The machine's name.
        self.machine = machine
        #: The command, as a line of a shell.
        self.command = command
        #: The exit status as a shell has it: 128 and the signal's number after one, 124 after the
        #: time was over.
        self.status = status
        #: What it wrote to standard output.
        self.stdout = stdout
        #: What it wrote to standard error.
        self.stderr = stderr
        #: The number of the signal that ended it; None when it exited.
        self.signal = signal
        #: Whether it was ended because the time was over.
        self.timed_out = timed_out
        #: How long it ran, in seconds of the guest's agent.
        self.seconds = seconds

    @property
    def text(self) -> str:
        """Standard output as text; what is not UTF-8 is shown as U+FFFD."""
        return read_text(self.stdout)

    def check(self) -> CompletedCommand:
        """The command itself, if its status is 0.

        Raises RequestedAssertionFailed if not, with both outputs in it.
        """
        if self.status == 0:
            return self
        how = "timed out" if self.timed_out else f"failed (exit code {self.status})"
        message = f"command `{self.command}` {how}"
        failure = RequestedAssertionFailed(_with_outputs(message, self.stdout, self.stderr))
        failure.machine = self.machine
        failure.status = self.status
        failure.stdout = read_text(self.stdout)
        failure.stderr = read_text(self.stderr)
        raise failure

    def __repr__(self) -> str:
        return (
            f"<CompletedCommand `{self.command}` of {self.machine}: status {self.status}, "
            f"{len(self.stdout)} bytes of output, {len(self.stderr)} of errors>"
        )


class Machine(QemuMachine):
    """A machine of a lab.

    What its backend cannot do (a container has no screen, a host over SSH no plug) raises
    MachineError.
    """

    def exec(
        self,
        command: str | Sequence[str],
        *,
        timeout: Timeout = None,
        environment: Mapping[str, str] | None = None,
        directory: str | os.PathLike[str] | None = None,
        user: str | None = None,
        stdin: bytes | str | None = None,
        check: bool = False,
    ) -> CompletedCommand:
        """Runs a command and waits for its end.

        A string is a line of a shell, with ``set -euo pipefail``; a list is a program and its
        arguments, which no shell reads. ``timeout`` is in seconds or a timedelta (None: no limit);
        ``environment`` is added to what is there; ``directory`` and ``user`` are of the machine
        (by default the root user's).

        Raises RequestedAssertionFailed when the command fails and ``check`` is true, MachineError
        when it cannot be run.
        """
        params: dict[str, Any] = {"timeout": seconds(timeout), "stderr": "keep"}
        if isinstance(command, str):
            shown = params["command"] = text(command, "the command of exec()")
        else:
            words = [text(word, "an argument of exec()") for word in command]
            if not words:
                raise ValueError("exec() needs a program to run")
            params["argv"] = words
            shown = " ".join(word if word.isalnum() else quote(word) for word in words)
        if environment:
            params["environment"] = {
                text(name, "a variable's name"): text(value, f"the variable {name}")
                for name, value in environment.items()
            }
        if directory is not None:
            params["directory"] = text(os.fspath(directory), "the directory of exec()")
        if user is not None:
            params["user"] = text(user, "the user of exec()")
        attachments = []
        if stdin is not None:
            params["stdin"] = True
            attachments = [_bytes(stdin)]
        self.run_callbacks()
        self.connect()
        reply = self._call("machine.exec", params, attachments)
        signal = reply.result.get("signal")
        done = CompletedCommand(
            self.name,
            shown,
            int(reply.get("code")),
            reply.attachment(0),
            reply.attachment(1),
            signal if isinstance(signal, int) else None,
            bool(reply.result.get("timed_out", False)),
            float(reply.result.get("seconds", 0.0)),
        )
        return done.check() if check else done

    def upload(self, source: str | os.PathLike[str], target: str) -> int:
        """Copies a file or a tree of the host to this path, with modes, times and links.

        Gives the bytes of file contents. Raises MachineError when the copy fails.
        """
        self.connect()
        path = os.path.abspath(os.fspath(source))
        params = {"from": path, "to": text(target, "the target of upload()")}
        return int(self._call("machine.upload", params).get("bytes"))

    def download(self, source: str, target: str | os.PathLike[str]) -> int:
        """Copies a file or a tree of the machine to this path of the host, as `upload`."""
        self.connect()
        path = os.path.abspath(os.fspath(target))
        params = {"from": text(source, "the source of download()"), "to": path}
        return int(self._call("machine.download", params).get("bytes"))

    def pause(self) -> None:
        """Stops the machine's processors, until `resume`."""
        self._call("machine.pause")

    def resume(self) -> None:
        """Lets the machine's processors go on."""
        self._call("machine.resume")

    def balloon(self, size: int | str) -> None:
        """Takes so much of the machine's memory back from it: bytes, or a size as "64M".

        It is rounded down to whole MiB; 0 gives all back. The guest has been told when this
        returns; how far it is, `balloon_statistics` says. Raises MachineError where the machine
        has no balloon: `balloon = true` in the manifest gives it one, where its backend can.
        """
        self._call("machine.balloon", {"bytes": size_in_bytes(size, "the size of balloon()")})

    def balloon_statistics(self) -> dict[str, int | None]:
        """How large the balloon is (`target`, `actual`), and what the guest says of its memory.

        That is, in bytes, `free`, `available`, `total`, `disk_caches`, `swap_in` and `swap_out`,
        and the numbers `major_faults` and `minor_faults`; None is what it does not tell.
        """
        return dict(self._call("machine.balloon_statistics").result)

    def reboot(self) -> None:
        """Boots the machine again through its own shutdown, and waits until it is ready."""
        with self.nested("rebooting"):
            self._call("machine.reboot")
            self._forget()
            self._console_from = 0
            self._console_rest = []

    def snapshot(self) -> MachineSnapshot:
        """Saves the machine as it is at this moment; it goes on.

        What others know of it, as connections, is not saved: `Lab.snapshot` saves all machines.
        Raises InterruptedBySnapshot in commands, waits and copies that go on, SnapshotsUnsupported
        when its backend cannot be saved.
        """
        return MachineSnapshot(self._client, call(self._client, "machine.snapshot", self._params()))

    def restore(self, snapshot: MachineSnapshot) -> None:
        """Puts the machine back to where it was saved.

        Raises InterruptedBySnapshot in commands, waits and copies that go on.
        """
        params = self._params({"snapshot": snapshot._id})
        call(self._client, "machine.restore", params)
        self._was_put_back()

    def _was_put_back(self) -> None:
        """What was known of the machine is not so any more."""
        self._forget()
        self._console_rest = []

    def sync(self) -> None:
        """Writes what the machine's file systems hold back to their disks."""
        self._call("machine.sync")

    def unit(self, name: str, user: str | None = None) -> dict[str, str]:
        """All properties of a unit of systemd, of the system or of a user's own manager."""
        self.connect()
        params = {"unit": text(name, "the unit of unit()")}
        if user is not None:
            params["user"] = text(user, "the user of unit()")
        properties = self._call("machine.unit", params).get("properties")
        return {str(key): str(value) for key, value in properties.items()}

    def _starting(self) -> None:
        self.log("starting")

    def _command_failed(
        self, message: str, status: int, output: bytes, errors: bytes
    ) -> RequestedAssertionFailed:
        # Who calls from plain Python or pytest sees the error, and may never see the log.
        message = _with_outputs(message, output, errors)
        return super()._command_failed(message, status, output, errors)


def _with_outputs(message: str, stdout: bytes, stderr: bytes) -> str:
    for name, data in (("stdout", stdout), ("stderr", stderr)):
        if data:
            message += f"\n{name}: {read_text(data).rstrip()}"
    return message


def _bytes(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise TypeError(f"the stdin of exec() must be bytes or a string, not {kind(value)}")
