"""Python's debugger over a connection."""

from __future__ import annotations

import pdb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from socket import socket
    from types import FrameType, TracebackType
    from typing import Any


class RemotePdb(pdb.Pdb):
    """A debugger that ends its connection when the program goes on."""

    def __init__(self, connection: socket, frame: FrameType | None) -> None:
        self._frame: FrameType | None = frame
        self._connection = connection
        # One stream for both would forget what it has read ahead at each write.
        self._input = connection.makefile("r", encoding="utf-8", newline="\n")
        self._output = connection.makefile("w", encoding="utf-8", newline="\n")
        super().__init__(stdin=self._input, stdout=self._output)
        self.use_rawinput = False

    def set_trace(self, frame: FrameType | None = None, *rest: Any, **more: Any) -> None:
        """Stops at the next line of the frame."""
        super().set_trace(frame or self._frame, *rest, **more)

    def examine(self, traceback: TracebackType) -> None:
        """Looks at what has failed, from its innermost frame."""
        self.reset()
        self.interaction(None, traceback)

    def set_step(self) -> None:
        """Stops at the next line; the first time of the frame, not of what still runs in here."""
        if not self._stop_at_frame():
            super().set_step()

    def set_stepinstr(self) -> None:
        """What Python 3.13 and later call in place of `set_step`."""
        if not self._stop_at_frame():
            super().set_stepinstr()  # type: ignore[misc,unused-ignore]

    def _stop_at_frame(self) -> bool:
        frame, self._frame = self._frame, None
        if frame is not None:
            self.set_next(frame)
        return frame is not None

    def do_continue(self, arg: str) -> bool | None:
        """c(ont(inue)): goes on, and ends the connection unless there are breakpoints."""
        result = super().do_continue(arg)
        if not self.breaks:
            self._hang_up()
        return result

    do_c = do_cont = do_continue

    def do_quit(self, arg: str) -> bool | None:
        """q(uit): ends the program and the connection."""
        result = super().do_quit(arg)
        self._hang_up()
        return result

    do_q = do_exit = do_quit

    def _hang_up(self) -> None:
        self._output.close()
        self._input.close()
        self._connection.close()
