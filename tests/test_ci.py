"""What all tests lean on: the scripts of CI, the limit of fast tests, servers that are named."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy

from tests.support import servers

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


def refusal(server):
    """Return what a test gets that asks for a database of a server that is not there."""
    refused = (pytest.skip.Exception, sqlalchemy.exc.OperationalError)
    with pytest.raises(refused) as got, servers.database(server):
        pass
    return got.value


@pytest.mark.parametrize("server", servers.SERVERS)
def test_only_a_server_that_is_named_has_to_answer(server, monkeypatch):
    """Its tests are skipped where nobody named one, and the reason says how to name it."""
    variable = f"KERASTUNE_{server.upper()}"
    with servers.free_port() as port:  # on which nobody listens
        away = sqlalchemy.make_url(servers.SERVERS[server]).set(host="127.0.0.1", port=port)
        monkeypatch.setitem(servers.SERVERS, server, away)
        monkeypatch.delenv(variable, raising=False)
        assert variable in str(refusal(server))
        monkeypatch.setenv(variable, str(away))
        assert isinstance(refusal(server), sqlalchemy.exc.OperationalError)


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
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-n", "0", "-m", ""]
    done = subprocess.run(
        [*command, "-c", ROOT / "pyproject.toml", tmp_path],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "KERASTUNE_FAST"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 failed, 2 passed" in done.stdout, done.stdout + done.stderr
    assert "Failed: The test took 2." in done.stdout
    assert "mark it with @pytest.mark.slow." in done.stdout
    assert "::test_unmarked" in done.stdout
