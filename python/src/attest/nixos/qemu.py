"""Virtual machines."""

from __future__ import annotations

from .base import BaseMachine
from .screen import ScreenMixin

#: Leaves this package out of the tracebacks of pytest.
__tracebackhide__ = True

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from .qmp import QMPSession
    from .surroundings import Surroundings


class QemuMachine(ScreenMixin, BaseMachine):
    """A virtual machine."""

    def __init__(self, surroundings: Surroundings, described: dict[str, Any]) -> None:
        super().__init__(surroundings, described)
        self._events = []
        self._events_from = 0

    def _started(self, result: object) -> None:
        super()._started(result)
        if isinstance(result, dict) and result.get("started", True):
            self._events = []
            self._events_from = 0

    @property
    def start_command(self) -> str | None:
        """What starts it: a path, or a piece of shell."""
        command = self._described.get("start_command")
        return command if isinstance(command, str) else None

    @property
    def monitor_path(self) -> Path:
        """The socket of QEMU's human monitor, on which attest listens."""
        return self.state_dir / "monitor"

    @property
    def qmp_path(self) -> Path:
        """The socket of QEMU's machine protocol, on which QEMU listens."""
        return self.state_dir / "qmp"

    @property
    def shell_path(self) -> Path:
        """The socket of the root shell, on which attest listens."""
        return self.state_dir / "shell"

    @property
    def qmp_client(self) -> QMPSession | None:
        """QEMU's machine protocol; None before the first start."""
        if not self._ever_started:
            return None
        from .qmp import QMPSession

        return QMPSession(self)

    def reboot(self) -> None:
        """Presses Ctrl-Alt-Delete; the next command waits for the next boot.

        The machine must have been started with ``allow_reboot``: else it ends.
        """
        self.send_key("ctrl-alt-delete")
        self.connected = False
