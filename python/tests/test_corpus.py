"""Every script of the corpus passes on the mock."""

from __future__ import annotations

import shutil

import pytest

from support import CorpusScript, corpus, run


@pytest.mark.parametrize("script", corpus(), ids=lambda script: script.path.stem)
def test_passes(script: CorpusScript) -> None:
    if script.path.stem.startswith("real_"):
        pytest.skip("needs the services that it tests: it is type-checked only")
    if {"nc", "netcat-openbsd"} & set(script.words("needs")) and shutil.which("nc") is None:
        pytest.skip("this host has no nc")
    stdin = (script.line("stdin") or "").encode().decode("unicode_escape")
    ran = run(
        script.text,
        stdin=stdin,
        machines=script.words("machines") or None,
        containers=script.words("containers"),
    )
    failure = "\n".join([*ran.server.log("test-error"), ran.stdout, ran.stderr])
    assert ran.code == 0, failure
    assert ran.outcome == "passed"
