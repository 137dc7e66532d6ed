"""Doing something again until it works, for what no event tells."""

from __future__ import annotations

from time import monotonic, sleep

from .._values import kind, seconds
from ..errors import RequestedAssertionFailed

#: Leaves this package out of the tracebacks of pytest.
__tracebackhide__ = True

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from .._values import Timeout

#: The pause after the first try, and the longest one, in seconds.
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 1.0

_DEFAULT = 900


def retry(
    fn: Callable[[bool], object],
    timeout: Timeout = _DEFAULT,
    timeout_seconds: Timeout = None,
) -> None:
    """Calls ``fn`` until it gives something true.

    It is called with False, after pauses that grow up to a second, and when the time is over once
    more with True: its last chance. The time is ``timeout`` or ``timeout_seconds`` (seconds or a
    timedelta; 900 seconds).

    Raises RequestedAssertionFailed when the last chance fails, and what ``fn`` raises.
    """
    if not callable(fn):
        raise TypeError(f"retry() needs something to call, not {kind(fn)}")
    given = timeout if timeout_seconds is None else timeout_seconds
    limit = seconds(given)
    started = monotonic()
    pause = _FIRST_PAUSE
    while limit is None or monotonic() - started < limit:
        if fn(False):
            return
        left = pause if limit is None else min(pause, started + limit - monotonic())
        if left > 0:
            sleep(left)
        pause = min(_LONGEST_PAUSE, pause * 1.5)
    elapsed = monotonic() - started
    if not fn(True):
        raise RequestedAssertionFailed(timed_out(elapsed, given))


def timed_out(elapsed: float, limit: Timeout) -> str:
    """What is said when the time is over."""
    return f"action timed out after {elapsed:.2f} seconds (timeout={limit})"
