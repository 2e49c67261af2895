"""What search() is given goes to a HyperModel's own fit as it came."""

import re
import signal

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf

from kerastune_optuna import (
    ArgumentError,
    ArgumentTypeError,
    BuilderError,
    MetricNotFoundError,
    WeightsError,
    from_keras_tuner,
)
from tests.support.faults import states, trials_of
from tests.support.keras_tuner_builders import BatchSize, OwnLoop, Quick
from tests.support.models import kept

X, Y = np.ones((16, 4), "float32"), np.arange(16.0)
QUIET = {"epochs": 1, "verbose": 0, "shuffle": False}
GIVEN = []


class Noted(Quick):
    """Note which data it is trained on."""

    def fit(self, x=None, y=None, **others):
        """Note it, and train."""
        GIVEN.append((x, y, others.get("validation_data")))
        return super().fit(x, y, **others)


class Own(keras_tuner.HyperModel):
    """Be the base of models with a fit of their own."""

    def build(self, hp):
        """Ask for the model."""
        units = hp.Int("units", 2, 40)
        return Noted(units, units / 100)


def own(fit):
    """Return a builder that trains by a function."""
    return from_keras_tuner(type("Model", (Own,), {"fit": fit})())


def without_data(self, hp, model, callbacks, **kwargs):
    return model.fit(X, Y, validation_data=(X, Y), callbacks=callbacks, **QUIET)


def own_names(self, hp, model, train, val=None, callbacks=(), **kwargs):
    x, y = train if isinstance(train, tuple) else (train, None)
    return model.fit(x, y, validation_data=val, callbacks=callbacks, **QUIET)


def turned(self, hp, model, y, x, callbacks, **kwargs):
    return model.fit(x, y, validation_split=0.5, callbacks=callbacks, **QUIET)


def looked_up(self, hp, model, *args, **kwargs):
    data, callbacks = (kwargs["x"], kwargs["y"]), kwargs["callbacks"]
    return model.fit(*data, validation_data=(X, Y), callbacks=callbacks, **QUIET)


DATASET = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)
ARRAYS, DATASETS = (X, Y, (X, Y)), (DATASET, None, DATASET)
CALLS = {  # a fit, what search() is given, and what is trained on
    "no data": (without_data, (), {}, ARRAYS),
    "names": (own_names, (), {"val": (X, Y), "train": (X, Y)}, ARRAYS),
    "datasets": (own_names, (), {"train": DATASET, "val": DATASET}, DATASETS),
    "positions": (own_names, (DATASET, DATASET), {}, DATASETS),
    "position and name": (own_names, (DATASET,), {"val": DATASET}, DATASETS),
    "turned": (turned, (), {"y": Y, "x": X}, (X, Y, None)),
    "turned, by position": (turned, (X, Y), {}, (X, Y, None)),
    "looked up": (looked_up, (), {"y": Y, "x": X}, ARRAYS),
}


def are_same(given, expected):
    """Whether two nested tuples hold the same arrays, such datasets, and None."""
    if isinstance(expected, tuple):
        return all(are_same(*pair) for pair in zip(given, expected, strict=True))
    if isinstance(expected, np.ndarray):
        return np.array_equal(given, expected)
    if isinstance(expected, tf.data.Dataset):  # which is made anew for each trial
        return given.element_spec == expected.element_spec
    return given is expected


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_fit_of_its_own_gets_what_search_got(make_tuner, call):
    """And needs no validation that we could see for an objective that it validates itself."""
    fit, data, names, trained_on = call
    GIVEN.clear()
    tuner = make_tuner(own(fit), n_trials=1).search(*data, verbose=0, **names)
    assert states(tuner) == ["COMPLETE"]
    assert [are_same(given, trained_on) for given in GIVEN] == [True]


def test_a_fit_of_its_own_is_trained_again_without_data(make_tuner):
    """By confirm() and refit()."""
    tuner = make_tuner(own(without_data), n_trials=1).search(verbose=0)
    assert tuner.refit(verbose=0)[0].count_params()
    assert len(tuner.confirm(1, 2, verbose=0).ranking) == 1


