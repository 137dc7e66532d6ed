"""The screen, the keyboard, and QEMU's monitors."""

from __future__ import annotations

import os
import re
from time import monotonic

from .._values import seconds, text
from ..errors import RpcError
from .mixin import Mixin
from .retrying import retry

#: Leaves this package out of the tracebacks of pytest.
__tracebackhide__ = True

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from .._values import Timeout

_WINDOW = re.compile(r'0x[0-9a-f]+ "([^"]*)"')
_X_IS_UP = (
    "journalctl --boot SYSLOG_IDENTIFIER=systemd "
    "| grep -F 'Reached target Current graphical' >/dev/null "
    "&& test -e /tmp/.X11-unix/X0"
)


class ScreenMixin(Mixin):
    """What virtual machines have: a screen, keys, and a monitor."""

    # Keys.

    def send_key(self, key: str, delay: float | None = 0.01, log: bool | None = True) -> None:
        """Presses keys at once, by names of QEMU (``"ctrl-alt-delete"``), or one character.

        Waits ``delay`` seconds (0.01) afterwards.
        """
        text(key, "a key")
        pause = seconds(delay, "delay")
        if log:
            with self._quick_nested(f"sending key {key!r}"):
                self._press(key, pause)
        else:
            self._press(key, pause)

    def _press(self, key: str, delay: float | None) -> None:
        self.run_callbacks()
        if len(key) == 1:
            self._call("machine.send_chars", {"chars": key, "delay": delay})
        else:
            self._call("machine.send_keys", {"keys": [key], "delay": delay})

    def send_chars(self, chars: str, delay: float | None = 0.01) -> None:
        """Types text on the keyboard, with ``delay`` seconds (0.01) after each character."""
        text(chars, "what is typed")
        with self._quick_nested(f"sending keys {chars!r}"):
            self.run_callbacks()
            self._call("machine.send_chars", {"chars": chars, "delay": seconds(delay, "delay")})

    # Screen.

    def screenshot(self, filename: str) -> None:
        """Takes a picture of the screen as PNG.

        A name without a slash is one in the directory of results; one without a dot gets ``.png``.
        """
        path = os.fspath(filename)
        if "." not in path:
            path += ".png"
        if "/" not in path:
            path = os.path.join(self._surroundings.output, path)
        attributes = {"machine": self.name, "image": os.path.basename(path)}
        with self.logger.nested(f"making screenshot {path}", attributes):
            self.run_callbacks()
            self._call("machine.screenshot", {"path": os.path.abspath(path)})

    def get_screen_text(self) -> str:
        """What the screen shows, as a program for reading pictures (tesseract) makes it out."""
        return self._screen_texts(variants=False)[0]

    def get_screen_text_variants(self) -> list[str]:
        """Several readings of what the screen shows, at least one, in no order."""
        return self._screen_texts(variants=True)

    def _screen_texts(self, variants: bool) -> list[str]:
        self.run_callbacks()
        texts = self._call("machine.screen_text", {"variants": variants}).get("texts")
        return [str(one) for one in texts] or [""]

    def wait_for_text(self, regex: str, timeout: Timeout = 900) -> None:
        """Waits until a reading of the screen matches a regular expression of Python.

        Raises RequestedAssertionFailed when the time is over (900 seconds).
        """
        pattern = re.compile(regex)

        def matches(last: bool) -> bool:
            texts = self.get_screen_text_variants()
            if any(pattern.search(one) for one in texts):
                return True
            if last:
                self.log(f"Last OCR attempt failed. Text was: {texts}")
            return False

        with self._quick_nested(f"waiting for {regex} to appear on screen"):
            retry(matches, timeout)

    # X11.

    def wait_for_x(self, timeout: Timeout = 900) -> None:
        """Waits until the graphical session has begun and the X server accepts connections.

        Raises RequestedAssertionFailed when the time is over (900 seconds).
        """
        target = {"succeeds": self._prepare(_X_IS_UP)}
        self._wait("waiting for the X11 server", target, timeout)

    def get_window_names(self) -> list[str]:
        """The titles of all X11 windows."""
        return _WINDOW.findall(self.succeed("xwininfo -root -tree"))

    def wait_for_window(self, regexp: str, timeout: Timeout = 900) -> None:
        """Waits until an X11 window's title matches a regular expression of Python.

        Raises RequestedAssertionFailed when the time is over (900 seconds).
        """
        pattern = re.compile(regexp)

        def is_there(last: bool) -> bool:
            names = self.get_window_names()
            if last:
                self.log(
                    f"Last chance to match {regexp} on the window list, "
                    f"which currently contains: {', '.join(names)}"
                )
            return any(pattern.search(name) for name in names)

        with self._quick_nested("waiting for a window to appear"):
            retry(is_there, timeout)

    # Monitors.

    def send_monitor_command(self, command: str) -> str:
        """Sends a command to QEMU's human monitor: its answer, with the echo and the prompt."""
        self.run_callbacks()
        params = {"command": text(command, "a monitor command")}
        return str(self._call("machine.monitor", params).get("text"))

    def wait_for_qmp_event(
        self, event_filter: Callable[[dict[str, Any]], bool], timeout: Timeout = 600
    ) -> dict[str, Any]:
        """Waits for an event of QEMU for which the filter gives something true: the event.

        Events that came since the last call count; those that the filter lets pass are gone.

        Raises TimeoutError when there is none in time (600 seconds).
        """
        limit = seconds(timeout)
        started = monotonic()
        while True:
            left = None if limit is None else started + limit - monotonic()
            event = self._next_event(left)
            if event_filter(event):
                return event
            if limit is not None and monotonic() - started >= limit:
                raise TimeoutError(f"machine `{self.name}`: no such event of QEMU in {timeout} s")

    def _next_event(self, left: float | None) -> dict[str, Any]:
        """The next event of QEMU. Raises TimeoutError when there is none in time."""
        if not self._events:
            wait = None if left is None else max(0.0, left)
            self._more_events(wait=True, left=wait)
        if not self._events:
            raise TimeoutError(f"machine `{self.name}`: no event of QEMU in time")
        return self._events.pop(0)

    def _more_events(self, wait: bool, left: float | None) -> None:
        params = {"from": self._events_from, "wait": wait, "timeout": left}
        try:
            reply = self._rpc("machine.qmp_events", params)
        except RpcError as error:
            if error.kind == "timed-out":
                return
            raise self._failure(error) from None
        self._events_from = int(reply.get("position"))
        self._events += [event for event in reply.get("events") if isinstance(event, dict)]

    if TYPE_CHECKING:
        _events: list[dict[str, Any]]
        _events_from: int

    # The network.

    def block(self) -> None:
        """Pulls the cable of the machine's network card for the other machines."""
        self._call("machine.link", {"up": False})

    def unblock(self) -> None:
        """Puts the cable back in that `block` pulled."""
        self._call("machine.link", {"up": True})

    def forward_port(self, host_port: int = 8080, guest_port: int = 80) -> None:
        """Forwards a TCP port of the host to one of the machine."""
        params = {"host_port": int(host_port), "guest_port": int(guest_port)}
        self._call("machine.forward", params)
