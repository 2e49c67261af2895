"""Each entry of the CHANGELOG names the tests that hold it, in promises.md."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROMISES = (ROOT / "tests" / "promises.md").read_text(encoding="utf-8")
ENTRY = re.compile(r"^- (.*?)(?=^- |^#|\Z)", re.MULTILINE | re.DOTALL)


def test_each_entry_has_a_line():
    """The lines begin with the first eight words of the entries, in the same order."""
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    begins = [" ".join(entry.split()[:8]) for entry in ENTRY.findall(changes)]
    assert re.findall(r"^- (.*?) … → ", PROMISES, re.MULTILINE) == begins


def test_the_tests_are_there():
    """Each is a function of the module that is named."""
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PROMISES)
    lost = [
        f"{module}::{name}"
        for module, name in named
        if f"def {name}(" not in (ROOT / module).read_text(encoding="utf-8")
    ]
    assert len(named) > 150
    assert lost == []
