"""A search from the user's hands and back: trials, values, models, tables."""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
import warnings

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
from tests.support.models import PruneAt, build_eager, kept
from tests.support.untrained import Untrained, X, run, tuner_in

ERRORS = (0.3, 0.1, 0.2, 0.4)  # of the epochs of each trial that `made_up` builds, and its level


def made_up(trial):
    """Return a model whose training is made up, and whose second epoch is the best."""
    units = trial.suggest_int("units", 1, 9)
    level = trial.suggest_float("level", 0.0, 1.0)
    return Untrained(units, [{"val_mae": level + error} for error in ERRORS])


def in_memory():
    """Return the option of a tuner whose study needs no file, and is made sooner."""
    return {"storage": optuna.storages.InMemoryStorage()}


def quick(folder, build=made_up, **options):
    """Return a tuner whose training is made up, and takes no time."""
    given = {"objective": "val_mae", "n_trials": 2, "pruner": optuna.pruners.NopPruner()}
    return tuner_in(folder, build, **{**given, **in_memory(), **options})


def searched(*tuned, fit=None, **options):
    """Return such a tuner after its search."""
    return run(quick(*tuned, **options), epochs=4, **fit or {})


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Give a tuner with three trials, the second of them pruned, which no test may change."""
    return searched(tmp_path_factory.mktemp("found"), n_trials=3, pruner=PruneAt([1]))


def compiled(model, trial, loss="sparse_categorical_crossentropy"):
    """Return the model, compiled as all builders below compile theirs."""
    rate = trial.suggest_float("lr", 1e-3, 1e-1, log=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    return model


def with_batch_norm_and_dropout(trial):
    """Return a model whose evaluation depends on more than trained weights, and not traced."""
    layers = [
        keras.Input((4,)),
        keras.layers.Dense(8),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.3),
        keras.layers.Dense(3, activation="softmax"),
    ]
    model = compiled(keras.Sequential(layers), trial)
    model.run_eagerly = True  # few rows take less time so
    return model


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


def with_auc(trial):
    """Return a model whose metric Keras numbers through the process."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile(
        keras.optimizers.Adam(trial.suggest_float("lr", 1e-3, 1e-1)),
        "binary_crossentropy",
        metrics=[keras.metrics.AUC()],
    )
    return model


@pytest.mark.slow
@pytest.mark.parametrize("build", [with_batch_norm_and_dropout, unbuilt, subclassed, own_steps])
def test_the_best_model_evaluates_to_the_best_value(search, make_tuner, data, build):
    """best_model(), also of a new tuner, gives the very number that the study reports."""
    storage = in_memory()
    search(build, "val_loss", fit={"batch_size": 48}, **storage)
    tuner = make_tuner(build, "val_loss", **storage)
    logs = tuner.best_model().evaluate(*data[2], verbose=0, return_dict=True)
    value = float(logs["loss"])  # Keras 3.10: a tensor
    assert value == pytest.approx(tuner.best_value, abs=1e-6)


@pytest.mark.slow
def test_a_metric_that_keras_numbers_is_found_in_every_trial(search, data):
    """AUC() is called auc_1 in the second trial of a process, and is found there too."""
    _, y, (x_val, y_val) = data
    fit = {"y": y > 0, "validation_data": (x_val, y_val > 0)}
    tuner = search(with_auc, "val_auc", fit=fit, n_trials=3)
    assert list(tuner.results()["state"]) == ["COMPLETE"] * 3


def test_a_value_is_that_of_the_best_epoch(found):
    """Value, reports and user attrs of a COMPLETE trial agree, and the attrs are complete."""
    for number in (0, 2):
        trial = found.study.trials[number]
        reports, attrs = trial.intermediate_values, trial.user_attrs
        assert reports == {e: trial.params["level"] + error for e, error in enumerate(ERRORS)}
        assert trial.value == min(reports.values()) == reports[attrs["best_epoch"]]
        assert attrs["best_epoch"] == 1
        assert attrs["epochs_run"] == 4
        assert attrs["stop_reason"] == "all epochs"
        assert attrs["seconds"] > 0
        assert attrs["seed"] == (1878776328, 336614359, 1620722436)[trial.number]
        assert attrs["n_params"] == 3 * trial.params["units"] + 1
        assert ":" in attrs["worker"]


