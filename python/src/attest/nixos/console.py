"""The serial console, and sessions by hand."""

from __future__ import annotations

import re
import sys
from time import monotonic

from .._values import quote, read_text, seconds, text
from ..errors import MachineError, RequestedAssertionFailed, RpcError
from .mixin import Mixin
from .retrying import retry, timed_out

#: Leaves this package out of the tracebacks of pytest.
__tracebackhide__ = True

TYPE_CHECKING = False
if TYPE_CHECKING:
    from re import Pattern

    from .._values import Timeout


class ConsoleMixin(Mixin):
    """What a machine says on its console, and what can be typed there."""

    def get_console_log(self) -> str:
        """All that the console has said since the machine's start, without a last newline."""
        said = read_text(self._call("machine.console_text").attachment(0))
        return "\n".join(line.rstrip() for line in said.replace("\r", "").splitlines())

    def wait_for_console_text(self, regex: str, timeout: Timeout = None) -> None:
        """Waits until the console says something that matches a regular expression of Python.

        A match may span lines, with or without a newline between them. Each call goes on after
        the line where the match of the call before ended.

        Raises RequestedAssertionFailed when the time is over (None: no limit), MachineError when
        the machine has ended and its console so has nothing more to say.
        """
        pattern = re.compile(regex)
        limit = seconds(timeout)
        lines: list[str] = []
        ended = False
        with self._quick_nested(f"waiting for {regex} to appear on console"):
            self.run_callbacks()
            started = monotonic()
            while True:
                left = None if limit is None else max(0.0, started + limit - monotonic())
                new, ended = self._console_lines(left, wait=not ended)
                first = len(lines)
                lines += new
                taken = _match(pattern, lines, first)
                if taken is not None:
                    # What the match did not need is for the next call.
                    self._console_rest = lines[taken:]
                    return
                if ended and not new:
                    what = "ended" if self._ever_started else "has not been started"
                    raise MachineError(
                        f"machine `{self.name}` {what}: its console will not say /{regex}/"
                    )
                if limit is not None and not new and monotonic() - started >= limit:
                    raise self._console_timed_out(lines, monotonic() - started, timeout)

    def _console_timed_out(
        self, lines: list[str], elapsed: float, timeout: Timeout
    ) -> RequestedAssertionFailed:
        last = lines[-1] if lines else ""
        if last:
            self.log(f"last seen: {last}")
        failure = RequestedAssertionFailed(timed_out(elapsed, timeout))
        failure.machine = self.name
        failure.last_seen = last or None
        return failure

    def _console_lines(self, left: float | None, wait: bool) -> tuple[list[str], bool]:
        """The lines after the last ones that were taken, and whether there will be no more."""
        if self._console_rest:
            rest, self._console_rest = self._console_rest, []
            return (rest, False)
        params = {"from": self._console_from, "wait": wait, "timeout": left}
        try:
            reply = self._rpc("machine.console", params)
        except RpcError as error:
            if error.kind == "timed-out":
                return ([], False)
            raise self._failure(error) from None
        said = read_text(reply.attachment(0)).replace("\r", "")
        lines = [line.rstrip() for line in said.split("\n")[:-1]]
        self._console_from = int(reply.get("position"))
        return (lines, bool(reply.result.get("ended", False)))

    def send_console(self, chars: str) -> None:
        """Types on the serial console, such as ``"root\\n"``."""
        data = text(chars, "what is sent to a console").encode()
        self._call("machine.send_console", None, [data])

    # Text terminals.

    def get_tty_text(self, tty: str) -> str:
        """What a text terminal shows, such as the one with the number ``"1"``."""
        device = f"/dev/tty{tty}"
        _, output = self.execute(
            f'size=$(stty -F {device} size) && fold -w "${{size#* }}" /dev/vcs{tty}'
        )
        return output

    def wait_until_tty_matches(self, tty: str, regexp: str, timeout: Timeout = 900) -> None:
        """Waits until what a text terminal shows matches a regular expression of Python.

        Raises RequestedAssertionFailed when the time is over (900 seconds).
        """
        pattern = re.compile(regexp)

        def matches(last: bool) -> bool:
            shown = self.get_tty_text(tty)
            if last:
                self.log(
                    f"Last chance to match /{regexp}/ on TTY{tty}, "
                    f"which currently contains: {shown}"
                )
            return pattern.search(shown) is not None

        with self._quick_nested(f"waiting for {regexp} to appear on tty {tty}"):
            retry(matches, timeout)

    def dump_tty_contents(self, tty: str) -> None:
        """Writes what a text terminal shows into the machine's journal."""
        self.execute(f"fold -w 80 /dev/vcs{tty} | systemd-cat")

    # By hand.

    def shell_interact(self, address: str | None = None) -> None:
        """Reads shell commands from the terminal and runs them in the machine, until Ctrl-D.

        With ``address``, an address of ``socat``, they come from there, which needs socat on the
        host. Each line is a shell of its own that begins in the directory of the one before.
        """
        from .interact import shell

        self.connect()
        self.log("Terminal is ready (there is no initial prompt):")
        # In the middle of a prompt it would be in the way.
        self._client.call("log.flush")
        shell(self._interactive_line, address)

    def _interactive_line(self, line: str, directory: str) -> tuple[str, str]:
        """Runs a line: what it wrote, and the directory that it ended in."""
        mark = "attest-interact-directory:"
        begin = f"cd -- {quote(directory)}; " if directory else ""
        command = f'set +eu; {begin}trap \'printf "\\n{mark}%s" "$PWD"\' EXIT; {line}'
        _, output = self.execute(f"exec 2>&1; {command}", timeout=None)
        shown, _, ended = output.rpartition(f"\n{mark}")
        return (shown, ended) if _ else (output, directory)

    def console_interact(self) -> None:
        """Sends what is typed at the terminal to the serial console, until Ctrl-D."""
        self.log("Terminal is ready (there is no prompt):")
        while True:
            try:
                typed = sys.stdin.readline()
            except KeyboardInterrupt:
                break
            if not typed:
                self.log("Closing connection to the console")
                break
            self.send_console(typed)


def _match(pattern: Pattern[str], lines: list[str], first: int) -> int | None:
    """The shortest beginning of the lines that matches, as a number of lines.

    Those before ``first`` are known not to match by themselves.
    """
    alone = next((at + 1 for at in range(first, len(lines)) if pattern.search(lines[at])), None)
    until = len(lines) if alone is None else alone
    if until == first or not _found(pattern, lines, until):
        return alone
    # A beginning that matches goes on matching when it grows: halve what is left.
    low, high = first, until
    while high - low > 1:
        middle = (low + high) // 2
        if _found(pattern, lines, middle):
            high = middle
        else:
            low = middle
    return high


def _found(pattern: Pattern[str], lines: list[str], count: int) -> bool:
    beginning = lines[:count]
    return bool(pattern.search("\n".join(beginning)) or pattern.search("".join(beginning)))
