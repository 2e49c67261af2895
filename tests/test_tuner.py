"""A search from the user's hands and back: trials, values, models, tables."""

from __future__ import annotations

import random

import keras
import numpy as np
import optuna
import pytest
import tensorflow as tf

from kerastune_optuna import (
    FatalError,
    NoTrialsError,
    TooManyFailuresError,
    TunerError,
    WorkerError,
)
from kerastune_optuna._search import stopping
from tests.support.faults import WATCHDOG, Clock
from tests.support.hosts import FORK, needs_posix
from tests.support.models import PruneAt, build_model, kept


def compiled(model, trial, loss="sparse_categorical_crossentropy"):
    """Return the model, compiled as all builders below compile theirs."""
    rate = trial.suggest_float("lr", 1e-3, 1e-1, log=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    return model


def with_batch_norm_and_dropout(trial):
    """Return a model whose evaluation depends on more than trained weights."""
    layers = [
        keras.Input((4,)),
        keras.layers.Dense(8),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.3),
        keras.layers.Dense(3, activation="softmax"),
    ]
    return compiled(keras.Sequential(layers), trial)


def unbuilt(trial):
    """Return a model that learns its input shape from the data."""
    layers = [keras.layers.Dense(8, activation="relu"), keras.layers.Dense(3, activation="softmax")]
    return compiled(keras.Sequential(layers), trial)


class Doubled(keras.layers.Layer):
    """Scale by a weight of its own: a custom layer that is registered nowhere."""

    def build(self, shape):
        """Make the weight."""
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, inputs):
        """Scale the inputs."""
        return inputs * self.scale * 2


class Subclassed(keras.Model):
    """Hold its layers as attributes, as the subclassing API does."""

    def __init__(self):
        super().__init__()
        self.doubled = Doubled()
        self.out = keras.layers.Dense(3, activation="softmax")

    def call(self, inputs):
        """Apply both layers."""
        return self.out(self.doubled(inputs))


def subclassed(trial):
    """Return a subclassed, unbuilt model with a custom layer."""
    return compiled(Subclassed(), trial)


class OwnSteps(keras.Model):
    """Log a metric under a name that only its own steps know."""

    def train_step(self, *arguments):
        """Train as usual and log one name more."""
        return surprised(super().train_step(*arguments), 1.0)

    def test_step(self, *arguments):
        """Evaluate as usual and log one name more."""
        # JAX keeps the weights in the first of two arguments, and has none to read elsewhere.
        weights = arguments[0][0] if len(arguments) == 2 else self.trainable_weights
        return surprised(super().test_step(*arguments), weights[0][0, 0])


def surprised(result, value):
    """Return what a step returned, with one more entry in its logs."""
    if isinstance(result, tuple):  # JAX: the logs and the state
        logs, state = result
        return {**logs, "surprise": value}, state
    return {**result, "surprise": value}


def own_steps(trial):
    """Return a functional model with steps of its own."""
    inputs = keras.Input((4,))
    outputs = keras.layers.Dense(3, activation="softmax")(inputs)
    return compiled(OwnSteps(inputs, outputs), trial)


def two_outputs(trial):
    """Return a model with two outputs, each with a loss and a metric."""
    inputs = keras.Input((4,))
    one = keras.layers.Dense(3, activation="softmax", name="one")(inputs)
    two = keras.layers.Dense(3, activation="softmax", name="two")(inputs)
    model = keras.Model(inputs, {"one": one, "two": two})
    loss = "sparse_categorical_crossentropy"
    rate = trial.suggest_float("lr", 1e-3, 1e-1, log=True)
    model.compile(
        keras.optimizers.Adam(rate),
        loss={"one": loss, "two": loss},
        metrics={"one": ["accuracy"], "two": ["accuracy"]},
    )
    return model