def test_results_has_a_row_for_each_trial(found):
    """results() shows state, value, parameters and attrs of every trial, pruned ones too."""
    table = found.results()
    assert list(table["number"]) == [0, 1, 2]
    assert list(table["state"]) == ["COMPLETE", "PRUNED", "COMPLETE"]
    assert list(table["epochs_run"]) == [4, 1, 4]
    assert {"params_units", "params_level", "best_value", "stop_reason"} <= set(table.columns)


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


def test_summary_prints_the_best_and_counts_the_rest(found, capsys):
    """summary() ranks trials, shows their parameters, and counts the states below."""
    found.summary(1)
    printed = capsys.readouterr().out
    assert "units=" in printed
    assert "2 COMPLETE 1 PRUNED" in printed
    assert printed.count(" 2/4 ") == 1


@pytest.mark.parametrize(
    "ask",
    [
        lambda tuner: tuner.best_trial,
        lambda tuner: tuner.best_params,
        lambda tuner: tuner.best_value,
        lambda tuner: tuner.best_model(),
    ],
    ids=["trial", "params", "value", "model"],
)
def test_results_before_any_trial_are_an_error(make_tuner, ask):
    """A result of an empty study is an error that says what to call first."""
    tuner = make_tuner()
    assert tuner.study.trials == []
    with pytest.raises(NoTrialsError, match=r"has 0 COMPLETE trials.*Call search\(\) first"):
        ask(tuner)


@pytest.mark.parametrize("verbose", ["auto", 2])
def test_a_line_is_printed_for_each_trial(search, capsys, verbose):
    """Each finished trial is one line; neither Keras nor Optuna adds any."""
    fit = {"verbose": verbose, "batch_size": 48}
    search(build_eager, fit=fit, pruner=PruneAt([1]), **in_memory())
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("Trial 0: val_accuracy ")
    assert "pruned at epoch 1/2 by PruneAt" in lines[1]
    assert "A new study created" not in err


def test_nothing_is_printed_when_nothing_is_wanted(search, capsys):
    """verbose=0 is silent."""
    search(build_eager, n_trials=1, fit={"verbose": 0, "batch_size": 48}, **in_memory())
    assert capsys.readouterr() == ("", "")


IN_ORDER = {"batch_size": 16, "shuffle": False}


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
    loaders = {"x": lambda: x, "y": lambda: y, "validation_data": lambda: validation}
    return {**loaders, **IN_ORDER}


