"""The models that a finished study hands out, to whoever opens it."""

from __future__ import annotations

import pickle

import cloudpickle
import optuna
import pytest

from kerastune_optuna import WeightsError
from tests.support.untrained import run, tuner_in


class Refusing:
    """Take the place of what unpickles."""

    def __init__(self, *given, **keywords):
        raise AssertionError("something is unpickled")


def look_at(tuner, folder):
    """Read all that a study has."""
    tuner.summary()
    assert len(tuner.results()) == 2
    assert tuner.report(folder / "report.html").exists()
    assert tuner.best_model().count_params() == tuner.best_trial.user_attrs["n_params"]
    assert len(tuner.best_models(1)) == 1


def test_nothing_is_unpickled_where_a_study_is_opened(tmp_path, monkeypatch):
    """Files of someone else's study may hold no code that would run here."""
    look_at(run(tuner_in(tmp_path, objective="val_mae", n_trials=2)), tmp_path)
    # What was imported by now has unpickled its own tables; what it calls later it finds here.
    for name in ("load", "loads", "Unpickler", "_Unpickler"):
        monkeypatch.setattr(pickle, name, Refusing)
    for name in ("load", "loads"):
        monkeypatch.setattr(cloudpickle, name, Refusing)
    look_at(tuner_in(tmp_path, objective="val_mae", n_trials=2), tmp_path)


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
