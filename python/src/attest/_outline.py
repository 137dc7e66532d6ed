"""What is in a script: its set-ups and tests, found without running it.

    python -m attest._outline SCRIPT

prints it as JSON. A script that cannot be read is told on standard error, with the exit code 1.
"""

from __future__ import annotations

import ast
import os
import sys

from ._depends import Places, depends, digest
from .errors import ScriptError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Union

    Function = Union[ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef]

#: A function whose name begins so is a test.
PREFIX = "test_"
#: The set-up of tests that name none.
DEFAULT = "setup"
#: What each decorator takes: the set-up that the function goes on from.
_TAKES = {"setup": "after", "test": "setup"}


class Part:
    """A function that is a set-up or a test."""

    def __init__(self, node: Function, kind: str, names: bool, base: ast.expr | None) -> None:
        self.node = node
        self.name = node.name
        self.kind = kind
        #: Whether it says what it goes on from, and with which expression; that may be None.
        self.names = names
        self.base = base
        #: The set-up that it goes on from.
        self.after: str | None = None


class Outline:
    """The set-ups and tests of a script.

    Raises SyntaxError, with the place, when it is not written as scripts are.
    """

    def __init__(self, source: bytes, name: str) -> None:
        self._name = name
        self._lines = source.decode("utf-8", "replace").splitlines()
        self._tree = ast.parse(source, name)
        self._marks = _Marks(self._tree)
        self._parts: dict[str, Part] = {}
        for node in self._tree.body:
            self._collect(node)
        self.setups = [part for part in self._parts.values() if part.kind == "setup"]
        self.tests = [part for part in self._parts.values() if part.kind == "test"]
        for part in self._parts.values():
            self._resolve(part)
        for part in self.setups:
            self._refuse_circle(part)
        if self.setups and not self.tests:
            raise self._error(
                f"there is the set-up `{self.setups[0].name}`, but no test: mark one with "
                f"`@attest.test`, or call it `{PREFIX}…`",
                self.setups[0].node,
            )

    def describe(self, directory: str) -> dict[str, Any]:
        """As attest reads it. Modules of the script are looked for in this directory."""
        places = Places()
        return {
            "setups": [
                {"name": part.name, "after": part.after, "key": self.key(part, directory, places)}
                for part in self.setups
            ],
            "tests": [{"name": part.name, "setup": part.after} for part in self.tests],
            "places": places.told(),
        }

    def lineage(self, part: Part) -> list[str]:
        """The set-ups that lead to a part, and itself: the last comes first."""
        names = [part.name]
        while part.after is not None and part.after not in names:
            names.append(part.after)
            part = self._parts[part.after]
        return names

    def key(self, part: Part, directory: str, places: Places) -> str:
        """The digest of all code that a set-up's state may depend on.

        That is the script without its tests and without the set-ups that do not lead there, and
        what stands next to it and is imported or named there. Comments and the places of lines do
        not count.
        """
        lineage = self.lineage(part)
        wanted: list[ast.AST] = [
            node
            for node in self._tree.body
            if not self._is_part(node) or getattr(node, "name", None) in lineage
        ]
        texts = [part.name, *map(ast.dump, wanted), *depends(wanted, directory, places)]
        # None of them has a NUL: what is dumped has it as an escape, and files have none in names.
        return digest("\0".join(texts).encode("utf-8", "surrogatepass"))

    def _is_part(self, node: ast.AST) -> bool:
        name = getattr(node, "name", None)
        return name in self._parts and self._parts[name].node is node

    # Finding them.

    def _collect(self, node: ast.stmt) -> None:
        for inner in ast.walk(node):
            if inner is not node and isinstance(inner, _FUNCTIONS) and self._marks.of(inner):
                raise self._error(
                    f"`{inner.name}` has to stand at the top level of the script: it is found "
                    "without running anything",
                    inner,
                )
        if not isinstance(node, _FUNCTIONS):
            return
        marks = self._marks.of(node)
        if not marks and (isinstance(node, ast.ClassDef) or not node.name.startswith(PREFIX)):
            return
        if not isinstance(node, ast.FunctionDef):
            what = "a class" if isinstance(node, ast.ClassDef) else "an `async def`"
            raise self._error(
                f"`{node.name}` is {what}: set-ups and tests are functions made by `def`", node
            )
        if len(marks) > 1:
            raise self._error(f"`{node.name}` is marked twice", marks[1][1])
        if node.name in self._parts:
            raise self._error(
                f"there are two of the name `{node.name}`: only the last would be there when the "
                "script runs",
                node,
            )
        names, base = False, None
        kind = "test"
        if marks:
            kind, decorator = marks[0]
            names, base = self._base(kind, decorator)
        self._parts[node.name] = Part(node, kind, names, base)

    def _base(self, kind: str, decorator: ast.expr) -> tuple[bool, ast.expr | None]:
        """Whether a decorator says what its function goes on from, and what it says."""
        if not isinstance(decorator, ast.Call):
            return (False, None)
        taken = _TAKES[kind]
        keywords = decorator.keywords
        if decorator.args or any(keyword.arg != taken for keyword in keywords):
            raise self._error(f"`@attest.{kind}` takes `{taken}=` and nothing else", decorator)
        return (True, keywords[0].value) if keywords else (False, None)

    def _resolve(self, part: Part) -> None:
        """Finds the set-up that a part goes on from."""
        base = part.base
        if not part.names:
            default = self._parts.get(DEFAULT)
            if part.kind == "test" and default is not None and default.kind == "setup":
                part.after = DEFAULT
            return
        assert base is not None
        if isinstance(base, ast.Constant) and base.value is None:
            return
        if not isinstance(base, ast.Name):
            raise self._error(
                f"`{_TAKES[part.kind]}=` of `{part.name}` has to be the name of a set-up of this "
                "script",
                base,
            )
        found = self._parts.get(base.id)
        if found is None or found.kind != "setup":
            known = ", ".join(f"`{one.name}`" for one in self.setups) or "none"
            raise self._error(
                f"`{part.name}` goes on from `{base.id}`, which is no set-up of this script; it "
                f"has {known}",
                base,
            )
        part.after = base.id

    def _refuse_circle(self, part: Part) -> None:
        lineage = self.lineage(part)
        first = self._parts[lineage[-1]].after
        if first is not None:
            circle = [*lineage[lineage.index(first) :], first]
            raise self._error(
                "these set-ups go on from each other, so that none can be first: "
                + " → ".join(f"`{name}`" for name in circle),
                part.base or part.node,
            )

    def _error(self, message: str, node: ast.expr | Function) -> ScriptError:
        """An error that is shown as Python shows its own: with the line, and a caret below."""
        line, start, end = node.lineno, node.col_offset, node.end_col_offset or 0
        if isinstance(node, _FUNCTIONS) or node.end_lineno != line:
            end = 0
        text = self._lines[line - 1] if line <= len(self._lines) else ""
        # Columns of the tree are bytes of UTF-8.
        start, end = (len(text.encode()[:at].decode("utf-8", "replace")) for at in (start, end))
        place: tuple[Any, ...] = (self._name, line, start + 1, text)
        # Older Pythons have no ends.
        if end > start and sys.version_info >= (3, 10):
            place += (line, end + 1)
        return ScriptError(message, place)


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class _Marks:
    """What a script calls attest's decorators."""

    def __init__(self, tree: ast.Module) -> None:
        self._modules: set[str] = set()
        self._names: dict[str, str] = {}
        # Wherever it is imported: a mark that is overlooked would be a test that never runs.
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name == "attest":
                        self._modules.add(alias.asname or alias.name)
                    elif alias.name.startswith("attest.") and alias.asname is None:
                        self._modules.add("attest")
            elif isinstance(node, ast.ImportFrom) and node.module == "attest" and not node.level:
                for alias in node.names:
                    if alias.name in _TAKES:
                        self._names[alias.asname or alias.name] = alias.name
                    elif alias.name == "*":
                        self._names.update({name: name for name in _TAKES})

    def of(self, node: Function) -> list[tuple[str, ast.expr]]:
        """The marks of a function: each with its decorator."""
        found = []
        for decorator in node.decorator_list:
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            kind = None
            if isinstance(called, ast.Name):
                kind = self._names.get(called.id)
            elif (
                isinstance(called, ast.Attribute)
                and called.attr in _TAKES
                and isinstance(called.value, ast.Name)
                and called.value.id in self._modules
            ):
                kind = called.attr
            if kind is not None:
                found.append((kind, decorator))
        return found


def main(arguments: list[str]) -> int:
    """Prints the outline of a script: the exit code."""
    import json

    (path,) = arguments
    try:
        with open(path, "rb") as file:
            outline = Outline(file.read(), path)
        directory = os.path.dirname(os.path.abspath(path))
        print(json.dumps(outline.describe(directory)))
    except (SyntaxError, ValueError, OSError, RecursionError) as error:
        from ._failure import render

        print("\n".join(render(error, path)), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
