"""What pytest does for all tests here, beside the fixtures that they share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import time
import pytest

def spin():
    until = time.process_time() + 2.2
    while time.process_time() < until:
        pass

def test_unmarked():
    spin()

def test_that_waits():
    time.sleep(2.2)

@pytest.mark.slow
def test_slow():
    spin()
"""


@pytest.mark.slow
def test_a_fast_test_takes_two_seconds_of_its_process_at_most(tmp_path):
    """One that takes more and has no mark fails with a line that says what to do."""
    (tmp_path / "test_some.py").write_text(TESTS)
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-n", "0", "-m", ""]
    done = subprocess.run(
        [*command, "-c", root / "pyproject.toml", tmp_path],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 failed, 2 passed" in done.stdout, done.stdout + done.stderr
    assert "Failed: The test took 2." in done.stdout
    assert "mark it with @pytest.mark.slow." in done.stdout
    assert "::test_unmarked" in done.stdout
