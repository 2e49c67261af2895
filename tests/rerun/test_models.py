"""The models that a finished study hands out, to whoever opens it."""

import pickle

import cloudpickle
import optuna
import pytest

from kerastune_optuna import WeightsError
from tests.support.faults import trials_of
from tests.support.models import PruneAt
from tests.support.untrained import run, tuner_in


class Refusing:
    """Take the place of what unpickles."""

    def __init__(self, *given, **keywords):
        raise AssertionError("something is unpickled")


def look_at(tuner, folder):
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


def test_a_history_is_what_keras_logged(tmp_path):
    """Of the best trial, a pruned one, and, where none was kept, the reports of the objective."""
    options = {"objective": "val_mae", "n_trials": 2, "pruner": PruneAt([1], step=1)}
    tuner = run(tuner_in(tmp_path, **options))
    best = tuner.history()
    assert list(best) == ["epoch", "val_mae"]
    assert dict(zip(best["epoch"], best["val_mae"], strict=True)) == (
        tuner.best_trial.intermediate_values
    )
    assert best["val_mae"][tuner.best_epoch] == tuner.best_value
    assert tuner.history(1).equals(tuner.history(tuner.study.trials[1]))
    assert len(tuner.history(1)) == 2
    bare = run(tuner_in(tmp_path / "bare", keep_best=0, **options))
    assert bare.history(1).equals(tuner.history(1))


def test_more_models_than_are_kept_are_those_that_are(tmp_path, capsys):
    """A line names their trials: there may be too few trials, or too few that keep weights."""
    options = {"objective": "val_mae", "pruner": "none", "keep_best": 2}
    for n_trials, kept in ((1, 1), (4, 2)):
        tuner = run(tuner_in(tmp_path, n_trials=n_trials, **options))
        best = tuner.top_trials(kept)
        biases = [model.layers[-1].bias.numpy().item() for model in tuner.best_models(50)]
        assert biases == pytest.approx([trial.value for trial in best])
        numbers = ", ".join(str(trial.number) for trial in best)
        assert f"50 models were asked for, and {kept} " in (said := capsys.readouterr().out)
        assert f"kept: best first, those of trials {numbers}." in said
    assert len(tuner.best_models(2)) == 2
    assert capsys.readouterr().out == ""


def test_the_first_model_is_the_best_or_there_is_none(tmp_path, capsys):
    """Weights of the best trial that are not there are an error, and others may be missing."""
    options = {"objective": "val_mae", "pruner": "none", "keep_best": 3}
    tuner = run(tuner_in(tmp_path, n_trials=3, **options))
    best, second, third = tuner.top_trials(3)
    for trial, check in ((second, lambda: tuner.best_models(3)), (best, None)):
        for meta in optuna.artifacts.get_all_artifact_meta(trial, storage=tuner.study._storage):
            (tmp_path / "test" / "weights" / meta.artifact_id).unlink()
        if check is not None:
            assert len(check()) == 2
            assert f"those of trials {best.number}, {third.number}." in capsys.readouterr().out
    with pytest.raises(WeightsError, match=f"has no weights of trial {best.number}"):
        tuner.best_models(3)


@pytest.mark.parametrize("call", ["best_model", "best_models"])
def test_the_best_trial_of_a_plain_script_has_no_model(tmp_path, call):
    """The error says that no tuner ran it, and not that the arguments are wrong."""
    tuner = run(tuner_in(tmp_path, objective="val_mae", n_trials=1))
    (ours,) = trials_of(tuner)
    asked = {"params": ours.params, "distributions": ours.distributions}
    tuner.study.add_trial(optuna.create_trial(value=0.0, **asked))
    with pytest.raises(WeightsError, match="trial 1, which only trials run by a tuner") as got:
        getattr(tuner, call)(*[1] * (call == "best_models"))
    assert "keep_best" not in str(got.value)
    assert tuner.best_model(trial=0).count_params() == ours.user_attrs["n_params"]
