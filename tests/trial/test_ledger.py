"""Executions and folds: a trial is several trainings, and their mean counts."""

import io
import itertools
import os
import signal
import statistics
from functools import partial

import keras
import numpy as np
import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState, create_trial
from rich.console import Console
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold

from kerastune_optuna import StudyMismatchError
from kerastune_optuna._report import summary
from kerastune_optuna._report.live import Frame
from kerastune_optuna._report.progress import Plan, line_of
from kerastune_optuna._study import Card
from kerastune_optuna._study.objectives import Objectives, parse_objective
from kerastune_optuna._study.record import TrialRecord
from kerastune_optuna._study.retry import DIED
from kerastune_optuna._trial import ledger
from tests.support import falling
from tests.support.faults import Clock, EpochLog, logged, trials_of
from tests.support.marks import mostly_nightly
from tests.support.models import PruneAt, build_eager, build_model, history
from tests.support.untrained import run, tuner_in


def trained(build, trial, seed, x, y, validation, **fit):
    """Return the validation losses of a training by hand."""
    keras.utils.set_random_seed(seed)
    model = build(optuna.trial.FixedTrial(trial.params))
    logs = model.fit(x, y, validation_data=validation, verbose=0, **fit)
    return logs.history["val_loss"]


def with_late_metrics(trial):
    """Return a classifier that tunes a rate alone, with metrics that the first step builds."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
    adam = keras.optimizers.Adam(trial.suggest_float("rate", 1e-3, 1e-2))
    model.compile(adam, "categorical_crossentropy", metrics=["r2_score", "f1_score"])
    return model


WAYS = ["cv", "confirm", "rates alone"]


@pytest.mark.parametrize("way", mostly_nightly(WAYS, "cv", "rates alone"))
def test_metrics_that_make_their_variables_late_are_trained_again(make_tuner, data, way):
    """Keras gives R2Score and F1Score their variables only in the first step of a training."""
    x, y, (x_val, y_val) = data
    fit = {"x": x, "y": np.eye(3)[y], "epochs": 1, "verbose": 0}
    fit |= {"cv": 2} if way == "cv" else {"validation_data": (x_val, np.eye(3)[y_val])}
    n = 2 if way == "rates alone" else 1
    tuner = make_tuner(with_late_metrics, "val_loss", n_trials=n).search(**fit)
    assert [trial.state for trial in tuner.study.trials] == [TrialState.COMPLETE] * n
    if way == "confirm":
        assert len(tuner.confirm(1, 2, **fit).winner.values) == 2


@pytest.mark.slow
def test_executions_are_the_mean_of_single_trainings(search, data):
    """Three executions are three plain trainings by the recorded seeds, to the last digit shown."""
    tuner = search(objective="val_loss", executions_per_trial=3, n_trials=1)
    (trial,) = trials_of(tuner)
    attrs = trial.user_attrs
    assert attrs["seeds"][0] == attrs["seed"]
    assert len(set(attrs["seeds"])) == 3
    curves = [trained(build_model, trial, seed, *data, epochs=2) for seed in attrs["seeds"]]
    values = [min(curve) for curve in curves]
    assert attrs["values"] == pytest.approx(values, abs=1e-6)
    assert trial.value == attrs["best_value"] == pytest.approx(statistics.fmean(values), abs=1e-6)
    assert attrs["std"] == pytest.approx(statistics.stdev(values), abs=1e-6)
    assert attrs["epochs_run"] == 6
    losses = [(number, loss) for number, curve in enumerate(curves) for loss in curve]
    means = [statistics.fmean([*values[:number], loss]) for number, loss in losses]
    reports = [trial.intermediate_values[step] for step in range(6)]
    assert reports == pytest.approx(means, abs=1e-6)
    rows = [(row["training"], row["epoch"]) for row in history(tuner, 0)]
    assert rows == list(itertools.product("012", "01"))
    loss = falling.loss_of(tuner.best_model(), data)
    assert loss == pytest.approx(min(attrs["values"]), abs=1e-6)


@pytest.mark.slow
def test_folds_are_the_mean_of_a_loop(search, data):
    """Five folds are the loop that one writes by hand over scikit-learn's folds."""
    x, y, _ = data
    fit = {"validation_data": None, "cv": 5, "epochs": 1}
    tuner = search(build_eager, "val_loss", n_trials=1, seed=3, fit=fit)
    (trial,) = trials_of(tuner)
    folds = StratifiedKFold(5, shuffle=True, random_state=3).split(x, y)
    values = [
        min(trained(build_eager, trial, seed, x[train], y[train], (x[rest], y[rest]), epochs=1))
        for seed, (train, rest) in zip(trial.user_attrs["seeds"], folds, strict=True)
    ]
    assert trial.user_attrs["values"] == pytest.approx(values, abs=1e-6)
    assert tuner.best_value == pytest.approx(statistics.fmean(values), abs=1e-6)


