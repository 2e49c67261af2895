"""The guide's lines read what KerasTuner has searched."""

import re
from pathlib import Path

import keras_tuner
import numpy as np
import pytest

from kerastune_optuna import OptunaTuner, from_keras_tuner
from tests.support.keras_tuner_builders import compiled, keras

GUIDE = Path(__file__).parents[2] / "examples" / "guides" / "coming-from-kerastuner.md"


def build(hp):
    """Ask for two values, one of them under a condition."""
    units = hp.Int("units", 2, 90)
    hp.Choice("kind", ["a", "b"])
    with hp.conditional_scope("kind", ["a"]):
        hp.Boolean("more")
    return compiled(keras.layers.Dense(units))


class Tuner(keras_tuner.RandomSearch):
    """Search as KerasTuner does, but for the trainings."""

    def run_trial(self, trial, *args, **kwargs):
        """Fail once, and tell else a value without a training."""
        if trial.trial_id == "2":
            raise ValueError("it does not fit")
        build(trial.hyperparameters)
        return {"val_accuracy": trial.hyperparameters.get("units") / 100}


@pytest.mark.nightly
def test_the_guides_lines_give_a_search_what_keras_tuner_found(tmp_path, monkeypatch):
    """All trials that have a value are in the table, and the best three go first."""
    monkeypatch.chdir(tmp_path)
    folder = {"directory": "my_dir", "project_name": "my_project"}
    theirs = Tuner(build, "val_accuracy", max_trials=6, seed=0, **folder)
    theirs.search(verbose=0)
    (block,) = re.findall(r"```py\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert len(block.splitlines()) <= 30
    x, y = np.random.default_rng(0).normal(size=(16, 4)).astype("float32"), np.arange(16) % 3
    found = {"OptunaTuner": OptunaTuner, "from_keras_tuner": from_keras_tuner, "build": build}
    found |= {"x": x, "y": y}
    exec(compile(block, str(GUIDE), "exec"), found)
    done = [one for one in theirs.oracle.trials.values() if one.status == "COMPLETED"]
    assert len(done) == 5
    assert sorted(found["table"]["value"]) == sorted(one.score for one in done)
    best = [one.hyperparameters.values for one in theirs.oracle.get_best_trials(3)]
    assert [trial.params for trial in found["tuner"].study.trials[:3]] == best
    assert len(found["tuner"].study.trials) == 5