def test_a_builder_without_a_fit_needs_data(make_tuner):
    """What we train is checked as before."""
    tuner = make_tuner(from_keras_tuner(Own().build), "accuracy")
    with pytest.raises(ArgumentTypeError, match="x=None is no training data"):
        tuner.search()
    with pytest.raises(ArgumentTypeError, match="got 'train', which"):
        tuner.search(train=(X, Y))


class Tuned(Own):
    """Tune how the model is trained."""

    def build(self, hp):
        """Ask for the model."""
        units = hp.Choice("units", [2, 3])
        return Quick(units, units / 100)

    def fit(self, hp, model, *args, **kwargs):
        """Ask for the batch size, and for one size more."""
        size = hp.Choice("batch_size", [8, 16])
        if size == 8:
            hp.Boolean("more")
        return model.fit(*args, batch_size=size, **kwargs)


def configurations(tuner):
    return sorted(sorted(trial.params.items()) for trial in trials_of(tuner))


ALL = [[("batch_size", 8), ("more", more), ("units", n)] for more in (False, True) for n in (2, 3)]
ALL += [[("batch_size", 16), ("units", n)] for n in (2, 3)]


@pytest.mark.parametrize("steps", [[None], [3, 4, None]], ids=["at once", "in steps"])
def test_a_grid_has_what_a_fit_asks_for(search, make_tuner, steps):
    """Each configuration once, and none stays behind, whether or not there was room for all."""
    options = {"sampler": "grid", "fit": {"epochs": 1}}
    for n_trials in steps:
        tuner = search(from_keras_tuner(Tuned()), n_trials=n_trials, **options)
    assert set(states(tuner)) == {"COMPLETE"}
    assert configurations(tuner) == sorted(ALL)
    assert {"units", "batch_size"} <= set(tuner.plot_importance().data[0].y)


def test_a_fit_that_asks_without_an_end_is_refused_by_a_grid(search):
    """As a builder is: one value by chance would be no grid."""
    build = own(lambda self, hp, model, *args, **kwargs: hp.Float("rate", 0.1, 0.5))
    with pytest.raises(ArgumentError, match=r"'rate' \(0.1 to 0.5\) has no step"):
        search(build, sampler="grid")


class TunedOnOwnNames(Tuned):
    """Take data under names of its own."""

    def fit(self, hp, model, train, val, **kwargs):
        """Train on it."""
        assert val.element_spec == DATASET.element_spec
        return super().fit(hp, model, *train, validation_data=val, **kwargs)


@pytest.mark.slow
def test_workers_share_the_grid_of_a_fit(make_tuner):
    """What one asks for while it trains, the others leave to it; all data reaches them."""
    options = {"sampler": "grid", "n_trials": None, "storage": None}
    tuner = make_tuner(from_keras_tuner(TunedOnOwnNames()), **options)
    tuner.search(train=(X, Y), val=DATASET, epochs=1, n_workers=2, verbose=0)
    assert configurations(tuner) == sorted(ALL)


def test_what_a_fit_asks_for_is_enqueued(search, make_tuner):
    """Before any trial has asked for it, or may have asked for it."""
    tuner = make_tuner(from_keras_tuner(Tuned()), n_trials=2)
    wanted = [{"units": 3, "batch_size": 8, "more": True}, {"units": 2, "batch_size": 16}]
    for params in wanted:
        tuner.enqueue(params)
    search(tuner=tuner, fit={"epochs": 1})
    assert [trial.params for trial in tuner.study.trials] == wanted


class Declared(Tuned):
    """Declare what fit asks for."""

    def declare_hyperparameters(self, hp):
        """Ask before build() does."""
        hp.Choice("batch_size", [16])


def test_what_is_declared_is_asked_first(search, make_tuner):
    """As in KerasTuner, where its range is the first and counts in build() and in fit()."""
    build = from_keras_tuner(Declared())
    assert build.default_params() == {"batch_size": 16, "units": 2}
    tuner = search(build, sampler="grid", n_trials=None, fit={"epochs": 1})
    assert configurations(tuner) == [one for one in sorted(ALL) if ("batch_size", 16) in one]
    assert list(tuner.study.trials[0].params) == ["batch_size", "units"]


