"""A prompt of Python with the globals of a script."""

from __future__ import annotations

import code
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._run import Script
    from .nixos.driver import Driver

#: In the directory in which attest was started.
HISTORY = ".nixos-test-history"

_BANNER = """\
Python {version}: start_all() starts the machines, test_script() runs the script.
Tab completes names, exit() or Ctrl-D ends all machines and the session."""


class Console(code.InteractiveConsole):
    """Errors end nothing here, and show the user's own lines only."""

    def __init__(self, symbols: dict[str, Any], name: str) -> None:
        super().__init__(symbols)
        self._name = name

    def showtraceback(self) -> None:
        """Prints the traceback of the error that is being handled."""
        from ._failure import render

        error = sys.exc_info()[1]
        if error is not None:
            # The lines that were typed belong to no file that could be shown.
            sys.last_value = error
            # The first frame is the prompt's own.
            if error.__traceback__ is not None:
                error.__traceback__ = error.__traceback__.tb_next
            self.write("\n".join(render(error, self._name)) + "\n")


def interact(driver: Driver, script: Script) -> None:
    """Reads and runs what is typed until the end of input or ``exit()``."""
    symbols = driver.test_symbols()
    symbols["test_script"] = _forgiving(driver.test_script, script)
    symbols["run_tests"] = _forgiving(driver.run_tests, script)
    save = _readline(symbols)
    console = Console(symbols, "<console>")
    try:
        console.interact(_BANNER.format(version=sys.version.split()[0]), exitmsg="")
    except SystemExit:
        pass
    finally:
        save()


def _forgiving(function: Any, script: Script) -> Any:
    """The function, without an end of the session when the script fails."""

    def run() -> None:
        from ._failure import describe

        try:
            function()
        except Exception as error:
            # What goes through attest's log would come after the next prompt.
            print("\n".join(describe(error, script.name).lines), file=sys.stderr)
        except SystemExit as error:
            print(f"the script ended with exit code {error.code or 0}")

    run.__name__ = run.__qualname__ = function.__name__
    run.__doc__ = function.__doc__
    return run


def _readline(symbols: dict[str, Any]) -> Any:
    """Completion and history, where Python has them: what must be called at the end."""
    try:
        import readline
        import rlcompleter
    except ImportError:
        return lambda: None
    path = os.path.join(os.getcwd(), HISTORY)
    readline.set_completer(rlcompleter.Completer(symbols).complete)
    readline.parse_and_bind("tab: complete")
    try:
        readline.read_history_file(path)
    except OSError:
        pass
    readline.set_history_length(10_000)

    def save() -> None:
        try:
            readline.write_history_file(path)
        except OSError:
            # A directory that cannot be written to: the next session begins without a history.
            pass

    return save
