"""Seeds and resumed studies: the same again, or on from where it stopped."""

from __future__ import annotations

import functools

import optuna
import pytest

from kerastune_optuna import StudyMismatchError
from tests.support.models import PruneAt, build_model, kept
from tests.support.untrained import build, run, tuner_in


def params_of(tuner):
    """Return the parameters of all trials in their order."""
    return [tuple(trial.params.values()) for trial in tuner.study.trials]


@pytest.fixture
def make_tuner(quick):
    """Give a maker of tuners of one study of two trials."""
    return functools.partial(quick, n_trials=2, pruner="none")


@pytest.mark.slow
def test_one_seed_gives_one_table(search, tmp_path):
    """Two searches with one seed that really train agree in every column but times."""
    options = {"seed": 7, "n_trials": 12, "pruner": PruneAt([1]), "storage": None}
    tables = [
        search(build_model, "val_loss", directory=tmp_path / name, **options)
        .results()
        .drop(columns=["seconds", "worker"])
        for name in ("one", "two")
    ]
    assert tables[0].equals(tables[1])
    assert list(tables[0]["state"]) == ["COMPLETE", "PRUNED", *["COMPLETE"] * 10]


def test_two_seeds_give_two_tables(make_tuner):
    """Another seed is another search."""
    first, second = (run(make_tuner(seed=seed, study_name=f"{seed}")) for seed in (1, 2))
    assert params_of(first) != params_of(second)


def test_a_stopped_search_goes_on_to_n_trials(make_tuner, capsys):
    """After 2 of 5 trials a new tuner runs 3 more, and says so in one line."""
    run(make_tuner())
    tuner = run(make_tuner(n_trials=5), verbose=2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Going on with study 'test': 2 of 5 trials done"
    assert len(lines) == 1 + 3
    assert len(tuner.study.trials) == 5
    run(make_tuner(n_trials=5))
    assert len(tuner.study.trials) == 5


def test_a_finished_study_says_so(make_tuner, capsys):
    """search() on a full study trains nothing and tells what to pass."""
    run(make_tuner())
    run(make_tuner(), verbose=1)
    assert capsys.readouterr().out == (
        "Study 'test' has 2 of 2 trials done: pass more n_trials to go on\n"
    )


def test_n_trials_of_search_is_the_size_of_the_study(make_tuner):
    """search(n_trials=3) after two trials runs one more."""
    tuner = run(run(make_tuner()), n_trials=3)
    assert len(tuner.study.trials) == 3


@pytest.mark.parametrize(
    "make_sampler",
    [lambda: None, lambda: optuna.samplers.RandomSampler(seed=3)],
    ids=["default", "own"],
)
def test_a_resumed_study_draws_new_numbers(make_tuner, make_sampler):
    """A new process with the same seed does not suggest the first trials again."""
    run(make_tuner(n_trials=3, sampler=make_sampler()))
    params = params_of(run(make_tuner(n_trials=6, sampler=make_sampler())))
    assert len(set(params)) == 6


def test_each_trial_trains_under_a_seed_of_its_own(make_tuner):
    """Seeds differ between trials, and a study without a seed records those it drew."""
    seeds = run(make_tuner(seed=None, n_trials=3)).results()["seed"]
    assert seeds.nunique() == 3


@pytest.mark.slow
def test_overwrite_starts_anew_once(tmp_path):
    """overwrite=True deletes the study and its files when search() is first called."""
    earlier = run(tuner_in(tmp_path, objective="val_mae", n_trials=3, keep_best=3, pruner="none"))
    tuner = tuner_in(tmp_path, objective="val_mae", n_trials=1, overwrite=True)
    assert (len(earlier.study.trials), len(kept(earlier))) == (3, 3)
    run(tuner)
    assert len(tuner.study.trials) == 1
    run(tuner, n_trials=2)
    assert len(tuner.study.trials) == 2
    assert len(kept(tuner)) == 1


@pytest.mark.parametrize(
    ("objective", "direction"), [("val_loss", "auto"), ("val_accuracy", "minimize")]
)
def test_a_study_keeps_its_objective(make_tuner, objective, direction):
    """Another objective or direction is an error that shows both."""
    assert make_tuner(objective="val_accuracy").study.trials == []
    tuner = make_tuner(objective=objective)
    tuner.direction = direction  # as of the worst accuracy, which the constructor warns of
    with pytest.raises(StudyMismatchError, match=r"is to maximize val_accuracy, not to minimize"):
        run(tuner)


def test_a_changed_builder_is_a_warning(make_tuner):
    """Other code than that of the latest trials is told, and searched with."""

    def other(trial):
        return build(trial)

    run(make_tuner())
    with pytest.warns(UserWarning, match="changed since the latest search of study 'test'"):
        run(make_tuner(other, n_trials=3))


def test_a_second_study_in_the_directory_is_another(tmp_path):
    """Studies of one directory share the database and nothing else."""
    for name in ("test", "other"):
        tuner = tuner_in(tmp_path, objective="val_mae", n_trials=1, study_name=name)
        assert len(run(tuner).study.trials) == 1
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["other", "test"]


def test_interrupted_trials_do_not_count(make_tuner):
    """Ctrl-C leaves a FAIL trial behind, and the resumed search makes up for it."""

    def interrupted(trial):
        if trial.number == 1:
            raise KeyboardInterrupt
        return build(trial)

    with pytest.raises(KeyboardInterrupt):
        run(make_tuner(interrupted, n_trials=3))
    tuner = run(make_tuner(interrupted, n_trials=3))
    assert list(tuner.results()["state"]) == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert tuner.results()["stop_reason"][1] == "interrupted"


def test_the_default_name_is_the_builders(make_tuner):
    """A study without a name is called like the function that builds its models."""
    assert make_tuner(study_name=None).study.study_name == "build"
