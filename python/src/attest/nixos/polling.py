"""Conditions that must hold while a script does something else."""

from __future__ import annotations

from time import monotonic

from ..errors import PollingConditionError
from .retrying import retry

#: Leaves this package out of the tracebacks of pytest.
__tracebackhide__ = True

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Callable, Optional

    from .._values import Timeout
    from .driver import Driver
    from .logger import Logger, Nested

    Condition = Callable[[], Optional[bool]]


class PollingCondition:
    """A function that must give something true (or None), and when it was asked last."""

    def __init__(
        self,
        condition: Condition,
        logger: Logger,
        seconds_interval: float = 2.0,
        description: str | None = None,
    ) -> None:
        self.condition = condition
        self.logger = logger
        self.seconds_interval = seconds_interval
        name: object = getattr(condition, "__name__", repr(condition))
        self.description = str(
            description if description is not None else condition.__doc__ or name
        )
        self.last_called = float("-inf")
        self.entry_count = 0

    def check(self, force: bool = False) -> bool:
        """Asks the condition when it is due (or by ``force``): whether it holds."""
        if (self.entered or not self.overdue) and not force:
            return True
        with self, self._nested():
            since = monotonic() - self.last_called
            never = self.last_called == float("-inf")
            self.logger.info("(not called yet)" if never else f"Time since last: {since:.2f}s")
            try:
                result = self.condition()
            except Exception:
                result = False
            holds = result is None or bool(result)
            self.logger.info(self.status_message(holds))
            return holds

    def maybe_raise(self) -> None:
        """Raises PollingConditionError when it is due and does not hold."""
        if not self.check():
            raise PollingConditionError(self.status_message(False))

    def status_message(self, status: bool) -> str:
        """The outcome, for people."""
        return f"Polling condition {'succeeded' if status else 'failed'}: {self.description}"

    def _nested(self) -> Nested:
        return self.logger.nested(f"Checking polling condition {self.description!r}")

    @property
    def due_in(self) -> float | None:
        """Seconds until it must be asked again; None while it is being asked."""
        if self.entered:
            return None
        return max(0.0, self.last_called + self.seconds_interval - monotonic())

    @property
    def overdue(self) -> bool:
        """Whether it must be asked again."""
        return self.last_called + self.seconds_interval <= monotonic()

    @property
    def entered(self) -> bool:
        """Whether it is being asked."""
        return self.entry_count > 0

    def __enter__(self) -> None:
        self.entry_count += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.entry_count -= 1
        self.last_called = monotonic()


class Poll:
    """What ``polling_condition`` gives: ``with condition: …`` holds it up, ``wait`` awaits it."""

    def __init__(
        self,
        driver: Driver,
        function: Condition,
        seconds_interval: float,
        description: str | None,
    ) -> None:
        self._driver = driver
        self.condition = PollingCondition(function, driver.logger, seconds_interval, description)

    def __enter__(self) -> None:
        self._driver.polling_conditions.append(self.condition)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._driver.polling_conditions.remove(self.condition)

    def wait(self, timeout: Timeout = 900) -> None:
        """Waits until the condition holds (seconds or a timedelta; 900 seconds).

        Raises RequestedAssertionFailed when it does not in that time.
        """
        logger = self._driver.logger
        description = self.condition.description

        def holds(last: bool) -> bool:
            if last:
                logger.info(f"Last chance for {description}")
            result = self.condition.check(force=True)
            if not result and not last:
                logger.info(f"({description} failure not fatal yet)")
            return result

        with logger.nested(f"waiting for {description}"):
            retry(holds, timeout)