def test_a_number_that_nobody_named_is_told_of(make_tuner):
    """KerasTuner minimizes it where its tuner has no objective; ours is the accuracy."""
    build = own(lambda self, hp, model, **kwargs: 0.5)
    tuner = make_tuner(build, n_trials=1, keep_best=0)
    with pytest.warns(UserWarning, match="counts as val_accuracy and is maximized"):
        tuner.search()
    assert tuner.best_value == 0.5


def test_fit_is_given_what_search_was_given(search):
    """By position and keyword as KerasTuner gives it, with callbacks that report."""
    seen = []

    class Model(BatchSize):
        def fit(self, hp, model, *args, **kwargs):
            seen.append((len(args), set(kwargs)))
            return super().fit(hp, model, *args, **kwargs)

    tuner = search(from_keras_tuner(Model()), n_trials=1, fit={"epochs": 7, "shuffle": False})
    assert seen[0] == (2, {"epochs", "validation_data", "verbose", "callbacks", "shuffle"})
    assert seen[1][1] == seen[0][1] - {"epochs"}, "which fit sets itself"
    trial = tuner.best_trial
    assert trial.user_attrs["epochs_run"] == trial.params["epochs"]
    assert sorted(trial.intermediate_values) == list(range(trial.params["epochs"]))
    assert tuner.best_value == max(trial.intermediate_values.values())


@pytest.mark.filterwarnings("ignore:The builder's fit returned a number:UserWarning")
def test_what_fit_returns_is_the_value(search):
    """A number, a list of them or a dict of metrics, as KerasTuner takes them for a result."""
    coming = iter([0.25, 1, np.float32(0.5), {"val_accuracy": 0.75}, [0.25, np.float32(0.5), 0]])
    build = own(lambda self, hp, model, *args, **kwargs: next(coming))
    tuner = search(build, n_trials=5, train_repeats=True, keep_best=0)
    assert [trial.value for trial in tuner.study.trials] == [0.25, 1.0, 0.5, 0.75, 0.25]


def history(*values):
    """Return what Model.fit returns after epochs of these accuracies."""
    made = keras.callbacks.History()
    made.history = {"val_accuracy": [*values], "loss": [0.5] * len(values)}
    return made


def test_the_metrics_of_several_trainings_are_averaged(search):
    """Each dict and the best epoch of each History counts, as in KerasTuner."""
    dicts = [{"val_accuracy": 0.25, "size": 3}, {"val_accuracy": 0.75, "size": 4}]
    coming = iter([dicts, [history(np.nan, 1.0, 0.75), history(0.5)], (dicts[0], 0.75)])
    build = own(lambda self, hp, model, *args, **kwargs: next(coming))
    tuner = search(build, n_trials=3, train_repeats=True, keep_best=0)
    assert [trial.value for trial in tuner.study.trials] == [0.5, 0.75, 0.5]


def test_ctrl_c_ends_a_fit_of_its_own(search, make_tuner):
    """What its code makes of the half of a training does not count, and the trial is resumed."""

    def fit(self, hp, model, *args, **kwargs):
        signal.raise_signal(signal.SIGINT)
        return model.fit(*args, **kwargs).history["no such metric"]

    with pytest.raises(KeyboardInterrupt):
        search(own(fit), n_trials=1)
    assert states(make_tuner()) == ["FAIL", "WAITING"]
    assert make_tuner().study.trials[0].user_attrs["stop_reason"] == "interrupted"


def test_a_loop_of_its_own_is_told_without_an_epoch(make_tuner, capsys):
    """It is reported once, and told in lines, of search() and of confirm(), and in the summary."""

    def fit(self, hp, model, **kwargs):
        model.layers[-1].bias.assign([0.5])
        return {"val_accuracy": 0.5}

    build = own(fit)
    tuner = make_tuner(build, n_trials=1).search(verbose=2)
    assert len(tuner.best_trial.intermediate_values) == len(kept(tuner)) == 1
    tuner.confirm(1, 2, verbose=2)
    tuner.summary()
    printed = capsys.readouterr().out
    line = r"^Trial \d: val_accuracy \S+, all of the builder's own training, \S+ s$"
    assert len(re.findall(line, printed, re.MULTILINE)) == 3
    assert re.search(r"^ +1 +0 +\S+ +0 ", printed, re.MULTILINE), "no epoch of none"


