"""What all tests lean on: the scripts of CI."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RUN = ROOT / ".ci" / "run"


@pytest.mark.skipif(not RUN.exists(), reason="only a checkout has .ci/run")
def test_the_tests_that_ci_names_are_there():
    """A test that is renamed or moved is renamed in .ci/run too, which would fail at its end."""
    named = re.findall(r"^    (tests/\S+)$", RUN.read_text(), re.MULTILINE)
    assert named
    missing = []
    for name in named:
        file, _, test = name.partition("::")
        text = (ROOT / file).read_text() if (ROOT / file).exists() else ""
        if f"def {test}(" not in text if test else not text:
            missing.append(name)
    assert missing == []
