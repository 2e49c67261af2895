"""The command of the benchmarks, which takes too long to be run here, knows what it names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import NAMES

FOLDER = Path(__file__).parent / "benchmarks"


@pytest.mark.parametrize("name", NAMES)
def test_each_benchmark_is_there_and_told_of(name):
    """It is a module that can be run, and the guide's table says what it measures."""
    assert 'if __name__ == "__main__":' in (FOLDER / f"{name}.py").read_text()
    assert f"\n| `{name}` | " in (FOLDER / "README.md").read_text()


def test_an_unknown_benchmark_is_an_error():
    """The error lists those that there are, and nothing is measured."""
    command = [sys.executable, "-m", "tests.benchmarks", "nosuch"]
    done = subprocess.run(
        command, cwd=FOLDER.parent.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == f"No benchmark is called nosuch; pass {', '.join(NAMES)}.\n"
    assert done.stdout == ""


@pytest.mark.slow
def test_luck_is_measured():
    """A search and a confirm() of models that draw their values at random come to a table."""
    command = [sys.executable, "-m", "tests.benchmarks.luck", "1"]
    done = subprocess.run(
        command, cwd=FOLDER.parent.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "\n| clear winners where there is none | " in done.stdout
