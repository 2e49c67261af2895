"""PruningCallback, alone in a plain Optuna objective."""

import keras
import numpy as np
import optuna
import pytest

from kerastune_optuna import ArgumentError, MetricNotFoundError, PruningCallback
from tests.support.models import PruneAt, Spy, build_eager
from tests.support.untrained import Untrained
from tests.support.untrained import run as search


@pytest.fixture
def run(data):
    """Give a function that runs one trial of a plain Optuna objective."""

    def run(*, monitor="val_accuracy", pruner=None, after=(), fits=1, epochs=3, **fit):
        x, y, validation = data
        fit = {"validation_data": validation, **fit}

        def objective(trial):
            model = build_eager(trial)
            pruning = PruningCallback(trial, monitor)
            for _ in range(fits):
                callbacks = [pruning, *after]
                model.fit(x, y, epochs=epochs, verbose=0, callbacks=callbacks, **fit)
            return pruning.result()

        study = optuna.create_study(
            direction="maximize", pruner=pruner or optuna.pruners.NopPruner()
        )
        study.optimize(objective, n_trials=1)
        return study.trials[0]

    return run


def test_every_epoch_is_reported_and_the_best_counts(run):
    """The value is that of the best epoch, and the user attrs say which one."""
    trial = run()
    assert sorted(trial.intermediate_values) == [0, 1, 2]
    assert trial.value == max(trial.intermediate_values.values())
    assert trial.intermediate_values[trial.user_attrs["best_epoch"]] == trial.value
    assert trial.user_attrs["epochs_run"] == 3
    assert trial.user_attrs["stop_reason"] == "ran all epochs"


@pytest.mark.parametrize(("values", "best"), [([1, 3, 2, 3, 1], 3), ([3, 3, 3], 2), ([1, 2], 1)])
def test_of_equal_epochs_the_last_one_is_the_best(values, best):
    """A network that predicts the same rows rightly goes on to become surer of them."""
    trial = optuna.create_study(direction="maximize").ask()
    pruning = PruningCallback(trial, "val_accuracy")
    pruning.set_model(keras.Sequential())
    pruning.set_params({"epochs": len(values)})
    pruning.on_train_begin()
    for epoch, value in enumerate(values):
        pruning.on_epoch_end(epoch, {"val_accuracy": value})
    pruning.on_train_end()
    assert (pruning.best_value, pruning.best_epoch) == (max(values), best)


def test_a_pruned_training_ends_like_a_stopped_one(run):
    """Callbacks after ours see the last epoch and get their on_train_end."""
    seen = []
    trial = run(pruner=PruneAt([0], step=1), after=[Spy(seen)])
    assert trial.state is optuna.trial.TrialState.PRUNED
    assert seen == ["begin", 0, 1, "end"]
    assert trial.user_attrs["stop_reason"] == "pruned at epoch 2/3 by PruneAt"
    assert trial.user_attrs["best_value"] == max(trial.intermediate_values.values())


def test_a_training_is_not_pruned_at_its_last_epoch(run):
    """Nothing would be saved: the trial is COMPLETE, and its value counts."""
    trial = run(pruner=PruneAt([0], step=2))
    assert trial.user_attrs["stop_reason"] == "ran all epochs"
    assert len(trial.intermediate_values) == 3


def test_epochs_without_validation_are_passed_over(run):
    """validation_freq=2 reports every second epoch and warns of nothing."""
    trial = run(epochs=4, validation_freq=2)
    assert sorted(trial.intermediate_values) == [1, 3]


def test_a_metric_that_never_comes_is_an_error_at_the_first_epoch(run):
    """A misspelt metric ends training at once, and the error lists what came."""
    seen = []
    with pytest.raises(MetricNotFoundError, match=r"accuracy, loss, val_accuracy, val_loss") as got:
        run(monitor="val_acuracy", after=[Spy(seen)])
    assert "Did you mean 'val_accuracy'" in str(got.value)
    assert seen == ["begin", 0]


def test_no_validation_at_all_is_an_error_at_the_end(run):
    """A validation metric that had no epoch to come in is an error, not a COMPLETE trial."""
    with pytest.raises(MetricNotFoundError, match="is not among what the model logs"):
        run(epochs=1, validation_data=None)


def test_a_second_training_goes_on_counting(run):
    """Two fits in one trial report six steps instead of three."""
    trial = run(fits=2)
    assert sorted(trial.intermediate_values) == [0, 1, 2, 3, 4, 5]


def test_a_metric_of_several_numbers_is_an_error(data):
    """F1Score without an average cannot be an objective, and the error says what to do."""
    x, y, _ = data
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    model.compile(
        "adam", "categorical_crossentropy", metrics=[keras.metrics.F1Score()], run_eagerly=True
    )
    pruning = PruningCallback(optuna.trial.FixedTrial({}), "f1_score")
    with pytest.raises(MetricNotFoundError, match='average="macro"'):
        model.fit(x, np.eye(3)[y], epochs=2, verbose=0, callbacks=[pruning])


