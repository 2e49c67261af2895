"""Trials of earlier studies give a search a start: its sampler sees them, or they go first."""

from __future__ import annotations

import keras
import numpy as np
import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from kerastune_optuna import ArgumentError, OptunaTuner, StorageError
from tests.support.models import build_model

SEEN: list[list[float]] = []


class Spy(RandomSampler):
    """Keep the values of the COMPLETE trials that the sampler is shown for each parameter."""

    def sample_independent(self, study, trial, name, distribution):
        """Look, and draw by chance."""
        seen = study._get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        SEEN.append([one.value for one in seen])
        return super().sample_independent(study, trial, name, distribution)


@pytest.fixture
def seen():
    """Give the list of what a Spy saw, emptied."""
    SEEN.clear()
    return SEEN


@pytest.fixture
def earlier(search):
    """Give a tuner that has searched three trials, of which the second was pruned."""
    pruner = optuna.pruners.ThresholdPruner(lower=2.0, n_warmup_steps=1)
    search(study_name="earlier", n_trials=2)
    return search(study_name="earlier", n_trials=3, pruner=pruner)


def other_rows():
    """Return validation data that differs from that of `search`."""
    return np.zeros((8, 4), "float32"), np.arange(8) % 3


def dropping(trial):
    """Return the classifier of `build_model` with its rate under another name, and a dropout."""
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(trial.suggest_int("units", 2, 8), activation="relu"),
            keras.layers.Dropout(trial.suggest_float("dropout", 0.0, 0.5)),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    rate = trial.suggest_float("learning_rate", 1e-3, 1e-1, log=True)
    metrics = ["accuracy"]
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=metrics)
    return model


def best_of(tuner):
    """Return the parameters of a search's trials, the best trial's first."""
    table = tuner.results().sort_values("best_value", ascending=False, kind="stable")
    return [tuner.study.trials[number].params for number in table["number"]]


def test_trials_of_the_same_data_are_shown_to_the_sampler(search, seen, earlier, capsys):
    """It sees them with the values of their best epochs; they count nowhere, and are no best."""
    tuner = search(warm_start=earlier.study, sampler=Spy(seed=0), n_trials=1, fit={"verbose": 2})
    values = sorted(earlier.results()["best_value"])
    assert sorted(seen[0]) == values
    assert len(tuner.study.trials) == 1
    (card,) = (one for name, one in tuner.study.user_attrs.items() if name.startswith("card"))
    assert card["study"]["trials_known"] == 3
    line = "Warm start: the sampler knows 3 earlier trials of the same data"
    assert line in capsys.readouterr().out.splitlines()


def test_trials_of_other_data_go_first(search, seen, earlier, capsys):
    """The best configurations are tried first, and the sampler sees no value of other data."""
    fit = {"validation_data": other_rows(), "verbose": 2}
    tuner = search(warm_start=earlier.study, sampler=Spy(seed=0), n_trials=4, fit=fit)
    assert [trial.params for trial in tuner.study.trials[:3]] == best_of(earlier)
    assert seen[0] == [trial.value for trial in tuner.study.trials[:3]]
    line = "Warm start: the best 3 configurations of 3 other trials go first"
    assert line in capsys.readouterr().out.splitlines()


@pytest.mark.slow
def test_trials_of_other_epochs_go_first(search, earlier):
    """Values after more epochs do not compare."""
    tuner = search(warm_start=earlier.study, n_trials=1, fit={"epochs": 3})
    assert tuner.study.trials[0].params == best_of(earlier)[0]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["directory", "url", "results", "optuna's table", "list"])
def test_trials_come_in_many_forms(search, earlier, tmp_path, form):
    """A directory, a URL with a name, tables and lists stand for a study."""
    folder = tmp_path / "tuning"
    given = {
        "directory": folder,
        "url": (f"sqlite:///{folder}/study.db", "earlier"),
        "results": earlier.results(),
        "optuna's table": earlier.study.trials_dataframe(),
        "list": [earlier.study, (folder, "earlier")],
    }
    fit = {"validation_data": other_rows()}
    tuner = search(warm_start=given[form], directory=tmp_path / "new", n_trials=2, fit=fit)
    assert tuner.study.trials[0].params == best_of(earlier)[0]


@pytest.mark.slow
def test_several_sources_take_turns(search, earlier, tmp_path):
    """The best of each source goes before the second of any."""
    fit = {"epochs": 3}
    second = search(study_name="second", seed=1, n_trials=2)
    tuner = search(warm_start=[earlier.study, second.study], n_trials=2, fit=fit)
    firsts = [best_of(earlier)[0], best_of(second)[0]]
    assert [trial.params for trial in tuner.study.trials[:2]] == firsts


@pytest.mark.slow
def test_a_table_renames_parameters_and_adds_some(search, seen, earlier):
    """Columns of results() that are renamed and added fit trials to another builder."""
    table = earlier.results().rename(columns={"params_lr": "params_learning_rate"})
    options = {"sampler": Spy(seed=0), "n_trials": 1}
    search(dropping, warm_start=table.assign(params_dropout=0.1), **options)
    assert len(seen[0]) == 3


