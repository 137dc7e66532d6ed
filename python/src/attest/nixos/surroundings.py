"""What machines need of the driver or lab that they belong to."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from .._rpc import Client
    from .logger import Logger


class Surroundings:
    """The connection, the log, and what runs beside the commands of all machines."""

    def __init__(
        self,
        client: Client,
        logger: Logger,
        output: str,
        base_dir: str | None = None,
        shared_dir: str | None = None,
    ) -> None:
        self.client = client
        self.logger = logger
        #: Where results go.
        self.output = output
        self.base_dir = base_dir
        self.shared_dir = shared_dir
        #: Called before each command of each machine, and while something is awaited.
        self.callbacks: list[Callable[[], object]] = []
        #: In how many seconds the callbacks must be called again; None when there is no need.
        self.next_check: Callable[[], float | None] = _never


def _never() -> float | None:
    return None
