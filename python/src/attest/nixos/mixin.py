"""What the parts of a machine's class know of the whole."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .._rpc import Client, Reply
    from .._values import Timeout
    from ..errors import RpcError
    from .logger import Logger, Nested
    from .surroundings import Surroundings


class Mixin:
    """Declarations only: a machine's class is cut into several files by what its methods do."""

    if TYPE_CHECKING:
        name: str
        logger: Logger
        _client: Client
        _surroundings: Surroundings
        _described: dict[str, Any]
        _connected: bool
        _token: str | None
        _stale: str | None
        _ever_started: bool
        _console_from: int
        _console_rest: list[str]

        def _rpc(
            self,
            method: str,
            params: dict[str, Any] | None = None,
            attachments: Sequence[bytes] = (),
        ) -> Reply: ...

        def _call(
            self,
            method: str,
            params: dict[str, Any] | None = None,
            attachments: Sequence[bytes] = (),
        ) -> Reply: ...

        def _failure(self, error: RpcError) -> Exception: ...

        def _wait_failed(self, error: RpcError, elapsed: float, timeout: Timeout) -> Exception: ...

        def _wait(self, message: str, target: dict[str, Any], timeout: Timeout) -> Reply: ...

        def _prepare(self, command: str) -> str: ...

        def _command(self, command: object, method: str) -> str: ...

        def _quick_nested(self, message: str) -> Nested: ...

        def log(self, msg: str) -> None: ...

        def run_callbacks(self) -> None: ...

        def connect(self) -> None: ...

        def execute(
            self,
            command: str,
            check_return: bool = True,
            check_output: bool = True,
            timeout: Timeout = 900,
        ) -> tuple[int, str]: ...

        def succeed(self, *commands: str, timeout: Timeout = None) -> str: ...
