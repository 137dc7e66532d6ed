"""Runs one script of attest's, from start to exit code."""

from __future__ import annotations

import os
import sys

from ._rpc import MAX_TEXT, Client
from .errors import MachineError, RequestedAssertionFailed, RpcError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any, NoReturn

    from .nixos.driver import Driver

#: The environment variable with the descriptor of the socket.
FD_VARIABLE = "ATTEST_RPC_FD"

#: Exit codes: the script failed; it was interrupted; attest cannot be reached.
FAILED = 1
INTERRUPTED = 130
NO_ATTEST = 3


class Outcome:
    """How a script ended."""

    def __init__(
        self,
        outcome: str,
        code: int,
        message: str | None = None,
        lines: list[str] | None = None,
        value: Any = None,
    ) -> None:
        self.outcome = outcome
        self.code = code
        self.message = message
        self.lines = lines or []
        #: What a set-up returned.
        self.value = value


def run() -> int:
    """Does what attest asks for: the exit code."""
    # Lines of print() must not come after what attest wrote later.
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(line_buffering=True)
    # It is nothing for the script's own environment, which is looked at when these are imported.
    descriptor = os.environ.pop(FD_VARIABLE, None)
    # Before attest answers: it starts this program ahead of what there is to do.
    from .nixos import aliases
    from .nixos.driver import Driver

    try:
        client = _connect(descriptor)
        described = client.call("session.describe").result
    except (MachineError, RpcError, ValueError, OSError) as error:
        print(f"attest: {error}", file=sys.stderr)
        return NO_ATTEST
    aliases.install()
    driver = Driver(client, described)
    script = Script(driver, described.get("script"), described.get("part"))
    driver._run = script.test_script
    offset = described.get("ssh_offset")
    if offset is not None:
        driver.dump_machine_ssh(int(offset))
    if described.get("interactive"):
        from ._interactive import interact

        interact(driver, script)
        outcome = Outcome("passed", 0)
    else:
        outcome = script.run()
    return _end(client, outcome)


def leave(code: int) -> NoReturn:
    """Ends the program as ``sys.exit``, but leaves its memory to the kernel.

    Taking the interpreter apart is most of what an end takes, and a lab ends after it.
    """
    import atexit

    threading = sys.modules.get("threading")
    if threading is not None:
        others = (thread for thread in threading.enumerate() if not thread.daemon)
        if any(thread is not threading.current_thread() for thread in others):
            # These are waited for.
            sys.exit(code)
    try:
        atexit._run_exitfuncs()
        _flush()
    finally:
        os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass


def _connect(value: str | None) -> Client:
    if value is None:
        raise ValueError(f"{FD_VARIABLE} is not set: this program is started by attest")
    try:
        descriptor = int(value)
        os.fstat(descriptor)
    except (ValueError, OSError):
        raise ValueError(f"{FD_VARIABLE} is no open descriptor: {value!r}") from None
    client = Client(descriptor)
    client.hello()
    return client


def _end(client: Client, outcome: Outcome) -> int:
    _flush()
    params: dict[str, Any] = {
        "outcome": outcome.outcome,
        "code": outcome.code,
        "message": None if outcome.message is None else outcome.message[:MAX_TEXT],
        "traceback": _last(outcome.lines),
    }
    if outcome.value is not None:
        params["value"] = outcome.value
    try:
        client.call("script.ended", params)
    except (MachineError, RpcError, KeyboardInterrupt):
        # attest is gone, or takes too long for somebody: the exit code still says how it went.
        pass
    return outcome.code


def _last(lines: list[str]) -> list[str]:
    """The last of the lines, as many as one message can have."""
    left = MAX_TEXT
    for count, line in enumerate(reversed(lines)):
        left -= len(line)
        if left < 0:
            return [line[:MAX_TEXT]] if count == 0 else lines[-count:]
    return lines


