"""Seeds and resumed studies: the same again, or on from where it stopped."""

from __future__ import annotations

import optuna
import pytest

from kerastune_optuna import StudyMismatchError
from tests.support.models import PruneAt, build_model, kept


def table_of(tuner):
    """Return the results without the columns of the clock and the process."""
    return tuner.results().drop(columns=["seconds", "worker"])


def params_of(tuner):
    """Return the parameters of all trials in their order."""
    return [tuple(trial.params.values()) for trial in tuner.study.trials]


@pytest.mark.slow
def test_one_seed_gives_one_table(search, tmp_path):
    """Two searches with one seed agree in every column but times."""
    tables = [
        table_of(search(seed=7, n_trials=12, pruner=PruneAt([3]), directory=tmp_path / name))
        for name in ("one", "two")
    ]
    assert tables[0].equals(tables[1])
    assert tables[0]["state"].value_counts().to_dict() == {"COMPLETE": 11, "PRUNED": 1}


@pytest.mark.slow
def test_two_seeds_give_two_tables(search, tmp_path):
    """Another seed is another search."""
    first, second = (search(seed=seed, directory=tmp_path / str(seed)) for seed in (1, 2))
    assert params_of(first) != params_of(second)


@pytest.mark.slow
def test_a_stopped_search_goes_on_to_n_trials(search, make_tuner, capsys):
    """After 12 of 30 trials a new tuner runs 18 more, and says so in one line."""
    search(n_trials=12, fit={"epochs": 1})
    tuner = search(tuner=make_tuner(n_trials=30), fit={"epochs": 1, "verbose": 2})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Going on with study 'test': 12 of 30 trials done"
    assert len(lines) == 1 + 18
    assert len(tuner.study.trials) == 30
    search(tuner=make_tuner(n_trials=30), fit={"epochs": 1})
    assert len(tuner.study.trials) == 30


def test_a_finished_study_says_so(search, make_tuner, capsys):
    """search() on a full study trains nothing and tells what to pass."""
    search()
    search(tuner=make_tuner(), fit={"verbose": 1})
    assert capsys.readouterr().out == (
        "Study 'test' has 2 of 2 trials done: pass more n_trials to go on\n"
    )


def test_n_trials_of_search_is_the_size_of_the_study(search):
    """search(n_trials=3) after two trials runs one more."""
    tuner = search()
    search(tuner=tuner, fit={"n_trials": 3})
    assert len(tuner.study.trials) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "make_sampler",
    [lambda: None, lambda: optuna.samplers.RandomSampler(seed=3)],
    ids=["default", "own"],
)
def test_a_resumed_study_draws_new_numbers(search, make_tuner, make_sampler):
    """A new process with the same seed does not suggest the first trials again."""
    search(n_trials=3, sampler=make_sampler(), fit={"epochs": 1})
    tuner = make_tuner(n_trials=6, sampler=make_sampler())
    params = params_of(search(tuner=tuner, fit={"epochs": 1}))
    assert len(set(params)) == 6


@pytest.mark.slow
def test_each_trial_trains_under_a_seed_of_its_own(search):
    """Seeds differ between trials, and a study without a seed records those it drew."""
    seeds = search(seed=None, n_trials=3).results()["seed"]
    assert seeds.nunique() == 3


@pytest.mark.slow
def test_overwrite_starts_anew_once(search, make_tuner):
    """overwrite=True deletes the study and its files when search() is first called."""
    earlier = search(n_trials=3)
    tuner = make_tuner(n_trials=1, overwrite=True)
    assert len(earlier.study.trials) == 3
    search(tuner=tuner)
    assert len(tuner.study.trials) == 1
    search(tuner=tuner, fit={"n_trials": 2})
    assert len(tuner.study.trials) == 2
    assert len(kept(tuner)) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "direction"), [("val_loss", "auto"), ("val_accuracy", "minimize")]
)
def test_a_study_keeps_its_objective(search, make_tuner, objective, direction):
    """Another objective or direction is an error that shows both."""
    search()
    tuner = make_tuner(objective=objective)
    tuner.direction = direction  # as of the worst accuracy, which the constructor warns of
    with pytest.raises(StudyMismatchError, match=r"is to maximize val_accuracy, not to minimize"):
        search(tuner=tuner)


@pytest.mark.slow
def test_a_changed_builder_is_a_warning(search, make_tuner):
    """Other code than that of the latest trials is told, and searched with."""

    def other(trial):
        return build_model(trial)

    search()
    with pytest.warns(UserWarning, match="changed since the latest search of study 'test'"):
        search(tuner=make_tuner(other, n_trials=3))


@pytest.mark.slow
def test_a_second_study_in_the_directory_is_another(search, make_tuner, tmp_path):
    """Studies of one directory share the database and nothing else."""
    search()
    other = search(tuner=make_tuner(study_name="other"))
    assert len(other.study.trials) == 2
    assert sorted(path.name for path in (tmp_path / "tuning").iterdir() if path.is_dir()) == [
        "other",
        "test",
    ]


@pytest.mark.slow
def test_interrupted_trials_do_not_count(search, make_tuner):
    """Ctrl-C leaves a FAIL trial behind, and the resumed search makes up for it."""

    def interrupted(trial):
        if trial.number == 1:
            raise KeyboardInterrupt
        return build_model(trial)

    with pytest.raises(KeyboardInterrupt):
        search(interrupted, n_trials=3)
    tuner = search(tuner=make_tuner(interrupted, n_trials=3))
    assert list(tuner.results()["state"]) == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert tuner.results()["stop_reason"][1] == "interrupted"


def test_the_default_name_is_the_builders(make_tuner):
    """A study without a name is called like the function that builds its models."""
    assert make_tuner(study_name=None).study.study_name == "build_model"