class Batches(keras.utils.PyDataset):
    """Serve arrays in batches of 16."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        """Count the batches."""
        return -(-len(self.x) // 16)

    def __getitem__(self, index):
        """Return one batch."""
        rows = slice(16 * index, 16 * index + 16)
        return self.x[rows], self.y[rows]


def as_pydatasets(data):
    """Return the data as PyDatasets."""
    x, y, validation = data
    fit = {"x": Batches(x, y), "y": None, "validation_data": Batches(*validation)}
    return {**fit, "shuffle": False}


@pytest.mark.slow
@pytest.mark.parametrize("form", [as_datasets, as_loaders, as_pydatasets])
def test_data_of_every_form_is_trained_on(search, data, form):
    """Datasets, PyDatasets and functions that load the data serve as arrays do."""
    found, of_arrays = (
        search(objective="val_loss", fit=fit, study_name=name).results()["value"].tolist()
        for name, fit in (("test", form(data)), ("arrays", IN_ORDER))
    )
    assert found == pytest.approx(of_arrays, abs=1e-6)


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
    search(build_eager, n_trials=1)
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


@pytest.mark.parametrize("options", [{"overwrite": True}, {"seed": 0}])
def test_failures_of_trials_that_were_laid_out_count(search, make_tuner, options):
    """The first one of overwrite=True waits before the search begins."""

    def build(trial):
        raise RuntimeError(f"no luck with {trial.suggest_int('n', 1, 8)}")

    tuner = make_tuner(build, max_failed_trials=2, **options, **in_memory())
    with pytest.raises(TooManyFailuresError, match="2 trials failed in a row"):
        search(tuner=tuner)
    states = [trial.state.name for trial in tuner.study.trials]
    assert states.count("FAIL") == 2


def misnaming(trial):
    """Return a name that there is not."""
    return undefined_name  # noqa: F821 - the error that is tested


def miscalling(trial):
    """Ask for a number, and not say up to which."""
    trial.suggest_int("more", 2)
    return build_eager(trial)


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
    tuner = make_tuner(build, n_trials=5, **in_memory())
    with pytest.raises(kind, match=text) as got:
        search(tuner=tuner)
    assert not isinstance(got.value, TunerError)
    assert list(tuner.results()["state"]) == ["FAIL"]


def test_an_objective_that_is_never_finite_fails_its_trial(tmp_path):
    """NaN in every epoch is a FAIL with that reason, not a value."""

    def build(trial):
        model = made_up(trial)
        if trial.number == 1:
            model.curve = [{"loss": np.nan, "val_mae": np.nan}] * 4
        return model

    table = searched(tmp_path, build).results()
    assert list(table["state"]) == ["COMPLETE", "FAIL", "COMPLETE"]
    assert table["stop_reason"][1] == "diverged at epoch 1/4: the loss is nan"


def test_timeout_starts_no_further_trial(tmp_path, monkeypatch):
    """A search without n_trials ends after the trial in which its time runs out."""
    monkeypatch.setattr(stopping, "time", clock := Clock())

    def take_ten_seconds(trial):
        clock.now += 10
        return made_up(trial)

    tuner = searched(tmp_path, take_ten_seconds, n_trials=None, timeout=25, keep_best=0)
    assert list(tuner.results()["state"]) == ["COMPLETE"] * 3


def test_a_storage_url_serves(tmp_path):
    """The study lies where the URL says."""
    url = f"sqlite:///{tmp_path}/elsewhere.db"
    searched(tmp_path / "tuning", storage=url)
    assert len(optuna.load_study(study_name="test", storage=url).trials) == 2
    assert not (tmp_path / "tuning" / "study.db").exists()


@needs_posix
def test_a_fork_of_a_process_that_has_trained_is_told(tmp_path):
    """Training there would wait for ever for threads of TensorFlow that the fork does not have."""
    tf.zeros(1)  # enough to start them
    tuner = searched(tmp_path, n_trials=1)
    given = {"x": X, "y": X, "validation_data": (X, X)}
    calls = {
        "search": lambda: tuner.search(**given, n_trials=3),
        "confirm": lambda: tuner.confirm(1, **given),
        "refit": lambda: tuner.refit(**given),
    }
    told = FORK.SimpleQueue()

    def train():
        for name, call in calls.items():
            with pytest.raises(WorkerError, match="forked after TensorFlow had begun"):
                call()
            told.put(name)

    child = FORK.Process(target=train)
    child.start()
    child.join(WATCHDOG)
    child.kill()
    assert [None if told.empty() else told.get() for _ in calls] == list(calls)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.nightly)])
def test_a_builder_may_prune_its_trial(tmp_path, workers):
    """As in Optuna that is no failure, however few may fail, and its message is the reason."""

    def build(trial):
        model = made_up(trial)
        if trial.number < 2:
            raise optuna.TrialPruned("too wide")
        return model

    given = {"n_trials": 3, "max_failed_trials": 1, "fit": {"n_workers": workers}}
    table = searched(tmp_path, build, storage=None, **given).results()
    assert list(table["state"]) == ["PRUNED", "PRUNED", "COMPLETE"]
    assert list(table["stop_reason"]) == ["too wide", "too wide", "all epochs"]
    assert list(table["epochs_run"]) == [0, 0, 4]


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
            return build_eager(trial)

        def fit(self, trial, model, **keywords):
            """Train."""
            model.fit(**{**keywords, "epochs": 2})
            raise optuna.TrialPruned

    build, callbacks = (Fitted(), []) if name == "own fit" else (build_eager, [prune_in_callback])
    fit = {"epochs": 3, "callbacks": callbacks, "batch_size": 48}
    tuner = search(build, n_trials=1, max_failed_trials=1, fit=fit, **in_memory())
    (trial,) = tuner.study.trials
    assert trial.state is optuna.trial.TrialState.PRUNED
    assert trial.user_attrs["best_value"] == max(trial.intermediate_values.values())
    assert trial.user_attrs["epochs_run"] == len(trial.intermediate_values) >= 1
    assert trial.user_attrs["stop_reason"] == "pruned by its own code"
    assert kept(tuner) == []


def test_attrs_of_the_users_own_are_left_to_them(tmp_path):
    """Whatever names a user gives to attrs of a study, search() neither reads nor writes them."""
    tuner = quick(tmp_path, n_trials=1)
    names = ["given", "confirmation", "trainings", "epochs", "part_of"]
    for name in names:
        tuner.study.set_user_attr(name, f"my {name}")
    run(tuner)
    tuner.n_trials = 2
    assert list(run(tuner).results()["state"]) == ["COMPLETE"] * 2
    assert tuner.best_model().count_params() == 3 * tuner.best_params["units"] + 1
    assert all(tuner.study.user_attrs[name] == f"my {name}" for name in names)


def fatal_in_the_third(trial):
    """Return a model for two trials; the third one ends the search."""
    if trial.number == 2:
        raise FatalError("no more")
    return made_up(trial)


def search_in_vain(tuner, **given):
    """Search until an error ends it, after a trial has seeded everything."""
    with pytest.raises(FatalError):
        tuner.search(**given, n_trials=3)


CALLS = {
    "search": lambda tuner, **given: tuner.search(**given, n_trials=2),
    "in vain": search_in_vain,
    "confirm": lambda tuner, **given: tuner.confirm(1, 2, **given),
    "refit": lambda tuner, **given: tuner.refit(**given),
}


def make_call(name, folder):
    """Return one of these calls with all that it needs, of a tuner that has searched one trial."""
    tuner = searched(folder, fatal_in_the_third, n_trials=1)
    given = {"x": X, "y": X, "validation_data": (X, X), "epochs": 4, "verbose": 0}
    return lambda: CALLS[name](tuner, **given)


def drawn():
    """Return the next numbers of each global generator that keras.utils.set_random_seed() seeds."""
    return [
        random.random(),
        float(np.random.random()),
        float(keras.random.uniform(())),
        float(tf.random.uniform(())),
    ]


@pytest.mark.parametrize("name", CALLS)
def test_the_numbers_of_the_user_go_on(tmp_path, name):
    """Global generators go on after a call as the user seeded them."""
    call = make_call(name, tmp_path)
    keras.utils.set_random_seed(3)
    expected = [drawn() for _ in range(3)]
    keras.utils.set_random_seed(3)
    before = drawn()
    call()
    assert [before, drawn(), drawn()] == expected


def test_a_process_without_a_seed_stays_without(tmp_path):
    """TensorFlow draws by chance after a search where it did so before."""
    call = make_call("search", tmp_path)
    tf.random.set_seed(None)
    call()
    assert tf.compat.v1.get_seed(None) == (None, None)


def settings():
    """Return what the process is set to, as far as a training might change it."""
    return {
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "path": list(sys.path),
        "streams": (sys.stdin, sys.stdout, sys.stderr, sys.excepthook),
        "warnings": (list(warnings.filters), warnings.showwarning),
        "signals": {one: signal.getsignal(one) for one in signal.valid_signals()},
        "optuna": optuna.logging.get_verbosity(),
        "numpy": np.geterr(),
        "garbage": (gc.isenabled(), gc.get_threshold()),
        "tensorflow": tf.config.optimizer.get_experimental_options(),
        "keras": (
            keras.config.floatx(),
            keras.config.epsilon(),
            keras.config.image_data_format(),
            keras.config.dtype_policy().name,
            keras.config.is_traceback_filtering_enabled(),
            keras.config.is_interactive_logging_enabled(),
            keras.config.max_epochs(),
            keras.config.max_steps_per_epoch(),
        ),
    }


@pytest.mark.parametrize("name", ["search", "in vain"])
def test_the_settings_of_the_process_are_as_before(tmp_path, name):
    """However a search ends, the user's environment, signals, warnings and settings are back."""
    call = make_call(name, tmp_path)
    was, verbosity = signal.signal(signal.SIGTERM, signal.SIG_IGN), optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", "what the user knows")
    try:
        before = settings()
        call()
        assert settings() == before
    finally:
        signal.signal(signal.SIGTERM, was)
        optuna.logging.set_verbosity(verbosity)
