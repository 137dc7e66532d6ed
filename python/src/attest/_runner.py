"""Where attest starts Python. This file must be readable for every Python, to say what it needs."""

import os
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


def keep_compiled(package):  # type: ignore[no-untyped-def]
    """Compiles attest's own modules once, where Python is told not to keep what it compiles.

    Many images of containers say so (PYTHONDONTWRITEBYTECODE), and mean their own files: attest's
    are in its cache, and each start would compile all of them again, which takes longer than all
    else that it does.
    """
    if not sys.dont_write_bytecode or getattr(sys, "pycache_prefix", None):
        return
    # Beside what is compiled.
    tag = sys.implementation.cache_tag or "none"
    done = os.path.join(package, "__pycache__", "compiled." + tag)
    if os.path.exists(done) or not os.access(package, os.W_OK):
        return
    import compileall

    # What cannot be compiled, or be kept, is not this function's to tell.
    compileall.compile_dir(package, quiet=2)
    try:
        with open(done, "w"):
            pass
    except OSError:
        pass


if __name__ == "__main__":
    if not __package__ and len(sys.path) > 0:
        # Started as a file: the package is next to it, and what is in it is no module by itself.
        here = os.path.dirname(os.path.abspath(__file__))
        sys.path[0] = os.path.dirname(here)
        if sys.version_info >= (3, 9):
            keep_compiled(here)  # type: ignore[no-untyped-call]
    main()  # type: ignore[no-untyped-call]
