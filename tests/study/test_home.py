"""Seeds and resumed studies: the same again, or on from where it stopped."""

import functools

import optuna
import pytest

from kerastune_optuna import MetricNotFoundError, StudyMismatchError
from tests.support.models import PruneAt, build_model, kept
from tests.support.untrained import run, tuner_in


@pytest.fixture
def make_tuner(quick):
    """Give a maker of tuners of one study of two trials."""
    return functools.partial(quick, n_trials=2, pruner="none")


@pytest.mark.slow
def test_one_seed_gives_one_table(search, tmp_path):
    """Two searches with one seed that really train agree in every column but times."""
    options = {"seed": 7, "n_trials": 3, "pruner": PruneAt([1]), "storage": None}
    folders = tmp_path / "one", tmp_path / "two"
    tuners = [search(build_model, "val_loss", directory=one, **options) for one in folders]
    tables = [one.results().drop(columns=["seconds", "worker"]) for one in tuners]
    assert tables[0].equals(tables[1])
    assert list(tables[0]["state"]) == ["COMPLETE", "PRUNED", "COMPLETE"]


def test_a_stopped_search_goes_on_to_n_trials(make_tuner, capsys):
    """After 2 of 5 trials a new tuner runs 3 more, and then none; each says so in a line."""
    run(make_tuner())
    tuner = run(make_tuner(n_trials=5), verbose=2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Continuing study 'test': 2 of 5 trials done"
    assert len(lines) == 1 + 3
    run(make_tuner(n_trials=5), verbose=1)
    assert len(tuner.study.trials) == 5
    told = "Study 'test' has 5 of 5 trials done: pass a larger n_trials to continue\n"
    assert capsys.readouterr().out == told


def test_each_trial_trains_under_a_seed_of_its_own(make_tuner):
    """Seeds differ between trials, and a study without a seed records those it drew."""
    assert run(make_tuner(seed=None, n_trials=3)).results()["seed"].nunique() == 3


@pytest.mark.slow
def test_overwrite_starts_anew_once(tmp_path):
    """The study and its files go once: what was enqueued since then stays, and is searched."""
    earlier = run(tuner_in(tmp_path, objective="val_mae", n_trials=3, keep_best=3, pruner="none"))
    tuner = tuner_in(tmp_path, objective="val_mae", n_trials=1, overwrite=True, keep_best=1)
    assert (len(earlier.study.trials), len(kept(earlier))) == (3, 3)
    tuner.enqueue({"units": 3, "level": 0.5})
    assert [one.params for one in run(tuner).study.trials] == [{"units": 3, "level": 0.5}]
    run(tuner, n_trials=2)
    assert len(tuner.study.trials) == 2
    assert len(kept(tuner)) == 1


@pytest.mark.parametrize(
    ("objective", "direction"), [("val_loss", "auto"), ("val_accuracy", "minimize")]
)
def test_a_study_keeps_its_objective(make_tuner, objective, direction):
    """Another objective or direction is an error that shows both."""
    make_tuner(objective="val_accuracy").study.add_trial(optuna.trial.create_trial(value=0.5))
    tuner = make_tuner(objective=objective)
    tuner.direction = direction  # as of the worst accuracy, which the constructor warns of
    with pytest.raises(StudyMismatchError, match=r"objective: maximize val_accuracy, not minimize"):
        run(tuner)


def test_a_study_without_results_takes_another_objective(make_tuner):
    """What a misspelled metric left behind does not bind the next search; a queue is kept."""
    wrong = make_tuner(objective="val_mse")
    for level in (0.25, 0.5):
        wrong.enqueue({"units": 1, "level": level})
    with pytest.raises(MetricNotFoundError, match="val_mae"):
        run(wrong)
    (trial,) = run(make_tuner(n_trials=1, executions_per_trial=2)).study.trials
    assert trial.params == {"units": 1, "level": 0.5}


def test_the_default_name_is_the_builders(make_tuner):
    """A study without a name is called like the function that builds its models."""
    assert make_tuner(study_name=None).study.study_name == "build"


def test_the_metric_of_a_script_is_named_by_the_first_search(make_tuner):
    """A tuner that only looks at a study writes nothing to it."""
    tuner = make_tuner()
    optuna.create_study(storage=tuner._home.storage, study_name="test", direction="minimize")
    assert len(tuner.results()) == len(tuner.study.trials) == 0
    assert tuner.study.metric_names is None
    assert run(tuner).study.metric_names == ["val_mae"]