def test_each_fold_is_executed_more_than_once(search, data):
    """Rows with weights train twice on each of two groups, under four seeds."""

    class Weighed(falling.Falling):
        def fit(self, x, y=None, *, sample_weight, **given):
            assert np.array_equal(sample_weight, x[:, 0])
            return super().fit(x, y, **given)

    fit = {"validation_data": None, "cv": GroupKFold(2), "sample_weight": data[0][:, 0]}
    fit |= {"groups": np.arange(len(data[0])) % 4, "epochs": 1}
    options = {"executions_per_trial": 2, "n_trials": 1, "fit": fit}
    tuner = search(lambda trial: Weighed(), "val_loss", **options)
    (trial,) = trials_of(tuner)
    assert len(set(trial.user_attrs["values"])) == len(set(trial.user_attrs["seeds"])) == 4
    assert sorted(trial.intermediate_values) == [0, 1, 2, 3]


@pytest.mark.slow
def test_hyperband_knows_the_epochs_of_all_folds(tmp_path):
    """Its largest resource is what all trainings of a trial report, and it prunes across them."""
    options = {"n_trials": 30, "pruner": "hyperband", "keep_best": 0, "backup_every": None}
    tuner = tuner_in(tmp_path, objective="val_mae", storage=InMemoryStorage(), **options)
    run(tuner, epochs=3, cv=KFold(3), validation_data=None)
    assert tuner.study.pruner._max_resource == 9
    reports = {state: set() for state in TrialState}
    for trial in tuner.study.trials:
        reports[trial.state].add(len(trial.intermediate_values))
    assert reports[TrialState.COMPLETE] == {9}
    assert reports[TrialState.PRUNED]
    assert max(reports[TrialState.PRUNED]) < 9


def test_pruning_acts_across_executions(search):
    """A trial that is pruned in its second training has the steps and the mean until there."""
    options = {"executions_per_trial": 3, "pruner": PruneAt([1], step=2)}
    tuner = search(falling.build, "val_loss", **options)
    complete, pruned = trials_of(tuner)
    assert sorted(complete.intermediate_values) == list(range(6))
    assert pruned.state is TrialState.PRUNED
    assert sorted(pruned.intermediate_values) == [0, 1, 2]
    assert pruned.user_attrs["epochs_run"] == 3
    assert pruned.user_attrs["stop_reason"] == "training 2 of 3: pruned at epoch 1/2 by PruneAt"
    assert len(history(tuner, 1)) == 3
    assert Card.latest(tuner.study).epochs_in_all == 6


def kill_in_the_second(trial):
    """Make a callback that kills its process in the second epoch of the second execution."""

    def kill(epoch, logs):
        second = len(trial.user_attrs.get("values", ())) == 1
        if trial.number == 0 and second and epoch == 1 and TrialRecord(trial).retry_of is None:
            os.kill(os.getpid(), signal.SIGKILL)

    return keras.callbacks.LambdaCallback(on_epoch_begin=kill)


@pytest.mark.slow
def test_a_killed_trial_keeps_the_executions_that_ended(search, data, tmp_path):
    """One of two workers is killed: its trial goes on with the second execution, as if not."""
    log = tmp_path / "log"
    fit = {"callbacks": [EpochLog(log), kill_in_the_second]}
    options = {"executions_per_trial": 2, "keep_best": 2, "storage": None}
    tuner = search(build_eager, "val_loss", **options, fit={**fit, "n_workers": 2})
    died, *others = trials_of(tuner)
    (retried,) = (trial for trial in others if TrialRecord(trial).retry_of is not None)
    assert died.user_attrs["stop_reason"] == DIED
    again = [what for number, what, *_ in logged(log) if number == retried.number]
    assert again == ["begin", "0", "1", "end"]
    seeds = retried.user_attrs["seeds"]
    assert seeds == died.user_attrs["seeds"]
    assert sorted(retried.intermediate_values) == [0, 1, 2, 3]
    assert len(history(tuner, retried.number)) == 4
    values = [min(trained(build_eager, retried, seed, *data, epochs=2)) for seed in seeds]
    assert retried.user_attrs["values"] == pytest.approx(values, abs=1e-6)
    loss = falling.loss_of(tuner.best_model(trial=retried.number), data)
    assert loss == pytest.approx(min(values), abs=1e-6)


