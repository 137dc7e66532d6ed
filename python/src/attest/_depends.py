"""What the code of a script depends on, of the files that stand next to it.

The script is read and not run: what it imports or names in other words than these is not found.
"""

from __future__ import annotations

import ast
import os
import stat
import time

# hashlib alone takes longer than all that is done here.
try:
    from _blake2 import blake2b
except ImportError:  # pragma: no cover
    from hashlib import blake2b

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: Bytes of a digest. Nobody attacks it.
_DIGEST = 16
#: A file of more bytes is told by its size and the time of its last change.
_LARGE = 16 << 20
#: A longer string is no name of a file, characters.
_LONGEST_NAME = 1000
#: What was looked at is told of so many places at most: asking for them again has to be faster
#: than reading them.
_MOST_PLACES = 2000
#: What changed this short a time ago can change once more without another time of change,
#: nanoseconds: file systems have coarse clocks, of 10 ms or of 2 s.
_SETTLED = 2_000_000_000


def digest(data: bytes) -> str:
    """What stands for these bytes in keys."""
    return blake2b(data, digest_size=_DIGEST).hexdigest()


class Places:
    """The places in the file system that were looked at, also those where nothing was.

    Whoever finds all of them unchanged need not look again.
    """

    def __init__(self) -> None:
        self._known: dict[str, os.stat_result | None] = {}

    def look(self, path: str) -> os.stat_result | None:
        """What is at a place, which is remembered: before it is read, a change makes it another."""
        if path not in self._known:
            try:
                self._known[path] = os.stat(path)
            except (OSError, ValueError):
                self._known[path] = None
        return self._known[path]

    def is_file(self, path: str) -> bool:
        known = self.look(path)
        return known is not None and stat.S_ISREG(known.st_mode)

    def is_directory(self, path: str) -> bool:
        known = self.look(path)
        return known is not None and stat.S_ISDIR(known.st_mode)

    def told(self) -> dict[str, str] | None:
        """What is at each: nothing, or what changes with it.

        ``None`` where that cannot be relied on, or not be told.
        """
        there = [known for known in self._known.values() if known is not None]
        newest = max((known.st_ctime_ns for known in there), default=0)
        settled = newest + _SETTLED < time.time_ns()
        # As JSON they are UTF-8.
        written = all(map(_is_text, self._known))
        if not settled or not written or len(self._known) > _MOST_PLACES:
            return None
        return {path: _stamp(known) for path, known in self._known.items()}


def _stamp(known: os.stat_result | None) -> str:
    if known is None:
        return ""
    return f"{known.st_mode:o} {known.st_size} {known.st_ctime_ns} {known.st_ino}"


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def depends(code: list[ast.AST], directory: str, places: Places) -> list[str]:
    """All that stands next to a script and that this code of it imports or names, as texts.

    Equal texts mean that the code does the same.
    """
    modules, trees = _modules(code, directory, places)
    return [*modules, *_named([*code, *trees], directory, places)]


def _modules(
    code: list[ast.AST], directory: str, places: Places
) -> tuple[list[str], list[ast.AST]]:
    """The modules that this code imports, and those that they import: what is in them."""
    found: dict[str, str] = {}
    trees: list[ast.AST] = []
    waiting = [file for node in code for file in _imported(node, directory, directory, places)]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        with open(path, "rb") as file:
            source = file.read()
        place = os.path.relpath(path, directory)
        try:
            tree = ast.parse(source, path)
        except SyntaxError:
            # Whoever imports it finds out.
            found[path] = f"{place}: {source!r}"
            continue
        found[path] = f"{place}: {ast.dump(tree)}"
        trees.append(tree)
        waiting += _imported(tree, directory, os.path.dirname(path), places)
    return [found[path] for path in sorted(found)], trees


def _imported(code: ast.AST, directory: str, here: str, places: Places) -> Iterator[str]:
    """The files that this code may import, of those below the script's directory.

    ``here`` is where relative imports begin.
    """
    for node in ast.walk(code):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files(directory, alias.name, places)
        elif isinstance(node, ast.ImportFrom):
            base = directory
            if node.level:
                base = os.path.normpath(os.path.join(here, *[".."] * (node.level - 1)))
            module = node.module or ""
            yield from _files(base, module, places)
            for alias in node.names:
                # It may be a module of a package as well as a name in a module.
                name = f"{module}.{alias.name}".lstrip(".")
                yield from _files(base, name, places, last_only=True)


def _files(base: str, name: str, places: Places, last_only: bool = False) -> Iterator[str]:
    path = base
    parts = name.split(".") if name else []
    for part in parts:
        path = os.path.join(path, part)
        if last_only and part is not parts[-1]:
            continue
        for file in (path + ".py", os.path.join(path, "__init__.py")):
            if places.is_file(file):
                yield file


def _named(code: list[ast.AST], directory: str, places: Places) -> Iterator[str]:
    """What is in the files and directories that strings of this code name.

    A set-up copies them into machines, or reads them. Names are relative to the script.
    """
    names = {
        node.value
        for tree in code
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _may_name(node.value)
    }
    for name in sorted(names):
        path = os.path.normpath(os.path.join(directory, name))
        if places.is_file(path):
            yield f"{name}: {_contents(path)}"
        elif places.is_directory(path) and os.path.commonpath([path, directory]) != path:
            yield from (f"{name}: {line}" for line in _tree(path, places))


def _may_name(text: str) -> bool:
    if not text or len(text) > _LONGEST_NAME or os.path.isabs(text):
        return False
    return text.isprintable() and not text.isspace()


def _tree(top: str, places: Places) -> Iterator[str]:
    for place, directories, files in os.walk(top):
        places.look(place)
        # What Python writes there itself is no change.
        directories[:] = sorted(name for name in directories if name != "__pycache__")
        for name in sorted(files):
            path = os.path.join(place, name)
            places.look(path)
            yield f"{os.path.relpath(path, top)}: {_contents(path)}"


def _contents(path: str) -> str:
    """What tells two states of a file apart."""
    try:
        known = os.stat(path)
        mode = f"{known.st_mode:o}"
        if known.st_size > _LARGE:
            return f"{mode} {known.st_size} {known.st_mtime_ns}"
        with open(path, "rb") as file:
            return f"{mode} {digest(file.read())}"
    except OSError as error:
        # Whoever copies it finds out.
        return error.strerror or "unreadable"
