"""Virtual networks between machines."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


class VLan:
    """A virtual network, whose number start scripts know it by."""

    def __init__(self, described: dict[str, Any]) -> None:
        #: Its number.
        self.nr = int(described["nr"])
        self._socket_dir = described.get("socket_dir")
        pid = described.get("pid")
        #: The process of its switch on the host.
        self.pid: int | None = pid if isinstance(pid, int) else None

    @property
    def socket_dir(self) -> Path:
        """The directory of the switch's sockets, on the host."""
        from pathlib import Path

        return Path(str(self._socket_dir))

    def __repr__(self) -> str:
        return f"<Vlan Nr. {self.nr}>"