@pytest.mark.parametrize("is_compiled", [True, False], ids=["compiled", "uncompiled"])
def test_a_loop_of_its_own_may_call_the_callbacks(search, data, is_compiled):
    """As in KerasTuner's guide, whose model is not compiled: its epochs count, the best is kept."""

    class Model(OwnLoop):
        def build(self, hp):
            model = super().build(hp)
            return model if is_compiled else keras.Sequential.from_config(model.get_config())

        def fit(self, hp, model, x, y, callbacks, **kwargs):
            for callback in callbacks:
                callback.set_model(model)
            for epoch, score in enumerate([0.25, 0.75, 0.5]):
                model.layers[0].bias.assign(np.full(model.layers[0].units, score))
                for callback in callbacks:
                    callback.on_epoch_end(epoch, logs={"my_score": score})
            return 0.75

    options = {"direction": "maximize", "n_trials": 1, "backup_every": 0}
    tuner = search(from_keras_tuner(Model()), "my_score", fit={"epochs": 10}, **options)
    trial = tuner.best_trial
    assert trial.intermediate_values == {0: 0.25, 1: 0.75, 2: 0.5}
    assert trial.user_attrs["stop_reason"] == "ended at epoch 3/10", "no callback stopped it"
    assert (trial.value, trial.user_attrs["best_epoch"]) == (0.75, 1)
    model = tuner.best_model()
    assert model.compiled == is_compiled
    assert set(model.layers[0].bias.numpy()) == {0.75}


@pytest.mark.parametrize(
    ("returns", "kind", "text"),
    [
        (lambda history: {"acc": 1.0}, MetricNotFoundError, "returned acc, but not my_score"),
        (lambda history: history, MetricNotFoundError, "accuracy, loss, val_accuracy, val_loss"),
        (lambda history: None, BuilderError, "returned None (is its `return` missing?). Return"),
        (lambda history: "0.5", BuilderError, "returned '0.5'. Return what Model.fit returns"),
        (lambda history: [], BuilderError, "returned []. Return what Model.fit returns"),
        (lambda history: [0.5, "0.5"], BuilderError, "returned [0.5, '0.5']. Return"),
    ],
)
def test_what_is_no_result_is_an_error(search, returns, kind, text):
    """One line says what came and what may be returned."""
    build = own(lambda self, hp, model, *args, **kwargs: returns(model.fit(*args, **kwargs)))
    with pytest.raises(kind, match=re.escape(text)):
        search(build, "my_score", direction="maximize", n_trials=1)


def folds(self, hp, model, x, y, epochs, **kwargs):
    """Train a clone on each half, as cross-validation in a fit does."""
    scores = []
    for rows, others in ((slice(8), slice(8, 16)), (slice(8, 16), slice(8))):
        clone = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        clone.compile("sgd", "mse", run_eagerly=True)
        clone.fit(x[rows], y[rows], epochs=1, verbose=0)
        scores.append(clone.evaluate(x[others], y[others], verbose=0))
    return {"val_loss": sum(scores) / 2}


@pytest.mark.parametrize("is_built", [True, False], ids=["built", "unbuilt"])
def test_a_model_that_its_fit_does_not_train_is_not_returned(make_tuner, is_built):
    """A line says so before the first trial ends, the search goes on, and best_model() raises."""

    class Model(Own):
        fit = folds

        def build(self, hp):
            dense = keras.layers.Dense(hp.Int("units", 2, 40))
            model = keras.Sequential([keras.Input((4,)), dense] if is_built else [dense])
            model.compile("sgd", "mse")
            return model

    tuner = make_tuner(from_keras_tuner(Model()), "val_loss", n_trials=2)
    with pytest.warns(UserWarning, match="fit did not train the model that it got, so"):
        tuner.search(X, Y, epochs=1, verbose=0)
    assert states(tuner) == ["COMPLETE", "COMPLETE"]
    with pytest.raises(WeightsError, match="own fit must train the model that it gets"):
        tuner.best_model(trial=tuner.best_trials[0].number)