def with_auc(trial):
    """Return a model whose metric Keras numbers through the process."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile(
        keras.optimizers.Adam(trial.suggest_float("lr", 1e-3, 1e-1)),
        "binary_crossentropy",
        metrics=[keras.metrics.AUC()],
    )
    return model


@pytest.mark.parametrize(
    ("build", "objective"),
    [
        (build_model, "val_accuracy"),
        (build_model, "val_loss"),
        (with_batch_norm_and_dropout, "val_loss"),
        (unbuilt, "val_loss"),
        (subclassed, "val_loss"),
        (own_steps, "val_loss"),
    ],
)
def test_the_best_model_evaluates_to_the_best_value(search, make_tuner, data, build, objective):
    """best_model(), also of a new tuner, gives the very number that the study reports."""
    search(build, objective, fit={"epochs": 3})
    tuner = make_tuner(build, objective)
    logs = tuner.best_model().evaluate(*data[2], verbose=0, return_dict=True)
    value = float(logs[objective.removeprefix("val_")])  # Keras 3.10: a tensor
    assert value == pytest.approx(tuner.best_value, abs=1e-6)


@pytest.mark.slow
def test_models_with_several_outputs_are_tuned(search, data):
    """The metric of one output can be the objective."""
    _, y, (x_val, y_val) = data
    fit = {
        "y": {"one": y, "two": y},
        "validation_data": (x_val, {"one": y_val, "two": y_val}),
    }
    tuner = search(two_outputs, "val_two_accuracy", fit=fit)
    logs = tuner.best_model().evaluate(*fit["validation_data"], verbose=0, return_dict=True)
    assert logs["two_accuracy"] == pytest.approx(tuner.best_value, abs=1e-6)


@pytest.mark.slow
def test_a_metric_that_keras_numbers_is_found_in_every_trial(search, data):
    """AUC() is called auc_1 in the second trial of a process, and is found there too."""
    _, y, (x_val, y_val) = data
    fit = {"y": y > 0, "validation_data": (x_val, y_val > 0)}
    tuner = search(with_auc, "val_auc", fit=fit, n_trials=3)
    assert list(tuner.results()["state"]) == ["COMPLETE"] * 3


@pytest.mark.slow
def test_a_value_is_that_of_the_best_epoch(search):
    """Value, reports and user attrs of a COMPLETE trial agree, and the attrs are complete."""
    tuner = search(n_trials=3, fit={"epochs": 4})
    for trial in tuner.study.trials:
        reports, attrs = trial.intermediate_values, trial.user_attrs
        assert sorted(reports) == [0, 1, 2, 3]
        assert trial.value == max(reports.values()) == reports[attrs["best_epoch"]]
        assert attrs["epochs_run"] == 4
        assert attrs["stop_reason"] == "all epochs"
        assert attrs["seconds"] > 0
        assert attrs["seed"] == (1878776328, 336614359, 1620722436)[trial.number]
        assert attrs["n_params"] == (4 + 1 + 3) * trial.params["units"] + 3
        assert ":" in attrs["worker"]


@pytest.mark.slow
def test_results_has_a_row_for_each_trial(search):
    """results() shows state, value, parameters and attrs of every trial, pruned ones too."""
    table = search(n_trials=3, pruner=PruneAt([1])).results()
    assert list(table["number"]) == [0, 1, 2]
    assert list(table["state"]) == ["COMPLETE", "PRUNED", "COMPLETE"]
    assert list(table["epochs_run"]) == [2, 1, 2]
    assert {"params_units", "params_lr", "best_value", "stop_reason"} <= set(table.columns)


def test_the_best_trial_is_the_earliest_of_equals(make_tuner):
    """Two trials with one value rank by their number."""
    tuner = make_tuner()
    for units in (3, 4):
        tuner.study.add_trial(
            optuna.trial.create_trial(
                params={"units": units},
                distributions={"units": optuna.distributions.IntDistribution(2, 8)},
                value=0.5,
            )
        )
    assert tuner.best_trial.number == 0
    assert tuner.best_params == {"units": 3}


@pytest.mark.slow
def test_summary_prints_the_best_and_counts_the_rest(search, capsys):
    """summary() ranks trials, shows their parameters, and counts the states below."""
    search(n_trials=3, pruner=PruneAt([1])).summary(1)
    printed = capsys.readouterr().out
    assert "units=" in printed
    assert "2 COMPLETE 1 PRUNED" in printed
    assert printed.count("2/2") + printed.count("1/2") == 1


@pytest.mark.parametrize("ask", ["best_trial", "best_params", "best_value"])
def test_results_before_any_trial_are_an_error(make_tuner, ask):
    """A result of an empty study is an error that says what to call first."""
    tuner = make_tuner()
    assert tuner.study.trials == []
    with pytest.raises(NoTrialsError, match=r"has 0 COMPLETE trials.*Call search\(\) first"):
        getattr(tuner, ask)


def test_best_model_before_any_trial_is_an_error(make_tuner):
    """So is its model."""
    with pytest.raises(NoTrialsError, match=r"Call search\(\) first"):
        make_tuner().best_model()


@pytest.mark.parametrize("verbose", ["auto", 1, 2])
def test_a_line_is_printed_for_each_trial(search, capsys, verbose):
    """Each finished trial is one line; neither Keras nor Optuna adds any."""
    search(fit={"verbose": verbose}, pruner=PruneAt([1]))
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("Trial 0: val_accuracy ")
    assert "pruned at epoch 1/2 by PruneAt" in lines[1]
    assert "A new study created" not in err


@pytest.mark.slow
def test_nothing_is_printed_when_nothing_is_wanted(search, capsys):
    """verbose=0 is silent."""
    search(fit={"verbose": 0})
    assert capsys.readouterr() == ("", "")


def as_datasets(data):
    """Return the data as datasets, and the arguments of search() that are no longer needed."""
    x, y, validation = data
    train = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
    return {
        "x": train,
        "y": None,
        "validation_data": tf.data.Dataset.from_tensor_slices(validation).batch(16),
    }


def as_loaders(data):
    """Return the data as functions that load it."""
    x, y, validation = data
    return {"x": lambda: x, "y": lambda: y, "validation_data": lambda: validation}


class Batches(keras.utils.PyDataset):
    """Serve arrays in batches of 16."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        """Count the batches."""
        return len(self.x) // 16

    def __getitem__(self, index):
        """Return one batch."""
        rows = slice(16 * index, 16 * index + 16)
        return self.x[rows], self.y[rows]


def as_pydatasets(data):
    """Return the data as PyDatasets."""
    x, y, validation = data
    return {"x": Batches(x, y), "y": None, "validation_data": Batches(*validation)}


@pytest.mark.slow
@pytest.mark.parametrize("form", [as_datasets, as_loaders, as_pydatasets])
def test_data_of_every_form_is_trained_on(search, data, form):
    """Datasets, PyDatasets and functions that load the data serve as arrays do."""
    tuner = search(fit=form(data))
    assert list(tuner.results()["epochs_run"]) == [2, 2]


@pytest.mark.slow
def test_validation_split_is_passed_on(search, data):
    """Keras itself keeps the last quarter of the arrays, which gives the value."""
    tuner = search(fit={"validation_data": None, "validation_split": 0.25})
    x, y, _ = data
    logs = tuner.best_model().evaluate(x[36:], y[36:], verbose=0, return_dict=True)
    assert logs["accuracy"] == pytest.approx(tuner.best_value, abs=1e-6)


def test_arguments_of_fit_are_passed_on(search):
    """What Model.fit takes reaches it: sample weights of zero leave the loss at zero."""
    weights = np.zeros(48)
    tuner = search(build_model, "loss", fit={"sample_weight": weights, "validation_data": None})
    assert tuner.best_value == 0


def build_eager(trial):
    """Return the smallest classifier, which trains few rows sooner than it is traced."""
    model = build_model(trial)
    model.run_eagerly = True
    return model


def splitting(trial):
    """Return a model, and which part of the data it is validated on."""
    return build_eager(trial), {"validation_split": trial.suggest_categorical("split", [0.25, 0.5])}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "fit"),
    [
        (build_eager, {"initial_epoch": 1, "epochs": 3}),
        (build_eager, {"steps_per_epoch": 2, "batch_size": 8}),
        (splitting, {"validation_data": None, "validation_split": 0.1}),
    ],
    ids=["initial_epoch", "steps_per_epoch", "validation_split"],
)
def test_arguments_of_fit_do_what_plain_keras_does_with_them(search, data, build, fit):
    """A trial logs what Model.fit logs with its seed, its parameters and the same arguments."""
    tuner = search(build, "val_loss", train_repeats=True, fit=fit)
    x, y, validation = data
    for trial in tuner.study.trials:
        keras.utils.set_random_seed(trial.user_attrs["seed"])
        made = build(optuna.trial.FixedTrial(trial.params))
        model, own = made if isinstance(made, tuple) else (made, {})
        given = {"validation_data": validation, "epochs": 2, "verbose": 0, **fit, **own}
        plain = model.fit(x, y, **given).history["val_loss"]
        assert [value for _, value in sorted(trial.intermediate_values.items())] == plain
        assert trial.user_attrs["epochs_run"] == len(plain) == 2


def test_a_search_leaves_no_pickle(search, tmp_path):
    """Whoever changes a file of a study makes nobody who reads it run code."""
    search(n_trials=1)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".db"}
    assert len(files) >= 3, "database, weights and history"
    assert not [path for path in files if path.read_bytes().startswith(b"\x80")]


@pytest.mark.slow
def test_epochs_are_counted_from_the_first_one_that_a_trial_trains(search, capsys):
    """Whatever `initial_epoch=` is the number of it for Keras and its callbacks."""
    tuner = search(build_eager, n_trials=1, fit={"initial_epoch": 3, "epochs": 6, "verbose": 2})
    trial = tuner.best_trial
    assert sorted(trial.intermediate_values) == [0, 1, 2]
    assert trial.intermediate_values[trial.user_attrs["best_epoch"]] == tuner.best_value
    tuner.summary()
    best = trial.user_attrs["best_epoch"] + 1
    assert f" {best}/3 " in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"cv": 2, "validation_data": None}], ids=["plain", "folds"])
def test_functions_that_load_arrays_are_called_once(search, data, more):
    """However many trials and trainings there are, the data is loaded for all of them."""
    calls = []

    def loading(name, value):
        return lambda: calls.append(name) or value

    fit = {**dict(zip(("x", "y", "validation_data"), data, strict=True)), "epochs": 1, **more}
    loaders = {name: loading(name, fit[name]) for name in ("x", "y")}
    if fit["validation_data"] is not None:
        loaders["validation_data"] = loading("validation_data", fit["validation_data"])
    search(build_eager, fit={**fit, **loaders})
    assert sorted(calls) == sorted(loaders)


@pytest.mark.slow
def test_a_failing_configuration_does_not_end_the_search(search, capsys):
    """Trials whose builder raises are FAIL with the reason, and are made up for."""

    def build(trial):
        model = build_model(trial)
        if trial.number in (1, 2):
            raise RuntimeError("no such luck")
        return model

    tuner = search(build, n_trials=3, fit={"verbose": 2})
    table = tuner.results()
    assert list(table["state"]) == ["COMPLETE", "FAIL", "FAIL", "COMPLETE", "COMPLETE"]
    assert table["stop_reason"][1] == "RuntimeError: no such luck"
    assert "Trial 1: failed: RuntimeError: no such luck" in capsys.readouterr().out


def test_many_failures_in_a_row_end_the_search(search):
    """max_failed_trials failures in a row raise, with the last one as the cause."""

    def build(trial):
        raise RuntimeError(f"no luck with {trial.number}")

    with pytest.raises(TooManyFailuresError, match="3 trials failed in a row") as got:
        search(build, max_failed_trials=3)
    assert str(got.value.__cause__) == "no luck with 2"


@pytest.mark.parametrize("options", [{"overwrite": True}, {"sampler": "grid"}, {"seed": 0}])
def test_failures_of_trials_that_were_laid_out_count(search, make_tuner, options):
    """All trials of a grid, and the first one of overwrite=True, wait before the search begins."""

    def build(trial):
        raise RuntimeError(f"no luck with {trial.suggest_int('n', 1, 8)}")

    with pytest.raises(TooManyFailuresError, match="2 trials failed in a row"):
        search(build, max_failed_trials=2, **options)
    states = [trial.state.name for trial in make_tuner().study.trials]
    assert states.count("FAIL") == 2


def misnaming(trial):
    """Return a name that there is not."""
    return undefined_name  # noqa: F821 - the error that is tested


def miscalling(trial):
    """Ask for a number, and not say up to which."""
    return build_eager(trial, trial.suggest_int("more", 2))


def misshaping(trial):
    """Return a model for rows of five numbers, where there are four."""
    units = trial.suggest_int("units", 2, 8)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(units)])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.mark.parametrize(
    ("build", "kind", "text"),
    [
        (misnaming, NameError, "undefined_name"),
        (miscalling, TypeError, "missing 1 required positional argument: 'high'"),
        (misshaping, ValueError, "to have value 5, but received input with shape"),
    ],
    ids=["name", "type", "shape"],
)
def test_an_error_of_the_code_ends_the_search_at_once(search, make_tuner, build, kind, text):
    """What every trial would meet is the user's own to see, after the first one."""
    with pytest.raises(kind, match=text) as got:
        search(build, n_trials=5)
    assert not isinstance(got.value, TunerError)
    assert list(make_tuner(build).results()["state"]) == ["FAIL"]


