"""The card of a search: what its trials ran with."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import optuna
import pytest

import kerastune_optuna
from kerastune_optuna import OptunaTuner
from kerastune_optuna._digest import digest
from tests.support.untrained import build, run


def cards_of(tuner):
    attrs = tuner.study.user_attrs
    return [value for key, value in attrs.items() if key.startswith("card:")]


@pytest.fixture
def search(quick):
    return lambda fit=None, **options: run(
        quick(**{"n_trials": 1, **options}), **{"epochs": 2, **(fit or {})}
    )


def test_a_card_says_what_a_trial_ran_with(search):
    """Versions, seeds, devices, data and arguments, once for all trials of a search."""
    given = {"batch_size": np.int64(16), "class_weight": {0: 1.0, 1: 2.0}}
    tuner = search(seed=np.int64(5), n_trials=2, fit=given)
    (card,) = cards_of(tuner)
    versions = {"optuna": optuna.__version__, "python": sys.version.split()[0]}
    assert versions.items() <= card["versions"].items()
    assert card["backend"] in card["versions"]
    assert card["seed"] == 5
    assert card["sampler_seed"] == 1402645496
    assert card["study"]["objective"] == "minimize val_mae"
    assert card["data"]["x"] == "float64(4, 1)"
    assert set(card["data"]) == {"x", "y", "validation_data"}
    arguments = {"epochs": 2, "batch_size": 16, "class_weight": {"0": 1.0, "1": 2.0}}
    assert {name: card["arguments"][name] for name in arguments} == arguments
    assert " cores of " in card["devices"][0]


@pytest.mark.slow
def test_a_search_that_goes_on_has_a_card_of_its_own(search, tmp_path):
    """With the arguments that its own trials have; the report shows each with its trials."""
    search()
    search(n_trials=2)
    with pytest.warns(UserWarning, match="epochs was 2 and is 1"):
        tuner = search(n_trials=3, fit={"epochs": 1})
    other, first = sorted(cards_of(tuner), key=lambda one: one["arguments"]["epochs"])
    assert first["arguments"] == {**other["arguments"], "epochs": 2}
    page = tuner.report(tmp_path / "report.html").read_text()
    assert "<summary>2 trials from trial 0 on</summary>" in page
    assert "<summary>1 trial from trial 2 on</summary>" in page
    assert f"<div>optuna: {optuna.__version__}</div>" in page
    assert other["data"]["x"] in page


@pytest.mark.parametrize("many", [dict.fromkeys(range(1000), 1.0), {"of": np.ones(1000)}])
def test_what_json_does_not_hold_or_is_long_is_described(search, many):
    """As the kinds of its values, of which the first are told; a digest tells them apart."""
    (card,) = cards_of(search(fit={"class_weight": many}))
    assert len(str(card["arguments"]["class_weight"])) < 200
    assert card["digests"] == {"class_weight": digest(many)}


def test_a_study_without_a_directory_keeps_nothing(search, tmp_path, monkeypatch):
    """With a storage and a store of its own, no folder is made for it."""
    monkeypatch.chdir(tmp_path)
    store = optuna.artifacts.FileSystemArtifactStore(tmp_path)
    url = f"sqlite:///{tmp_path}/study.db"
    options = {"storage": url, "artifact_store": store, "directory": "none", "keep_best": 1}
    run(OptunaTuner(build, "val_mae", n_trials=1, **options))
    assert not (tmp_path / "none").exists()


WITHOUT_KERAS = """
import importlib.metadata, json, sys
assert not [*importlib.metadata.distributions(name="keras")]
from tests.support.untrained import run, tuner_in
attrs = run(tuner_in(sys.argv[1], objective="val_mae", n_trials=1)).study.user_attrs
print(json.dumps([card["versions"] for key, card in attrs.items() if key.startswith("card:")]))
"""


@pytest.mark.slow
def test_a_card_names_the_keras_that_ran(tmp_path):
    """Also where no distribution has the name keras, as with keras-nightly alone."""
    packages = tmp_path / "packages"
    packages.mkdir()
    for entry in Path(keras.__file__).parents[1].iterdir():
        if not entry.name.startswith("keras-"):
            (packages / entry.name).symlink_to(entry)
    path = os.pathsep.join(map(str, [Path(kerastune_optuna.__file__).parents[1], packages]))
    command = [sys.executable, "-S", "-c", WITHOUT_KERAS, str(tmp_path)]
    ran = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True)
    assert ran.returncode == 0, ran.stderr.decode()
    (versions,) = json.loads(ran.stdout.splitlines()[-1])
    assert versions["keras"] == keras.__version__
