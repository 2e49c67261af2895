"""The package for OptunaHub's registry: it works with plain Optuna, and draws as ours does."""

import runpy
import subprocess
import sys
from types import SimpleNamespace

import pytest

from kerastune_optuna import GaussianProcessSampler
from tests.optunahub.pack import HERE, NAME, pack

# Where the package stands, as the tests of the registry do, without a line of ours or of Keras.
ALONE = f"""
import importlib.util, runpy, sys, types

sys.modules.update(dict.fromkeys(("keras", "tensorflow", "kerastune_optuna")))  # not to be imported

def load(package, registry_root="package/"):
    folder = registry_root + package
    spec = importlib.util.spec_from_file_location(
        "packed", folder + "/__init__.py", submodule_search_locations=[folder]
    )
    module = sys.modules["packed"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

sys.modules["optunahub"] = types.SimpleNamespace(load_module=load, load_local_module=load)
runpy.run_path("package/{NAME}/example.py")
if sys.argv[1:]:
    import pytest
    sys.exit(pytest.main(["-q", *sys.argv[1:]]))
"""


def alone(folder, *arguments):
    """Return what the example prints in a process, and then pytest if there are arguments."""
    command = [sys.executable, "-c", ALONE, *arguments]
    return subprocess.run(command, cwd=folder, check=True, text=True, stdout=subprocess.PIPE).stdout


def test_the_example_draws_as_ours_does(tmp_path, monkeypatch, capsys):
    """In a process that can import neither Keras nor our package, to the last digit."""
    package = pack(tmp_path / "package")
    ours = SimpleNamespace(GaussianProcessSampler=GaussianProcessSampler)
    monkeypatch.setitem(sys.modules, "optunahub", SimpleNamespace(load_module=lambda _: ours))
    runpy.run_path(package / "example.py")
    assert alone(tmp_path) == capsys.readouterr().out


@pytest.mark.slow
def test_it_passes_the_tests_that_it_brings(tmp_path):
    """Those of Optuna for samplers, from the folder in which the registry runs them."""
    tests = pack(tmp_path / "package") / "tests"
    assert " passed" in alone(tmp_path, str(tests))


def test_the_registry_finds_what_it_asks_for(tmp_path):
    """All files of its template, a front matter, and what to install beside Optuna."""
    package = pack(tmp_path / "package")
    asked = "README.md LICENSE __init__.py example.py requirements.txt tests/test_sampler.py"
    assert [name for name in asked.split() if not (package / name).is_file()] == []
    front = dict(line.split(": ", 1) for line in (HERE / "README.md").read_text().split("\n")[1:7])
    asked = "author title description tags optuna_versions license"
    assert list(front) == asked.split()
    assert front["tags"].startswith("[sampler,")
    needs = (package / "requirements.txt").read_text().split()
    assert [one.partition(">")[0] for one in needs] == ["scipy", "threadpoolctl"]
