"""Units of systemd."""

from __future__ import annotations

import re
from time import monotonic

from .._values import quote, seconds, text
from ..errors import RequestedAssertionFailed, RpcError
from .mixin import Mixin
from .retrying import retry

#: Leaves this package out of the tracebacks of pytest.
__tracebackhide__ = True

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._values import Timeout

_PROPERTY = re.compile(r"^([^=]+)=(.*)$")


class UnitsMixin(Mixin):
    """What machines with systemd can do."""

    def systemctl(self, q: str, user: str | None = None) -> tuple[int, str]:
        """Runs ``systemctl`` with these arguments (a piece of shell): its status and output.

        With ``user``, it speaks to that user's own manager.
        """
        text(q, "the arguments of systemctl()")
        if user is None:
            return self.execute(f"systemctl {q}")
        inside = f'XDG_RUNTIME_DIR="/run/user/$(id -u)" systemctl --user {q}'
        return self.execute(f"su -l {user} --shell /bin/sh -c {quote(inside)}")

    def wait_for_unit(self, unit: str, user: str | None = None, timeout: Timeout = 900) -> None:
        """Waits until a unit is active.

        Raises RequestedAssertionFailed at once when the unit has failed, or is inactive with no
        job that could change that, and when the time is over (900 seconds).
        """
        text(unit, "the unit of wait_for_unit()")
        limit = seconds(timeout)
        message = f"waiting for unit {unit}"
        if user is not None:
            message += f" with user {user}"
        with self._quick_nested(message):
            self.connect()
            started = monotonic()
            params = {"unit": unit, "user": user, "timeout": limit}
            try:
                self._rpc("machine.wait_unit", params)
            except RpcError as error:
                if error.kind == "unsupported":
                    # A guest without the agent: ask systemctl, as often as is bearable.
                    retry(lambda _last: self._unit_is_active(unit, user), timeout)
                elif error.kind == "unit":
                    self.log(error.message)
                    raise self._unit_failed(unit, error) from None
                else:
                    raise self._wait_failed(error, monotonic() - started, timeout) from None

    def _unit_failed(self, unit: str, error: RpcError) -> Exception:
        state = str(error.detail.get("state", ""))
        failure = RequestedAssertionFailed(_unit_message(unit, state))
        failure.machine = self.name
        failure.last_seen = error.last_seen or error.message
        return failure

    def _unit_is_active(self, unit: str, user: str | None) -> bool:
        state = self.get_unit_property(unit, "ActiveState", user)
        if state == "failed":
            raise RequestedAssertionFailed(_unit_message(unit, state))
        if state == "inactive":
            _, jobs = self.systemctl("list-jobs --full 2>&1", user)
            # Between the two questions a job may have ended: ask again before giving up.
            if (
                "No jobs" in jobs
                and self.get_unit_property(unit, "ActiveState", user) == "inactive"
            ):
                raise RequestedAssertionFailed(_unit_message(unit, state))
        return state == "active"

    def get_unit_info(self, unit: str, user: str | None = None) -> dict[str, str]:
        """All properties of a unit, as ``systemctl show`` prints them.

        Raises RequestedAssertionFailed when systemctl fails.
        """
        status, lines = self.systemctl(f'--no-pager show "{unit}"', user)
        if status != 0:
            raise RequestedAssertionFailed(
                f'retrieving systemctl info for unit "{unit}"{_under(user)} '
                f"failed with exit code {status}"
            )
        matches = (_PROPERTY.match(line) for line in lines.split("\n"))
        return {match[1]: match[2] for match in matches if match is not None}

    def get_unit_property(self, unit: str, property: str, user: str | None = None) -> str:
        """One property of a unit, as ``systemctl show`` prints it.

        Raises RequestedAssertionFailed when systemctl fails, or knows no such property.
        """
        query = f'--no-pager show "{unit}" --property="{property}"'
        status, lines = self.systemctl(query, user)
        if status != 0:
            raise RequestedAssertionFailed(
                f'retrieving systemctl property "{property}" for unit "{unit}"{_under(user)} '
                f"failed with exit code {status}"
            )
        name, equals, value = lines.partition("=")
        if not equals or name != property:
            raise RequestedAssertionFailed(
                f'systemctl show --property "{property}" "{unit}" produced invalid output: {lines}'
            )
        return value.rstrip("\n")

    def require_unit_state(self, unit: str, require_state: str = "active") -> None:
        """Demands that a unit is in this state now.

        Raises RequestedAssertionFailed when it is in another one.
        """
        with self._quick_nested(f"checking if unit '{unit}' has reached state '{require_state}'"):
            state = self.get_unit_info(unit).get("ActiveState", "")
            if state != require_state:
                raise RequestedAssertionFailed(
                    f"Expected unit '{unit}' to to be in state "
                    f"'{require_state}' but it is in state '{state}'"
                )

    def start_job(self, jobname: str, user: str | None = None) -> tuple[int, str]:
        """Runs ``systemctl start``: its status and output."""
        return self.systemctl(f"start {jobname}", user)

    def stop_job(self, jobname: str, user: str | None = None) -> tuple[int, str]:
        """Runs ``systemctl stop``: its status and output."""
        return self.systemctl(f"stop {jobname}", user)

    def switch_root(self) -> None:
        """Goes from the first stage of the boot, where the machine waits, to the second."""
        self.wait_for_unit("initrd.target")
        self.execute(
            "systemctl isolate --no-block initrd-switch-root.target >/dev/null 2>/dev/null",
            check_return=False,
            check_output=False,
        )
        self._connected = False
        self._stale = self._token
        self.connect()


def _unit_message(unit: str, state: str) -> str:
    if state == "inactive":
        return f'unit "{unit}" is inactive and there are no pending jobs'
    return f'unit "{unit}" reached state "{state}"'


def _under(user: str | None) -> str:
    return "" if user is None else f' under user "{user}"'
