"""Every script of the corpus passes on the mock."""

from __future__ import annotations

import pytest

from support import CorpusScript, corpus, run


@pytest.mark.parametrize("script", corpus(), ids=lambda script: script.path.stem)
def test_passes(script: CorpusScript) -> None:
    if script.path.stem.startswith("real_"):
        pytest.skip("needs the services that it tests: it is type-checked only")
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