def test_a_fixed_trial_is_trained_to_the_end(data):
    """A FixedTrial has no study, and is never pruned."""
    x, y, validation = data
    trial = optuna.trial.FixedTrial({"units": 4, "lr": 0.01})
    pruning = PruningCallback(trial)
    model = build_eager(trial)
    history = model.fit(x, y, validation_data=validation, verbose=0, callbacks=[pruning])
    assert pruning.result() == history.history["val_accuracy"][0]


def test_the_direction_is_the_studys():
    """A direction that contradicts the study's is an error."""
    trial = optuna.create_study(direction="maximize").ask()
    with pytest.raises(ArgumentError, match="is not that of the study, which is to maximize"):
        PruningCallback(trial, "val_loss", direction="minimize")
    assert PruningCallback(trial, "val_loss").objective.direction == "maximize"


def test_several_objectives_are_refused():
    """Optuna cannot prune several objectives, and the error says so before training."""
    trial = optuna.create_study(directions=["maximize", "minimize"]).ask()
    with pytest.raises(ArgumentError, match="several objectives"):
        PruningCallback(trial)


@pytest.mark.parametrize(
    ("pruned", "reason"),
    [([], "ended at epoch 2"), ([0], "pruned at epoch 2 by PruneAt")],
    ids=["ended", "pruned"],
)
def test_a_loop_that_tells_no_number_of_epochs_is_told_of_without_one(pruned, reason):
    """Where one's own loop calls the callback and no set_params(), nothing is made up."""
    trial = optuna.create_study(pruner=PruneAt(pruned, step=1)).ask()
    pruning = PruningCallback(trial, "val_loss")
    pruning.set_model(keras.Sequential())
    for epoch in range(2):
        pruning.on_epoch_end(epoch, {"val_loss": 1.0})
    pruning.on_train_end()
    assert pruning.stop_reason == reason


class Away(optuna.storages.InMemoryStorage):
    """Lose the connection at the first report."""

    lost = False

    def set_trial_intermediate_value(self, trial_id, step, value):
        """Write, from the second time on."""
        if not self.lost:
            self.lost = True
            raise ConnectionError("server closed the connection")
        super().set_trial_intermediate_value(trial_id, step, value)


def test_reports_that_a_database_missed_follow_with_the_next(data):
    """With interval=2 the next epoch that reports is the second one after."""
    x, y, validation = data
    study = optuna.create_study(direction="maximize", storage=Away())
    trial, steps = study.ask(), []

    def look(epoch, logs):
        steps.append(sorted(study.trials[0].intermediate_values))

    pruning = PruningCallback(trial, interval=2)
    callbacks = [pruning, keras.callbacks.LambdaCallback(on_epoch_end=look)]
    model = build_eager(trial)
    model.fit(x, y, epochs=5, verbose=0, validation_data=validation, callbacks=callbacks)
    assert steps == [[], [], [], [1, 3], [1, 3]]


class Terse(Untrained):
    """A model whose own fit does not tell the callbacks how many epochs there are."""

    def fit(self, *, callbacks, epochs, **_):
        """Call of the callbacks what a loop of one's own may call."""
        for callback in callbacks:
            callback.set_model(self)
            callback.on_train_begin()
        self.stop_training = False
        for epoch, logs in enumerate(self.curve[:epochs]):
            if not self.stop_training:
                for callback in callbacks:
                    callback.on_epoch_end(epoch, dict(logs))
        for callback in callbacks:
            callback.on_train_end()


def terse(trial):
    return Terse(trial.suggest_int("units", 1, 9), [{"val_mae": 0.5}] * 9)


def test_a_fit_of_the_models_own_may_not_tell_the_epochs(quick):
    """The tuner knows them: whether there are more decides if a trial is pruned."""
    tuner = search(quick(terse, n_trials=3, pruner=PruneAt([0, 1], step=1)), epochs=2)
    assert set(tuner.results()["stop_reason"]) == {"ran all epochs"}
    tuner = search(quick(terse, n_trials=1, pruner=PruneAt([0]), study_name="three"), epochs=3)
    assert list(tuner.results()["stop_reason"]) == ["pruned at epoch 1/3 by PruneAt"]


def test_a_plain_objective_may_not_tell_the_epochs():
    """Without them, the pruner is asked after each."""
    trial = optuna.create_study(pruner=PruneAt([0], step=1)).ask()
    pruning = PruningCallback(trial, "val_mae")
    terse(trial).fit(callbacks=[pruning], epochs=3)
    assert (pruning.pruned, pruning.epochs_run) == (True, 2)


def test_a_metric_that_is_called_epoch_is_not_the_number_of_the_epoch():
    """Where a callback logs one, reports and the best epoch are counted as ever."""
    trial = optuna.create_study().ask()
    pruning = PruningCallback(trial, "val_mae")
    pruning.set_model(keras.Sequential())
    pruning.set_params({"epochs": 3})
    pruning.on_train_begin()
    for epoch in range(3):
        pruning.on_epoch_end(epoch, {"epoch": 0.5, "val_mae": 1.0 - epoch})
    pruning.on_train_end()
    assert sorted(trial.study.trials[0].intermediate_values) == [0, 1, 2]
    assert (pruning.best_epoch, pruning.stop_reason) == (2, "ran all epochs")
