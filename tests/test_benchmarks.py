"""The command of the benchmarks, which takes too long to be run here, knows what it names."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import NAMES, main

FOLDER = Path(__file__).parent / "benchmarks"


def test_each_benchmark_is_told_of():
    """The guide's tables say what each one measures, first of those that run by default."""
    tables, _, _ = (FOLDER / "README.md").read_text().partition("\n## ")
    told = re.findall(r"^\| `(\w+)` \| ", tables, re.MULTILINE)
    runnable = [
        file.stem
        for file in FOLDER.glob("[!_]*.py")
        if 'if __name__ == "__main__":' in file.read_text()
    ]
    assert tuple(told[: len(NAMES)]) == NAMES
    assert sorted(told) == sorted(runnable)


def test_an_unknown_benchmark_is_an_error(monkeypatch, capsys):
    """The error lists those that there are, and nothing is measured."""
    monkeypatch.setattr(sys, "argv", ["benchmarks", "nosuch"])
    with pytest.raises(SystemExit) as got:
        main()
    assert got.value.code == f"No benchmark is called nosuch; pass {', '.join(NAMES)}."
    assert capsys.readouterr().out == ""


@pytest.mark.nightly
def test_luck_is_measured():
    """A search and a confirm() of models that draw their values at random come to a table."""
    command = [sys.executable, "-m", "tests.benchmarks.luck", "1"]
    done = subprocess.run(
        command, cwd=FOLDER.parent.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "\n| clear winners where there is none | " in done.stdout