@pytest.mark.slow
def test_an_objective_that_is_never_finite_fails_its_trial(search):
    """NaN in every epoch is a FAIL with that reason, not a value."""

    def build(trial):
        model = build_model(trial)
        if trial.number == 1:
            model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
        return model

    tuner = search(build, "val_loss")
    assert list(tuner.results()["state"]) == ["COMPLETE", "FAIL", "COMPLETE"]
    assert tuner.results()["stop_reason"][1] == "diverged at epoch 1/2: the loss is nan"


@pytest.mark.slow
def test_timeout_starts_no_further_trial(search, monkeypatch):
    """A search without n_trials ends after the trial in which its time runs out."""
    monkeypatch.setattr(stopping, "time", clock := Clock())

    def take_ten_seconds(trial):
        clock.now += 10
        return build_model(trial)

    table = search(take_ten_seconds, n_trials=None, timeout=25, keep_best=0).results()
    assert list(table["state"]) == ["COMPLETE"] * 3


def test_any_optuna_storage_serves(search):
    """A storage object and a URL take the place of SQLite in the directory."""
    storage = optuna.storages.InMemoryStorage()
    search(storage=storage)
    assert len(optuna.load_study(study_name="test", storage=storage).trials) == 2


@pytest.mark.slow
def test_a_storage_url_serves(search, tmp_path):
    """The study lies where the URL says."""
    url = f"sqlite:///{tmp_path}/elsewhere.db"
    search(storage=url)
    assert len(optuna.load_study(study_name="test", storage=url).trials) == 2
    assert not (tmp_path / "tuning" / "study.db").exists()