def test_a_study_has_trainings_of_one_kind(search, make_tuner):
    """Another number of executions, or other folds, are an error that shows both."""
    make = partial(make_tuner, falling.build, "val_loss")
    search(tuner=make(), fit={"epochs": 1, "n_trials": 1})
    with pytest.raises(StudyMismatchError, match="executions_per_trial=1, cv=None, not with exec"):
        search(tuner=make(executions_per_trial=2))
    with pytest.raises(StudyMismatchError, match=r"not with executions_per_trial=1, cv=3 folds \("):
        search(tuner=make(), fit={"validation_data": None, "cv": 3})


def test_the_spread_is_shown(make_tuner, tmp_path):
    """Where values are means, all that shows them shows their spread beside them."""
    tuner = make_tuner(executions_per_trial=2)
    ours = {"best_value": 0.5, "best_epoch": 1, "stop_reason": "ran all epochs", "seconds": 2.0}
    several = {"std": 0.0125, "values": [0.4875, 0.5125], "seeds": [7, 9]}
    attrs = {**ours, **several, "seed": 7}
    tuner.study.add_trial(create_trial(state=TrialState.COMPLETE, value=0.5, user_attrs=attrs))
    text, objective = summary(tuner.study, 10), parse_objective("val_accuracy", "auto")
    assert "0.5 ± 0.013" in text
    assert "mean ± standard deviation" in text
    assert list(tuner.results().columns[-3:]) == ["std", "values", "seeds"]
    (trial,) = trials_of(tuner)
    assert line_of(trial, objective) == (
        "Trial 0: val_accuracy 0.5 ± 0.013 in 2 trainings, ran all epochs, 2.0 s"
    )
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(Frame(Plan("test", Objectives([objective]), 1, 4), [trial], 1.0))
    assert "0.5000 ± 0.013 in trial 0" in console.export_text()
    page = tuner.report(tmp_path / "report.html").read_text()
    assert '<button type="button">std</button>' in page


def test_a_builders_own_fit_is_executed_more_than_once(search, data):
    """What it returns counts as the value of one training, at the step where that begins."""
    values = iter([0.75, 0.25, 0.5])

    class OwnFit:
        def __call__(self, trial):
            return falling.build(trial)

        def fit(self, trial, model, **arguments):
            value = next(values)
            model.set_weights([np.full_like(weight, value) for weight in model.get_weights()])
            return value

    tuner = search(OwnFit(), "val_loss", executions_per_trial=3, n_trials=1)
    (trial,) = trials_of(tuner)
    assert trial.user_attrs["values"] == [0.75, 0.25, 0.5]
    assert trial.value == pytest.approx(0.5)
    assert trial.intermediate_values == {0: 0.75, 2: 0.5, 4: 0.5}
    assert falling.loss_of(tuner.best_model(), data) == 0.25


def test_a_repeat_takes_all_values_over(search, make_tuner):
    """A configuration that comes again has the values, the spread and the seeds of the first."""
    tuner = make_tuner(falling.build, "val_loss", executions_per_trial=2)
    for _ in range(2):
        tuner.study.enqueue_trial({"units": 3})
    first, second = search(tuner=tuner, fit={"epochs": 1}).study.trials
    assert second.user_attrs["repeat_of"] == 0
    names = ("values", "std", "seeds", "best_epochs", "best_value")
    assert [second.user_attrs[name] for name in names] == [first.user_attrs[name] for name in names]


def test_each_objective_is_a_mean(search):
    """With two objectives each training is scored by both, and the trial has the mean of each."""
    build = lambda trial: falling.Falling(logged=["loss", "val_loss", "val_mae"])  # noqa: E731
    objectives = ["val_loss", "val_mae", "n_params"]
    tuner = search(build, objectives, executions_per_trial=2, n_trials=1)
    (trial,) = tuner.best_trials
    first, second = trial.user_attrs["values"]
    assert first != second
    mean = pytest.approx((first + second) / 2)
    assert trial.values == [mean, mean, tuner.best_model(trial=0).count_params()]


def test_the_time_of_a_trial_is_that_of_all_its_trainings(search, monkeypatch):
    """A limit of seconds ends a trial whose trainings together take longer, and prunes it."""
    monkeypatch.setattr(ledger, "time", clock := Clock())
    slow = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: clock.sleep(2))
    limits = {"executions_per_trial": 5, "max_seconds_per_trial": 5}
    fit = {"callbacks": [slow], "epochs": 1}
    tuner = search(falling.build, "val_loss", **limits, n_trials=1, fit=fit)
    (trial,) = trials_of(tuner)
    assert trial.state is TrialState.PRUNED
    assert trial.user_attrs["epochs_run"] == 3
    reason = "training 3 of 5: max_seconds_per_trial: 6 > 5"
    assert trial.user_attrs["stop_reason"] == reason
