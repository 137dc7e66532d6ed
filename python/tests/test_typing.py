"""Type checkers are content with the package, and with scripts that use it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from attest.nixos.driver import pythonize_name
from support import SOURCE, CorpusScript, corpus

PRELUDE = "from attest.testscript import *\n"


def declarations(script: CorpusScript) -> str:
    """The types of a script's machines, as a stub."""
    lines = ["from attest.nixos import QemuMachine, NspawnMachine\n"]
    for name in script.words("machines"):
        lines.append(f"{pythonize_name(name)}: QemuMachine\n")
    for name in script.words("containers"):
        lines.append(f"{pythonize_name(name)}: NspawnMachine\n")
    # A name with an underscore in front is not part of `import *`.
    names = [
        pythonize_name(name) for kind in ("machines", "containers") for name in script.words(kind)
    ]
    return "".join([*lines, f"__all__ = {names!r}\n"])


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    for script in corpus():
        stem = script.path.stem
        (tmp_path / f"machines_of_{stem}.pyi").write_text(declarations(script))
        imports = f"{PRELUDE}from machines_of_{stem} import *\n"
        (tmp_path / f"script_{stem}.py").write_text(imports + script.text)
    return tmp_path


def need(program: str) -> str:
    beside = Path(sys.executable).parent / program
    found = str(beside) if beside.exists() else shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def check(command: list[str], directory: Path) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_is_content_with_the_package() -> None:
    check([need("mypy"), "--no-error-summary"], SOURCE.parent)


def test_pyright_is_content_with_the_package() -> None:
    check([need("pyright"), "--pythonpath", sys.executable], SOURCE.parent)


def test_mypy_is_content_with_scripts(scripts: Path) -> None:
    files = [str(path) for path in sorted(scripts.glob("*.py"))]
    (scripts / "mypy.ini").write_text(f"[mypy]\nmypy_path = {SOURCE}\ncheck_untyped_defs = True\n")
    check([need("mypy"), "--no-error-summary", *files], scripts)


def test_pyright_is_content_with_scripts(scripts: Path) -> None:
    (scripts / "pyrightconfig.json").write_text(
        f'{{"extraPaths": ["{SOURCE}"], "typeCheckingMode": "basic",'
        ' "reportWildcardImportFromLibrary": false, "reportMissingModuleSource": false,'
        ' "reportUnusedExpression": false}'
    )
    check([need("pyright"), "--pythonpath", sys.executable], scripts)


def test_mistakes_in_scripts_are_found(tmp_path: Path) -> None:
    """The types say something: these mistakes would fail only when a script runs."""
    mistakes = {
        "machine.succed('true')": "attr-defined",
        "machine.succeed('true', timeuot=1)": "call-arg",
        "machine.succeed(['true'])": "arg-type",
        "machine.wait_for_open_port('x' + 1)": "operator",
        "x: int = machine.succeed('true')": "assignment",
        "machine.wait_for_unit('x', timeout='1')": "arg-type",
    }
    (tmp_path / "mypy.ini").write_text(f"[mypy]\nmypy_path = {SOURCE}\n")
    (tmp_path / "script.py").write_text(PRELUDE + "\n".join(mistakes) + "\n")
    done = subprocess.run(
        [need("mypy"), "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    found = dict(re.findall(r"script\.py:(\d+): error: .*\[([\w-]+)\]", done.stdout))
    first = PRELUDE.count("\n") + 1
    assert found == {str(first + n): code for n, code in enumerate(mistakes.values())}