@needs_posix
@pytest.mark.parametrize(
    ("call", "given"), [("search", {"n_trials": 3}), ("confirm", {"top": 1}), ("refit", {})]
)
def test_a_fork_of_a_process_that_has_trained_is_told(make_tuner, data, call, given):
    """Training there would wait for ever for threads of TensorFlow that the fork does not have."""
    x, y, validation = data
    tf.zeros(1)  # enough to start them
    tuner = make_tuner().search(x, y, validation_data=validation, epochs=1, verbose=0)
    told = FORK.SimpleQueue()

    def train():
        with pytest.raises(WorkerError, match="forked after TensorFlow had begun") as got:
            getattr(tuner, call)(x=x, y=y, validation_data=validation, **given)
        told.put(str(got.value))

    child = FORK.Process(target=train)
    child.start()
    child.join(WATCHDOG)
    child.kill()
    assert not told.empty()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_builder_may_prune_its_trial(search, workers):
    """As in Optuna that is no failure, however few may fail, and its message is the reason."""

    def build(trial):
        model = build_model(trial)
        if trial.number < 2:
            raise optuna.TrialPruned("too wide")
        return model

    fit = {"epochs": 1, "n_workers": workers}
    table = search(build, n_trials=3, max_failed_trials=1, fit=fit).results()
    assert list(table["state"]) == ["PRUNED", "PRUNED", "COMPLETE"]
    assert list(table["stop_reason"]) == ["too wide", "too wide", "all epochs"]
    assert list(table["epochs_run"]) == [0, 0, 1]


