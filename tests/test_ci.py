"""What all tests lean on: the scripts of CI, and the limit of fast tests."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RUN = ROOT / ".ci" / "run"
SECURITY = ROOT / ".github" / "SECURITY.md"


def canonical(name):
    """Return a distribution's name as it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.skipif(not RUN.exists(), reason="only a checkout has .ci/run")
def test_the_tests_that_ci_names_are_there():
    """A test that is renamed is renamed in .ci/run too, and where it shows what is secure."""
    named = re.findall(r"^    (tests/\S+)$", RUN.read_text(), re.MULTILINE)
    shown = re.findall(r"`(tests/[^`]+)`", SECURITY.read_text())
    assert named
    assert shown
    for name in named + shown:
        file, _, test = name.partition("::")
        assert (ROOT / file).exists(), name
        assert not test or f"def {test}(" in (ROOT / file).read_text(), name


@pytest.mark.skipif(not RUN.exists(), reason="only a checkout has pyproject.toml")
def test_what_the_package_imports_is_declared():
    """Another package that brings it today may stop doing so."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = [project["dependencies"], *project["optional-dependencies"].values()]
    declared = {canonical(re.match(r"[\w-]+", one)[0]) for lines in listed for one in lines}
    imports = set()
    for file in (ROOT / "kerastune_optuna").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imports |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imports.add(node.module.partition(".")[0])
    # IPython is imported in a notebook alone, which has it.
    others = imports - sys.stdlib_module_names - {"kerastune_optuna", "IPython"}
    assert len(others) > 10
    found = packages_distributions()  # other backends may not be installed
    names = {
        one: {canonical(name).removesuffix("-nightly") for name in found.get(one, declared)}
        for one in others
    }
    assert [one for one in others if not names[one] & declared] == []


@pytest.mark.skipif(not RUN.exists(), reason="only a checkout has pyproject.toml")
def test_the_page_of_installation_names_extras_and_oldest_versions():
    """They are those of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    page, extras = (ROOT / "examples/installation.md").read_text(), project["optional-dependencies"]
    assert [name for name in extras if f"`{name}`" not in page] == []
    bounds = [f"python{project['requires-python']}", *project["dependencies"], *extras["jax"]]
    rows = re.findall(r"^\| (\w+) \| ([\d.]+) \|", page, re.MULTILINE)
    assert len(rows) > 5
    assert [row for row in rows if f"{row[0].lower()}>={row[1]}" not in " ".join(bounds)] == []


TESTS = """
import time
import pytest

def test_unmarked():
    until = time.process_time() + 0.7
    while time.process_time() < until:
        pass

def test_that_waits():
    time.sleep(0.7)

@pytest.mark.slow
def test_slow():
    test_unmarked()
"""


@pytest.mark.slow
def test_a_fast_test_takes_so_many_seconds_of_its_process_at_most(tmp_path):
    """One that takes more and has no mark fails with a line that says what to do."""
    (tmp_path / "test_some.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-n", "0", "-m", ""]
    command += ["-c", ROOT / "pyproject.toml", tmp_path]
    env = {**os.environ, "KERASTUNE_FAST": "0.5"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert "1 failed, 2 passed" in done.stdout, done.stdout + done.stderr
    assert "Failed: The test took " in done.stdout
    assert "mark it with @pytest.mark.slow." in done.stdout
    assert "::test_unmarked" in done.stdout
