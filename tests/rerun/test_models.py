"""The models that a finished study hands out, to whoever opens it."""

from __future__ import annotations

import subprocess
import sys

import optuna
import pytest

from kerastune_optuna import WeightsError
from tests.support.faults import ROOT
from tests.support.models import build_eager
from tests.support.untrained import run, tuner_in

OPENED = """
import pickle, sys
import cloudpickle, optuna
from kerastune_optuna import OptunaTuner
from tests.support.models import build_eager

class Refusing:
    def __init__(self, *given, **keywords):
        raise AssertionError("something is unpickled")

# What is imported unpickles its own tables; what it calls later it finds here.
pickle.load = pickle.loads = pickle.Unpickler = pickle._Unpickler = Refusing
cloudpickle.load = cloudpickle.loads = Refusing

folder = sys.argv[1]
tuner = OptunaTuner(build_eager, directory=folder + "/tuning", study_name="test", n_trials=2)
tuner.summary()
print(len(tuner.results()), tuner.report(folder + "/report.html").name)
print(tuner.best_model().count_params(), len(tuner.best_models(1)))
"""


@pytest.mark.slow
def test_nothing_is_unpickled_where_a_study_is_opened(search, tmp_path):
    """Files of someone else's study may hold no code that would run here."""
    tuner = search(build_eager)
    script = [sys.executable, "-c", OPENED, str(tmp_path)]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    n_params = tuner.best_trial.user_attrs["n_params"]
    assert done.stdout.splitlines()[-2:] == ["2 report.html", f"{n_params} 1"]


def test_damaged_weights_are_noticed(tmp_path):
    """A file that has changed is refused, and those of the others load."""
    tuner = tuner_in(tmp_path, objective="val_mae", n_trials=3, keep_best=3, pruner="none")
    run(tuner)
    best, second = sorted(tuner.study.trials, key=lambda trial: trial.value)[:2]
    metas = optuna.artifacts.get_all_artifact_meta(best, storage=tuner.study._storage)
    (name,) = (one.artifact_id for one in metas if one.filename.endswith(".h5"))
    file = tmp_path / "test" / "weights" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(WeightsError) as got:
        tuner.best_model()
    assert str(got.value) == (
        f"The weights of trial {best.number} are damaged: their checksum has changed."
    )
    bias = tuner.best_model(trial=second.number).layers[-1].bias.numpy().item()
    assert bias == pytest.approx(second.value)