def prune_in_callback(trial):
    """Return a callback that ends the training after its second epoch, as Optuna's own does."""

    def prune(epoch, logs):
        if epoch == 1:
            raise optuna.TrialPruned

    return keras.callbacks.LambdaCallback(on_epoch_end=prune)


@pytest.mark.parametrize("name", ["own fit", "callback"])
def test_a_training_may_prune_its_trial(search, name):
    """The trial has the value of its best epoch so far, and no weights are kept."""

    class Fitted:
        """Train one epoch, then prune."""

        def __call__(self, trial):
            """Build."""
            return build_model(trial)

        def fit(self, trial, model, **keywords):
            """Train."""
            model.fit(**{**keywords, "epochs": 2})
            raise optuna.TrialPruned

    build, callbacks = (Fitted(), []) if name == "own fit" else (build_model, [prune_in_callback])
    fit = {"epochs": 3, "callbacks": callbacks}
    tuner = search(build, n_trials=1, max_failed_trials=1, fit=fit)
    (trial,) = tuner.study.trials
    assert trial.state is optuna.trial.TrialState.PRUNED
    assert trial.user_attrs["best_value"] == max(trial.intermediate_values.values())
    assert trial.user_attrs["epochs_run"] == len(trial.intermediate_values) >= 1
    assert trial.user_attrs["stop_reason"] == "pruned by its own code"
    assert kept(tuner) == []