class Script:
    """The script, and its globals."""

    def __init__(
        self,
        driver: Driver,
        described: dict[str, Any] | None,
        part: dict[str, Any] | None = None,
    ) -> None:
        self._driver = driver
        # What of the script is to be run, when it is not all of it.
        self._part = part
        self._path = None if described is None else str(described["path"])
        #: The file name in tracebacks.
        self.name = "<string>" if described is None else str(described.get("name") or "<string>")
        self._source: str | None = None

    def run(self) -> Outcome:
        """Runs the tests: how they ended. What failed is in the log."""
        value = None
        try:
            if self._part is None:
                self._driver.run_tests()
            else:
                value = self._run_part(self._part)
        except BaseException as error:
            from ._failure import describe

            outcome = describe(error, self.name)
            self._tell(outcome)
            if isinstance(error, Exception):
                self._break(error)
            return outcome
        return Outcome("passed", 0, value=value)

    def _run_part(self, part: dict[str, Any]) -> Any:
        """Runs the script's top level, and then one function of it: what that returned."""
        from ._parts import call

        assert self._driver.lab is not None
        return call(part, self._execute(self._driver), self._driver.lab)

    def _tell(self, outcome: Outcome) -> None:
        logger = self._driver.logger
        try:
            for line in outcome.lines:
                logger.log_test_error(line)
        except MachineError:
            # No attest, no log: the terminal is left.
            for line in outcome.lines:
                print(line, file=sys.stderr)

    def _break(self, error: Exception) -> None:
        """Stops at a failure, when a hook for that was asked for."""
        if not isinstance(error, (MachineError, SyntaxError)):
            try:
                self._driver.debug.post_mortem(error, self.name)
            except OSError as refused:
                # The port is taken: the failure of the script is what counts.
                self._driver.logger.log_test_error(f"no debugger: {refused}")

    def test_script(self, driver: Driver) -> None:
        """Runs the script in new globals."""
        self._execute(driver)

    def _execute(self, driver: Driver) -> dict[str, Any]:
        """Runs the script: its globals."""
        if self._path is None:
            raise RequestedAssertionFailed("there is no test script to run")
        code = self.compile()
        symbols = driver.test_symbols()
        if _mentions(code, "t"):
            from .nixos.testcase import AssertionTester

            symbols["t"] = AssertionTester()
        if _mentions(code, "threading"):
            self._watch_threads()
        self._find_modules(driver)
        exec(code, symbols)
        return symbols

    def _find_modules(self, driver: Driver) -> None:
        """Lets a script of attest's own import what stands next to it, as Python does."""
        if driver.lab is not None and self._path is not None:
            # This package comes first.
            sys.path.insert(1, os.path.dirname(os.path.abspath(self._path)))

    def _watch_threads(self) -> None:
        """Shows failures of threads as those of the script."""
        import threading

        def show(failed: threading.ExceptHookArgs) -> None:
            from ._failure import render

            if failed.exc_value is None or isinstance(failed.exc_value, SystemExit):
                return
            name = "" if failed.thread is None else failed.thread.name
            lines = [f"Exception in thread {name}:", *render(failed.exc_value, self.name)]
            self._tell(Outcome("error", FAILED, None, lines))

        threading.excepthook = show

    def compile(self) -> CodeType:
        """The script's code.

        Raises SyntaxError, and OSError when it cannot be read.
        """
        assert self._path is not None
        with open(self._path, "rb") as file:
            source = file.read()
        self._remember(source)
        return compile(source, self.name, "exec", dont_inherit=True)

    def _remember(self, source: bytes) -> None:
        """Lets tracebacks and the debugger show lines of the script, whatever its name is."""
        import linecache

        shown = source.decode("utf-8", "replace")
        self._driver.tests = shown
        lines = shown.splitlines(keepends=True)
        linecache.cache[self.name] = (len(shown), None, lines, self.name)


def _mentions(code: CodeType, name: str) -> bool:
    """Whether the code, or a function in it, uses a global of this name."""
    if name in code.co_names:
        return True
    kind = type(code)
    return any(_mentions(inner, name) for inner in code.co_consts if isinstance(inner, kind))
