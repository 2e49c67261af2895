"""The models that a finished study hands out, to whoever opens it."""

from __future__ import annotations

import sys

import pytest

from tests.support import warm
from tests.support.faults import ROOT
from tests.support.models import build_eager

OPENED = """
import pickle, sys

class Refusing:
    def __init__(self, *given, **keywords):
        raise AssertionError("something is unpickled")

pickle.load = pickle.loads = pickle.Unpickler = pickle._Unpickler = Refusing

from kerastune_optuna import OptunaTuner
from tests.support.models import build_eager

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
    done = warm.run(script, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    n_params = tuner.best_trial.user_attrs["n_params"]
    assert done.stdout.splitlines()[-2:] == ["2 report.html", f"{n_params} 1"]