def test_attrs_of_the_users_own_are_left_to_them(make_tuner, search):
    """Whatever names a user gives to attrs of a study, search() neither reads nor writes them."""
    tuner = make_tuner(n_trials=1)
    names = ["given", "confirmation", "trainings", "epochs", "part_of"]
    for name in names:
        tuner.study.set_user_attr(name, f"my {name}")
    search(tuner=tuner)
    tuner.n_trials = 2
    assert search(tuner=tuner).best_model().built
    assert all(tuner.study.user_attrs[name] == f"my {name}" for name in names)


def drawn():
    """Return the next numbers of each global generator that keras.utils.set_random_seed() seeds."""
    return [
        random.random(),
        float(np.random.random()),
        float(keras.random.uniform(())),
        float(tf.random.uniform(())),
    ]


def search_in_vain(search, **_):
    """Search with a builder that fails once trials have seeded everything."""

    def build(trial):
        if trial.number == 1:
            raise FatalError("no more")
        return build_model(trial)

    with pytest.raises(FatalError):
        search(build)


CALLS = {
    "search": lambda search, **_: search(n_trials=1),
    "in vain": search_in_vain,
    "confirm": lambda tuner, given, **_: tuner.confirm(1, 2, **given, epochs=1, verbose=0),
    "refit": lambda tuner, given, **_: tuner.refit(**given, epochs=1, verbose=0),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("is_seeded", [True, False], ids=["seeded", "unseeded"])
def test_the_numbers_of_the_user_go_on(search, make_tuner, data, name, is_seeded):
    """Global generators are as they were after a call, by chance or as the user seeded them."""
    x, y, validation = data
    given = {"x": x, "y": y, "validation_data": validation}
    tuner = make_tuner(study_name="first", n_trials=1).search(**given, epochs=1, verbose=0)
    if is_seeded:
        keras.utils.set_random_seed(3)
        expected = [drawn() for _ in range(3)]
        keras.utils.set_random_seed(3)
    else:
        tf.random.set_seed(None)
    before = drawn()
    CALLS[name](search=search, tuner=tuner, given=given)
    after = [drawn() for _ in range(2)]
    if is_seeded:
        assert [before, *after] == expected
    else:
        assert tf.compat.v1.get_seed(None) == (None, None)
