"""What is found in scripts without running them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from attest._outline import Outline
from support import RUNNER, SOURCE

SCRIPT = '''\
"""A shop."""
import attest
import helper

raise SystemExit("it is not run")


def add(lab, name):
    lab["db"].succeed(f"add {name}")


@attest.setup
def database(lab):
    add(lab, "tables")
    return {"token": 7}


@attest.setup(after=database)
def filled(lab, state):
    add(lab, "rows")


@attest.setup
def other(db):
    helper.start(db)


@attest.test(setup=filled)
def reads(lab, state):
    """It reads."""
    assert lab


def test_fresh(lab):
    pass


@attest.test(setup=None)
def bare(lab):
    pass
'''


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "shop.py"
    path.write_text(SCRIPT)
    (tmp_path / "helper.py").write_text("from pack import deep\ndef start(db): deep.start(db)\n")
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("from . import sub\n")
    (tmp_path / "pack" / "deep.py").write_text("def start(db): db.succeed('true')\n")
    (tmp_path / "pack" / "sub.py").write_text("X = 1\n")
    (tmp_path / "pack" / "unused.py").write_text("X = 1\n")
    return path


def run(script: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-S", str(RUNNER), "outline", script.name],
        cwd=script.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def outline(script: Path) -> Any:
    done = run(script)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def keys(script: Path) -> dict[str, str]:
    return {setup["name"]: setup["key"] for setup in outline(script)["setups"]}


def test_set_ups_and_tests_in_the_order_of_the_file(script: Path) -> None:
    found = outline(script)
    assert [(one["name"], one["after"]) for one in found["setups"]] == [
        ("database", None),
        ("filled", "database"),
        ("other", None),
    ]
    assert found["tests"] == [
        {"name": "reads", "setup": "filled"},
        {"name": "test_fresh", "setup": None},
        {"name": "bare", "setup": None},
    ]
    assert len(set(keys(script).values())) == 3
    module = subprocess.run(
        [sys.executable, "-m", "attest._outline", script.name],
        cwd=script.parent,
        env={"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
    )
    again = json.loads(module.stdout)
    # That depends on how long ago the files were written.
    del again["places"], found["places"]
    assert again == found


def test_a_script_of_one_piece_has_none(script: Path) -> None:
    script.write_text("def helper(): pass\nserver.succeed('true')\n")
    assert outline(script) == {"setups": [], "tests": [], "places": {}}


def test_the_set_up_called_setup_is_that_of_all_tests(script: Path) -> None:
    script.write_text(
        "from attest import setup as begin, test as check\n"
        "@begin\ndef setup(lab): pass\n"
        "def test_a(lab): pass\n"
        "@check\ndef b(lab): pass\n"
        "@check()\ndef c(lab): pass\n"
        "@check(setup=None)\ndef d(lab): pass\n"
        "@begin()\ndef e(lab): pass\n"
    )
    found = outline(script)
    assert [one["setup"] for one in found["tests"]] == ["setup", "setup", "setup", None]
    assert [one["after"] for one in found["setups"]] == [None, None]


@pytest.mark.parametrize(
    ("imports", "module"),
    [
        ("import attest.nixos", "attest."),
        ("import attest as a, os", "a."),
        ("if True:\n    import attest", "attest."),
        ("from attest import *", ""),
        ("from attest import lab, test, setup", ""),
    ],
)
def test_marks_are_known_however_they_are_imported(script: Path, imports: str, module: str) -> None:
    script.write_text(
        f"{imports}\n@{module}setup\ndef a(): ...\n@{module}test(setup=a)\ndef b(): ...\n"
        "@other.test\ndef c(): ...\n"
    )
    assert outline(script)["tests"] == [{"name": "b", "setup": "a"}]


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        # Tests, comments, and where lines are.
        ("    assert lab\n", "    assert not lab\n", []),
        ('"""It reads."""', '"""It still reads."""', []),
        ("def test_fresh(lab):\n    pass\n", "", []),
        ("@attest.test(setup=filled)", "@attest.test(setup=database)", []),
        ("def add(", "# A comment.\n\n\ndef add(", []),
        # What set-ups use, and what they are.
        ("add {name}", "insert {name}", ["database", "filled", "other"]),
        ('"""A shop."""', '"""The shop."""', ["database", "filled", "other"]),
        ('"tables"', '"views"', ["database", "filled"]),
        ('"rows"', '"columns"', ["filled"]),
        ("    helper.start(db)", "    helper.start(db)\n    db.sync()", ["other"]),
        ("@attest.setup(after=database)", "@attest.setup(after=other)", ["filled"]),
    ],
)
def test_what_changes_a_key(script: Path, old: str, new: str, changed: list[str]) -> None:
    before = keys(script)
    assert old in SCRIPT
    script.write_text(SCRIPT.replace(old, new))
    after = keys(script)
    assert [name for name in before if before[name] != after[name]] == changed


@pytest.mark.parametrize(
    ("file", "text", "changes"),
    [
        ("helper.py", "from pack import deep\ndef start(db): pass\n", True),
        ("pack/deep.py", "def start(db): db.succeed('false')\n", True),
        ("pack/sub.py", "X = 2\n", True),
        ("pack/__init__.py", "from . import sub\nY = 1\n", True),
        ("pack/__init__.py", "from . import sub  # A comment.\n", False),
        ("pack/unused.py", "X = 2\n", False),
        ("new.py", "X = 2\n", False),
        ("pack/sub.py", "X = (\n", True),
    ],
)
def test_modules_next_to_the_script_count(
    script: Path, file: str, text: str, changes: bool
) -> None:
    before = keys(script)
    (script.parent / file).write_text(text)
    assert (keys(script) != before) == changes


def test_modules_that_only_tests_import_do_not_count(script: Path) -> None:
    (script.parent / "only.py").write_text("X = 1\n")
    text = SCRIPT.replace("    assert lab\n", "    import only\n")
    script.write_text(text)
    before = keys(script)
    (script.parent / "only.py").write_text("X = 2\n")
    assert keys(script) == before


@pytest.mark.parametrize("named", ["site/index.html", "site", "./site/", "../files/site"])
def test_files_that_set_ups_name_count(tmp_path: Path, named: str) -> None:
    script = tmp_path / "files" / "script.py"
    page = tmp_path / "files" / "site" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text("one")
    other = tmp_path / "files" / "other"
    other.write_text("one")
    script.write_text(
        "import attest\n"
        f"@attest.setup\ndef setup(web): web.upload(f'{named}', '/www')\n"
        "def test_x(web): web.upload('other', '/tmp')\n"
    )
    before = keys(script)
    other.write_text("two")
    assert keys(script) == before
    page.write_text("two")
    assert keys(script) != before


def test_places_that_keys_depend_on_are_told(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def places() -> dict[str, str] | None:
        directory = str(script.parent)
        found = Outline(script.read_bytes(), str(script)).describe(directory)["places"]
        return cast("dict[str, str] | None", found)

    # They were written just now.
    assert places() is None
    monkeypatch.setattr("attest._depends._SETTLED", 0)
    before = places()
    assert before is not None
    deep = script.parent / "pack" / "deep.py"
    assert before[str(deep)].startswith("100644 ")
    missing = script.parent / "pack.py"
    assert before[str(missing)] == ""
    missing.write_text("")
    after = places()
    assert after is not None
    assert after[str(deep)] == before[str(deep)]
    assert after[str(missing)] != ""
    monkeypatch.setattr("attest._depends._MOST_PLACES", 2)
    assert places() is None


def test_places_whose_names_are_no_text_are_not_told(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = script.parent / "site"
    site.mkdir()
    (site / os.fsdecode(b"\xff.html")).write_text("")
    script.write_text(SCRIPT.replace('"tables"', '"site"'))
    monkeypatch.setattr("attest._depends._SETTLED", 0)
    found = Outline(script.read_bytes(), str(script)).describe(str(script.parent))
    assert found["places"] is None
    json.dumps(found).encode()


def test_names_of_what_is_no_file_do_not_count(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    names = ["", ".", "..", "/", "nothing", "a\0b", "x" * 5000, "\n", " "]
    script.write_text(
        f"import attest\nnames = {names}\n@attest.setup\ndef a(): ...\ndef test_x(): ...\n"
    )
    before = keys(script)
    (tmp_path / "more").write_text("")
    assert keys(script) == before


def test_the_directory_does_not_count(
    script: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import shutil

    elsewhere = tmp_path_factory.mktemp("elsewhere") / "shop"
    shutil.copytree(script.parent, elsewhere)
    assert keys(elsewhere / script.name) == keys(script)


def test_modules_that_import_each_other(script: Path) -> None:
    (script.parent / "pack" / "sub.py").write_text("import helper\nfrom .. import shop\n")
    assert len(keys(script)) == 3


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "if a\n    pass\n",
            '  File "shop.py", line 1\n    if a\n        ^\nSyntaxError: ',
        ),
        (
            "@attest.setup(after=nothing)\ndef a(): ...\ndef test_x(): ...\n",
            '  File "shop.py", line 2\n    @attest.setup(after=nothing)\n'
            "                        ^^^^^^^\n"
            "ScriptError: `a` goes on from `nothing`, which is no set-up of this script; it has "
            "`a`",
        ),
        (
            "@attest.setup(after=b)\ndef a(): ...\n@attest.setup(after=a)\ndef b(): ...\n"
            "def test_x(): ...\n",
            "ScriptError: these set-ups go on from each other, so that none can be first: "
            "`a` → `b` → `a`",
        ),
        (
            "@attest.setup(after=a)\ndef a(): ...\ndef test_x(): ...\n",
            "so that none can be first: `a` → `a`",
        ),
        ("@attest.test(setup=test_y)\ndef x(): ...\ndef test_y(): ...\n", "it has none"),
        ("@attest.test(setup='a')\ndef x(): ...\n", "`setup=` of `x` has to be the name of a set"),
        ("@attest.test(after=x)\ndef x(): ...\n", "`@attest.test` takes `setup=` and nothing else"),
        ("@attest.setup(x)\ndef x(): ...\n", "`@attest.setup` takes `after=` and nothing else"),
        ("async def test_x(): ...\n", "`test_x` is an `async def`: set-ups and tests are fun"),
        ("@attest.test\nclass X: ...\n", "`X` is a class"),
        ("if 1:\n    @attest.test\n    def x(): ...\n", "`x` has to stand at the top level"),
        ("@attest.test\n@attest.setup\ndef x(): ...\n", "`x` is marked twice"),
        ("def test_x(): ...\ndef test_x(): ...\n", "there are two of the name `test_x`"),
        ("@attest.setup\ndef x(): ...\n", "there is the set-up `x`, but no test: mark one with"),
        ("\0", "source code string cannot contain null bytes"),
    ],
)
def test_mistakes_are_shown_with_their_place(script: Path, text: str, shown: str) -> None:
    script.write_text(
        text if text in ("\0",) or text.startswith("if a") else "import attest\n" + text
    )
    done = run(script)
    assert (done.returncode, done.stdout) == (1, "")
    if sys.version_info < (3, 10):
        shown = shown.replace("^^^^^^^", "^")
    assert shown in done.stderr
    assert str(SOURCE) not in done.stderr


def test_a_script_that_is_missing(tmp_path: Path) -> None:
    done = run(tmp_path / "missing.py")
    assert done.returncode == 1
    assert "No such file or directory: 'missing.py'" in done.stderr