@pytest.mark.slow
def test_what_is_missing_is_left_to_the_sampler(search, earlier):
    """A configuration without a parameter that is new goes first with the others it has."""
    table = earlier.results().rename(columns={"params_lr": "params_learning_rate"})
    tuner = search(dropping, warm_start=table, n_trials=1, fit={"epochs": 3})
    params = tuner.study.trials[0].params
    best = best_of(earlier)[0]
    assert (params["units"], params["learning_rate"]) == (best["units"], best["lr"])
    assert 0 < params["dropout"] < 0.5


@pytest.mark.slow
def test_trials_that_fit_in_part_go_first_and_the_line_says_what_is_not_used(
    search, earlier, capsys
):
    """They cannot be shown to the sampler, though they had the same data."""
    tuner = search(dropping, warm_start=earlier.study, n_trials=1, fit={"verbose": 2})
    assert tuner.study.trials[0].params["units"] == best_of(earlier)[0]["units"]
    line = (
        "Warm start: the best 3 configurations of 3 other trials go first; build_model does not "
        "ask for lr"
    )
    assert line in capsys.readouterr().out.splitlines()


def with_choice(trial):
    """Ask for a rate of the layer's dropout only where there is a second layer."""
    second = trial.suggest_categorical("second", [None, "relu"])
    if second is not None:
        trial.suggest_int("width", 2, 4)
    return build_model(trial)


@pytest.mark.slow
def test_conditional_parameters_and_none_survive_a_table(search, seen):
    """A table writes what was not asked for and None alike; the builder tells them apart."""
    tuner = search(with_choice, study_name="earlier", n_trials=4)
    assert {len(trial.params) for trial in tuner.study.trials} == {3, 4}
    search(with_choice, warm_start=tuner.results(), sampler=Spy(seed=0), n_trials=1)
    assert sorted(seen[0]) == sorted(tuner.results()["best_value"])


@pytest.mark.slow
def test_a_search_that_goes_on_adds_nothing(search, earlier):
    """What goes first is laid out in a new study alone."""
    fit, options = {"epochs": 3}, {"warm_start": earlier.study}
    first = best_of(earlier)
    search(n_trials=2, fit=fit, **options)
    search(study_name="earlier", n_trials=6, seed=5)
    tuner = search(n_trials=4, fit=fit, **options)
    assert sum(trial.params in first for trial in tuner.study.trials) == 3


@pytest.mark.slow
def test_a_study_may_give_its_own_successor_a_start(search, seen, earlier, tmp_path):
    """It is read before overwrite=True deletes it."""
    options = {"overwrite": True, "sampler": Spy(seed=0), "n_trials": 1}
    tuner = search(study_name="earlier", warm_start=tmp_path / "tuning", **options)
    assert len(seen[0]) == 3
    assert len(tuner.study.trials) == 1


def no_name_of_ours(trial):
    """Ask for a parameter that the earlier studies do not have."""
    trial.suggest_int("depth", 1, 3)


@pytest.mark.parametrize(
    ("build", "source", "error", "text"),
    [
        (
            no_name_of_ours,
            lambda tuner: tuner.study,
            ArgumentError,
            "warm_start= got 3 trials with lr, units; build_model asks for depth (1 to 3). Where",
        ),
        (build_model, lambda tuner: optuna.create_study(), ArgumentError, "got no trial with a"),
        (build_model, lambda tuner: "nowhere", StorageError, "'nowhere' holds no study: there is"),
        (
            build_model,
            lambda tuner: (tuner.directory, "other"),
            ArgumentError,
            "holds no study 'other'. Pass warm_start=(directory or URL, study_name) with one of: e",
        ),
    ],
    ids=["names", "empty", "nowhere", "no study"],
)
def test_a_source_without_trials_is_refused(search, earlier, build, source, error, text):
    """Before anything is trained, one line says what the source lacks."""
    with pytest.raises(error) as raised:
        search(build, warm_start=source(earlier))
    assert text in str(raised.value)


@pytest.mark.slow
def test_a_directory_of_several_studies_needs_a_name(search, earlier, tmp_path):
    """The error lists them."""
    search(study_name="second", n_trials=1)
    with pytest.raises(ArgumentError, match=r"several studies\. Pass warm_start=.*: earlier, "):
        OptunaTuner(build_model, warm_start=tmp_path / "tuning").search(
            *other_rows(), validation_data=other_rows()
        )


def test_a_grid_sampler_of_optunas_takes_nothing_first(search, earlier):
    """It would fail with each configuration of another point."""
    sampler = optuna.samplers.GridSampler({"units": [2, 3], "lr": [0.01]})
    with pytest.raises(ArgumentError, match=r"takes no configurations that are to go first\. Pass"):
        search(warm_start=earlier.study, sampler=sampler, fit={"epochs": 3})
