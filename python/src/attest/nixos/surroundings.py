"""What machines need of the driver or lab that they belong to."""

from __future__ import annotations

import os

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


    def tell_environment(self, lab: int) -> None:
        """Gives start scripts the environment that the test's script has now, if it has changed it:
        tests name disks for start scripts that way.
        """
        environment = _environment()
        if environment != Surroundings._told:
            self.client.call("lab.environment", {"lab": lab, "environment": environment})
            Surroundings._told = environment

    #: The driver was started with the same environment as this process.
    _told: dict[str, str] = {}


def _environment() -> dict[str, str]:
    """What is text of the environment; nothing else can be sent."""
    return {
        name: value
        for name, value in os.environ.items()
        if _is_text(name) and _is_text(value)
    }


def _is_text(value: str) -> bool:
    # Bytes that are no text are lone surrogates.
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


Surroundings._told = _environment()


def _never() -> float | None:
    return None
