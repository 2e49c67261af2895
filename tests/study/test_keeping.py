"""The models that a study keeps are those of its best trials."""

from functools import partial

import optuna
import pytest
from optuna.storages import InMemoryStorage

from kerastune_optuna import ArgumentError
from kerastune_optuna._study import Keeping, keeping
from tests.support import falling
from tests.support.memory import make_tuner as make_tuner
from tests.support.models import kept
from tests.support.untrained import Untrained, run, tuner_in
from tests.zoo.layers import table
from tests.zoo.models import distilled


def test_as_many_models_are_kept_as_are_asked_for(search, data):
    """Each is there in one file, and evaluates to its trial's value."""
    tuner = search(falling.build, "val_loss", n_trials=5, keep_best=3, train_repeats=True)
    assert len(kept(tuner)) == 3
    best = sorted(trial.value for trial in tuner.study.trials)[:3]
    losses = [falling.loss_of(model, data) for model in tuner.best_models(3)]
    assert losses == pytest.approx(best)


def models_of(folder, **options):
    """Return a tuner of one objective, and the numbers of the trials whose weights are kept."""
    tuner = run(tuner_in(folder, objective="val_mae", pruner="none", **options))
    storage, files = tuner.study._storage, set(kept(tuner))
    numbers = [
        trial.number
        for trial in tuner.study.trials
        for meta in optuna.artifacts.get_all_artifact_meta(trial, storage=storage)
        if meta.artifact_id in files
    ]
    return tuner, numbers


def test_fewer_models_are_kept_where_that_is_asked_for(tmp_path, capfd):
    """A smaller keep_best= deletes the others with one line; without one it stays as it was."""
    search = partial(models_of, tmp_path, storage=InMemoryStorage())
    search(n_trials=4, keep_best=3)
    assert len(search(n_trials=4)[1]) == 3
    tuner, numbers = search(n_trials=4, keep_best=2)
    best = sorted(tuner.study.trials, key=lambda trial: trial.value)[:2]
    assert numbers == sorted(trial.number for trial in best)
    said = capfd.readouterr().err
    assert said == "keep_best=2: study 'test' kept its best 3 models and now deletes all but 2\n"
    assert len(search(n_trials=5)[1]) == 2
    assert search(n_trials=5, keep_best=0)[1] == []


def test_five_models_are_kept_unless_another_number_is_asked_for(tmp_path, monkeypatch):
    """Of large ones, it is the best one, and as many as were asked for."""
    storage = InMemoryStorage()
    assert len(models_of(tmp_path, n_trials=6, storage=storage)[1]) == 5
    monkeypatch.setattr(keeping, "_LARGE", 10)
    for name, options, count in (("large", {}, 1), ("chosen", {"keep_best": 2}, 2)):
        options |= {"storage": storage, "study_name": name}
        made = tuner_in(tmp_path, objective="val_mae", pruner="none", n_trials=3, **options)
        assert len(kept(run(made))) == count


@pytest.mark.slow
def test_a_frozen_teacher_makes_a_model_large(search, monkeypatch):
    """The file of a Distiller has its teacher's weights, so five files would have them five times.

    Here a student has 99 parameters, and its teacher 195.
    """
    monkeypatch.setattr(keeping, "_LARGE", 150)
    options = {"n_trials": 3, "pruner": "none", "fit": {**table(), "epochs": 1}}
    assert len(kept(search(distilled, "val_loss", direction="minimize", **options))) == 1


def test_keep_best_zero_keeps_nothing(search):
    """It writes no weights and no histories, and best_model() names the argument to pass."""
    tuner = search(falling.build, "val_loss", keep_best=0)
    assert not (tuner._home.folder / "weights").exists()
    text = "n=1 is more than keep_best=0.* Pass keep_best=1 to the tuner before it searches"
    with pytest.raises(ArgumentError, match=text):
        tuner.best_model()


@pytest.mark.slow
def test_of_equal_values_the_earlier_trial_keeps_its_weights(tmp_path):
    """Among trials that tie the one that began first leads, though it may end last."""
    within, storage = [], InMemoryStorage()

    def build_model(trial):
        if trial.number == 0 and not within:
            within.append(search()[1])
        return Untrained(2, [{"val_mae": 0.5}] * 5)

    options = {"storage": storage, "build_model": build_model, "n_trials": 3, "keep_best": 1}
    search = partial(models_of, tmp_path, **options)
    tuner, numbers = search()
    assert within == [[1]]
    assert numbers == [tuner.best_trial.number] == [0]


def test_who_ends_while_others_are_outranked_keeps_its_weights(tmp_path):
    """Another worker's trial that ends during the tidying up does not lose its weights."""
    tuner, _ = models_of(tmp_path, n_trials=1)
    study, file = tuner.study, tmp_path / "late.weights.h5"
    files, objectives = tuner._home.files, tuner._home.objectives
    file.touch()

    def keepers():
        late = study.ask()
        optuna.artifacts.upload_artifact(
            artifact_store=files.store._source, file_path=str(file), study_or_trial=late
        )
        study.tell(late, 2.0)
        return set()

    finished = Keeping(study, files, objectives, "auto").discard_outranked(keepers)
    assert [trial.number for trial in finished] == [0]
    assert len(kept(tuner)) == 1


def test_a_repeat_takes_no_place_among_the_best(tmp_path):
    """A trial with the result of another keeps no third one from having its weights kept."""
    study = tuner_in(tmp_path, objective="val_mae").study
    for attrs in ({}, {"repeat_of": 0}):
        study.add_trial(optuna.trial.create_trial(value=0.0, user_attrs=attrs))
    assert models_of(tmp_path, n_trials=3, keep_best=2)[1] == [2]
