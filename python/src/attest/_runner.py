"""Where attest starts Python. This file must be readable for every Python, to say what it needs."""

import sys


def main():  # type: ignore[no-untyped-def]
    # No annotations and no new syntax: an old Python would not come as far as the message.
    if sys.version_info < (3, 9):
        sys.stderr.write(
            "attest: scripts need CPython 3.9 or newer, and %s is %d.%d.\n"
            "Put a newer python3 on PATH, or name one in ATTEST_PYTHON.\n"
            % ((sys.executable or "python",) + tuple(sys.version_info[:2]))
        )
        sys.exit(3)
    if sys.argv[1:2] == ["outline"]:
        from attest._outline import main as outline

        sys.exit(outline(sys.argv[2:]))
    from attest._run import leave, run

    leave(run())


if __name__ == "__main__":
    if not __package__ and len(sys.path) > 0:
        # Started as a file: the package is next to it, and what is in it is no module by itself.
        import os

        here = os.path.dirname(os.path.abspath(__file__))
        sys.path[0] = os.path.dirname(here)
    main()  # type: ignore[no-untyped-call]
