"""How machines start, answer and end."""

from __future__ import annotations

from time import monotonic

from ..errors import MachineError
from .mixin import Mixin

#: Leaves this package out of the tracebacks of pytest.
__tracebackhide__ = True

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from .logger import Nested
    from .process import MachineProcess


class LifeMixin(Mixin):
    """Start and end of a machine, and its places on the host."""

    _what = "VM"

    # Places.

    @property
    def out_dir(self) -> Path:
        """The directory of results, on the host."""
        return self._path(self._surroundings.output)

    @property
    def state_dir(self) -> Path:
        """The machine's own directory, on the host.

        Raises MachineError when this kind of machine has none.
        """
        return self._place("state_dir", self._described.get("state_dir"))

    @property
    def shared_dir(self) -> Path:
        """The directory that all machines share, on the host (in guests ``/tmp/shared``).

        Raises MachineError when this kind of machine has none.
        """
        given = self._described.get("shared_dir") or self._surroundings.shared_dir
        return self._place("shared_dir", given)

    @property
    def tmp_dir(self) -> Path:
        """The directory that holds the machines' own ones, on the host."""
        return self._place("tmp_dir", self._surroundings.base_dir)

    def _place(self, name: str, value: object) -> Path:
        if not isinstance(value, str):
            raise MachineError(f"machine `{self.name}` has no {name}: {self._kind} machines do not")
        return self._path(value)

    @staticmethod
    def _path(value: str) -> Path:
        from pathlib import Path

        return Path(value)

    @property
    def _kind(self) -> str:
        return str(self._described.get("kind", ""))

    def cleanup_statedir(self) -> None:
        """Deletes the machine's own directory on the host."""
        import shutil

        directory = self.state_dir
        shutil.rmtree(directory)
        self.log(f"deleting machine state directory {directory}")
        self.log("if you want to keep the machine state, pass --keep-machine-state")

    # State.

    def _state(self) -> dict[str, Any]:
        result = self._call("machine.state").result
        return result if isinstance(result, dict) else {}

    @property
    def booted(self) -> bool:
        """Whether the machine runs, though it may not answer yet."""
        return bool(self._state().get("booted", False))

    @booted.setter
    def booted(self, value: bool) -> None:
        # Scripts say False when they have seen the machine end: attest has seen it too.
        if not value:
            self._forget()

    @property
    def connected(self) -> bool:
        """Whether commands can run. Scripts set it to False to wait for the next boot."""
        return self._connected

    @connected.setter
    def connected(self, value: bool) -> None:
        if value:
            self._connected = True
        elif self._connected:
            self._connected = False
            self._stale = self._token

    def _forget(self) -> None:
        """The machine is off: the next session is a new one in any case."""
        self._connected = False
        self._token = None
        self._stale = None

    @property
    def pid(self) -> int | None:
        """The process on the host in which the machine runs; None when it is off."""
        pid = self._state().get("pid")
        return pid if isinstance(pid, int) else None

    @pid.setter
    def pid(self, value: int | None) -> None:
        # Scripts that end a machine by hand say so; attest knows.
        del value

    @property
    def process(self) -> MachineProcess | None:
        """The process on the host in which the machine runs; None before its first start."""
        if not self._ever_started:
            return None
        from .process import MachineProcess

        return MachineProcess(self)

    @process.setter
    def process(self, value: MachineProcess | None) -> None:
        del value

    def is_up(self) -> bool:
        """Whether the machine runs and commands can."""
        return self._connected and self.booted

    # Start.

    def start(self, allow_reboot: bool = False) -> None:
        """Starts the machine, without waiting until it is up; one that runs is left alone.

        A machine ends when it reboots, unless ``allow_reboot``.

        Raises MachineError when it does not start.
        """
        if not self.booted:
            self._starting()
            params = {"allow_reboot": bool(allow_reboot)}
            self._started(self._call("machine.start", params).result)

    def _starting(self) -> None:
        if self._kind == "vm-script":
            self._surroundings.tell_environment(self._lab)
        self.log("starting vm" if self._what == "VM" else "starting container")

    def _started(self, result: object) -> None:
        self._ever_started = True
        if not isinstance(result, dict) or not result.get("started", True):
            return
        self._forget()
        self._console_from = 0
        self._console_rest = []
        program = "QEMU" if self._what == "VM" else "systemd-nspawn"
        self.log(f"{program} running (pid {result.get('pid')})")

    def connect(self) -> None:
        """Waits until the machine runs commands; starts it if need be.

        Raises MachineError when it ends before that.
        """
        if self._connected:
            return
        with self._quick_nested(f"waiting for the {self._what} to finish booting"):
            self.start()
            started = monotonic()
            result = self._call("machine.connect", {"after": self._stale}).result
            token = result.get("token") if isinstance(result, dict) else None
            self._token = token if isinstance(token, str) else None
            self._stale = None
            self._connected = True
            self.log("connected to guest root shell")
            self.log(f"(connecting took {monotonic() - started:.2f} seconds)")

    # End.

    def wait_for_shutdown(self) -> None:
        """Waits until the machine has powered off, without asking it to."""
        if not self._ever_started:
            return
        with self._quick_nested(f"waiting for the {self._what} to power off"):
            self._call("machine.wait_ended", {"timeout": None})
            self._forget()

    def shutdown(self) -> None:
        """Powers the machine off through its system, and waits for that."""
        if not self.booted:
            return
        with self._quick_nested(f"waiting for the {self._what} to power off"):
            self._call("machine.power_off")
            self._forget()

    def crash(self) -> None:
        """Pulls the machine's plug."""
        if not self.booted:
            return
        self.log("forced crash")
        self._call("machine.kill")
        self._forget()

    def release(self) -> None:
        """Ends the machine without waiting for it: the end of a test."""
        self._call("machine.release")
        self._forget()

    def ssh_backdoor_command(self, index: int) -> str:
        """The command that opens a root shell in the machine, the ``index``-th of the test."""
        return f"ssh -o User=root vsock/{index}"

    # The log, with the machine's name.

    def nested(self, msg: str, attrs: dict[str, str] | None = None) -> Nested:
        """A part of the log with a heading, with the machine's name."""
        return self.logger.nested(msg, {"machine": self.name, **(attrs or {})})

    def _quick_nested(self, message: str) -> Nested:
        from .logger import Nested

        return Nested(self.logger, message, {"machine": self.name}, flush=False)

    def log_serial(self, msg: str) -> None:
        """Writes a line as if the machine's serial console had said it."""
        self.logger.log_serial(msg, self.name)
