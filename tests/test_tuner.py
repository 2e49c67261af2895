"""A search from the user's hands and back: trials, values, models, tables."""

import gc
import os
import random
import signal
import sys
import warnings
from functools import partial

import keras
import numpy as np
import optuna
import pytest
import tensorflow as tf
from optuna.storages import InMemoryStorage

from kerastune_optuna import FatalError, NoTrialsError, TooManyFailuresError, WorkerError
from kerastune_optuna._search import stopping
from tests.support.faults import WATCHDOG, Clock, failed
from tests.support.hosts import FORK, needs_posix
from tests.support.models import PruneAt, build_eager, kept
from tests.support.untrained import Untrained, X, cheap, run, tuner_in
from tests.zoo.data import Batches
from tests.zoo.models import Subclassed

ERRORS = (0.3, 0.1, 0.2, 0.4)  # of the epochs of each trial that `made_up` builds, and its level


def made_up(trial):
    """Return a model whose training is made up, and whose second epoch is the best."""
    units = trial.suggest_int("units", 1, 9)
    level = trial.suggest_float("level", 0.0, 1.0)
    return Untrained(units, [{"val_mae": level + error} for error in ERRORS])


def quick(folder, build=made_up, **options):
    """Return a tuner whose training is made up, and takes no time."""
    given = {"objective": "val_mae", "n_trials": 2, "pruner": optuna.pruners.NopPruner()}
    return tuner_in(folder, build, **{**given, "storage": InMemoryStorage(), **options})


def searched(*tuned, fit=None, **options):
    return run(quick(*tuned, **options), epochs=4, **fit or {})


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Give a tuner with three trials, the second of them pruned, which no test may change."""
    return searched(tmp_path_factory.mktemp("found"), n_trials=3, pruner=PruneAt([1]))


@pytest.mark.slow
def test_the_best_model_evaluates_to_the_best_value(search, make_tuner, data):
    """best_model(), also of a new tuner, gives the very number that the study reports."""

    def build(trial):
        model = Subclassed()
        optimizer = keras.optimizers.Adam(trial.suggest_float("lr", 1e-3, 1e-1, log=True))
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    storage = {"storage": InMemoryStorage()}
    search(build, "val_loss", fit={"batch_size": 48}, **storage)
    tuner = make_tuner(build, "val_loss", **storage)
    logs = tuner.best_model().evaluate(*data[2], verbose=0, return_dict=True)
    value = float(logs["loss"])  # Keras 3.10: a tensor
    assert value == pytest.approx(tuner.best_value, abs=1e-6)


def test_a_value_is_that_of_the_best_epoch(found):
    """Value, reports and user attrs of a COMPLETE trial agree, and the attrs are complete."""
    for number in (0, 2):
        trial = found.study.trials[number]
        reports, attrs = trial.intermediate_values, trial.user_attrs
        assert reports == {e: trial.params["level"] + error for e, error in enumerate(ERRORS)}
        assert trial.value == min(reports.values()) == reports[attrs["best_epoch"]]
        assert attrs["best_epoch"] == 1
        assert attrs["epochs_run"] == 4
        assert attrs["stop_reason"] == "ran all epochs"
        assert attrs["seconds"] > 0
        assert attrs["seed"] == (1878776328, 336614359, 1620722436)[trial.number]
        assert attrs["n_params"] == 3 * trial.params["units"] + 1
        assert ":" in attrs["worker"]


def test_summary_prints_the_best_and_counts_the_rest(found, capsys):
    """summary() ranks trials, shows their parameters, and counts the states below."""
    found.summary(1)
    printed = capsys.readouterr().out
    assert "units=" in printed
    assert "2 COMPLETE 1 PRUNED" in printed
    assert printed.count(" 2/4 ") == 1


@pytest.mark.parametrize("name", ["best_trial", "best_params", "best_value", "best_model"])
def test_results_before_any_trial_are_an_error(tmp_path, name):
    """A result of an empty study is an error that says what to call first."""
    tuner = quick(tmp_path)
    assert tuner.study.trials == []
    with pytest.raises(NoTrialsError, match=r"has 0 COMPLETE trials.*Call search\(\) first"):
        getattr(tuner, name)()  # a property raises before it is called


@pytest.mark.parametrize("verbose", ["auto", 2])
def test_a_line_is_printed_for_each_trial(search, capsys, verbose):
    """Each finished trial is one line; neither Keras nor Optuna adds any."""
    fit = {"verbose": verbose, "batch_size": 48}
    search(build_eager, fit=fit, pruner=PruneAt([1]), **cheap())
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("Trial 0: best val_accuracy ")
    assert "pruned at epoch 1/2 by PruneAt" in lines[1]
    assert "A new study created" not in err


def test_nothing_is_printed_when_nothing_is_wanted(search, capsys):
    """verbose=0 is silent."""
    search(build_eager, n_trials=1, fit={"verbose": 0, "batch_size": 48}, **cheap())
    assert capsys.readouterr() == ("", "")


@pytest.mark.slow
def test_data_of_every_form_is_trained_on(search, data):
    """Datasets, PyDatasets and functions that load the data serve as arrays do."""
    x, y, validation = data
    batches = [tf.data.Dataset.from_tensor_slices(one).batch(16) for one in ((x, y), validation)]
    in_order = {"batch_size": 16, "shuffle": False}
    loaders = {"x": lambda: x, "y": lambda: y, "validation_data": lambda: validation}
    served = {"x": Batches(x, y), "y": None, "validation_data": Batches(*validation)}
    forms = {
        "arrays": in_order,
        "functions": {**loaders, **in_order},
        "datasets": {"x": batches[0], "y": None, "validation_data": batches[1]},
        "pydatasets": {**served, "shuffle": False},
    }
    tables = {
        form: search(objective="val_loss", fit=fit, study_name=form).results()["value"].tolist()
        for form, fit in forms.items()
    }
    assert tables == dict.fromkeys(forms, pytest.approx(tables["arrays"], abs=1e-6))


@pytest.mark.parametrize("more", [{}, {"cv": 2, "validation_data": None}], ids=["plain", "folds"])
def test_functions_that_load_arrays_are_called_once(tmp_path, more):
    """However many trials and trainings there are, the data is loaded for all of them."""
    calls = []

    def loading(name, value):
        return lambda: calls.append(name) or value

    given = {"x": X, "y": X, "validation_data": (X, X), **more}
    arrays = {name: value for name, value in given.items() if name != "cv" and value is not None}
    loaders = {name: loading(name, value) for name, value in arrays.items()}
    searched(tmp_path, fit={**more, **loaders})
    assert sorted(calls) == sorted(loaders)


@pytest.mark.parametrize("options", [{"overwrite": True}, {"seed": 0}])
def test_failures_of_trials_that_were_laid_out_count(tmp_path, options):
    """The first one of overwrite=True waits before the search begins."""

    def build(trial):
        raise RuntimeError(f"no luck with {trial.suggest_int('n', 1, 8)}")

    tuner = quick(tmp_path, build, max_failed_trials=2, **options)
    with pytest.raises(TooManyFailuresError, match="2 trials failed in a row"):
        run(tuner)
    assert len(failed(tuner)) == 2


def misshaping(trial):
    """Return a model for rows of five numbers, where there is one."""
    layers = [keras.Input((5,)), keras.layers.Dense(trial.suggest_int("units", 2, 8))]
    model = keras.Sequential(layers)
    model.compile("sgd", "mse", metrics=["mae"])
    return model


def grouping(trial):
    """Return a model whose layer refuses one of two numbers of groups."""
    inputs, groups = keras.Input((8, 4)), trial.suggest_categorical("divisor", [3, 2])
    keras.layers.Conv1D(6, 3, groups=groups)(inputs)
    return made_up(trial)


def reshaping(trial):
    """Return a model with a layer that refuses one of two shapes."""
    columns = trial.suggest_categorical("divisor", [3, 2])
    keras.layers.Reshape((2, columns))(keras.Input((4,)))
    return made_up(trial)


@pytest.mark.parametrize("build", [grouping, reshaping])
def test_one_bad_configuration_ends_no_search(tmp_path, build):
    """Not even the first one, whatever its error says of shapes."""
    tuner = quick(tmp_path, build, n_trials=1)
    for divisor in (3, 2):
        tuner.study.enqueue_trial({"divisor": divisor})
    run(tuner)
    assert list(tuner.results()["state"]) == ["FAIL", "COMPLETE"]


def test_what_no_configuration_passes_ends_the_search_with_the_second(tmp_path):
    """Its error is the cause of ours, so that its traceback shows where it was raised."""
    tuner = quick(tmp_path, misshaping, n_trials=5)
    with pytest.raises(TooManyFailuresError, match="2 trials failed with the same error") as got:
        run(tuner)
    assert "to have value 5, but received input with shape" in str(got.value.__cause__)
    assert list(tuner.results()["state"]) == ["FAIL", "FAIL"]


@pytest.mark.parametrize(
    ("build", "kind", "text"),
    [
        (lambda trial: undefined_name, NameError, "undefined_name"),  # noqa: F821 - it is tested
        (lambda trial: trial.suggest_int("more", 2), TypeError, "positional argument: 'high'"),
    ],
    ids=["name", "type"],
)
def test_an_error_of_the_code_ends_the_search_at_once(tmp_path, build, kind, text):
    """What every trial would meet is the user's own to see, after the first one."""
    tuner = quick(tmp_path, build, n_trials=5)
    with pytest.raises(kind, match=text) as got:
        run(tuner)
    assert type(got.value) is kind
    assert list(tuner.results()["state"]) == ["FAIL"]


def test_timeout_starts_no_further_trial(tmp_path, monkeypatch):
    """A search without n_trials ends after the trial in which its time runs out."""
    monkeypatch.setattr(stopping, "time", clock := Clock())

    def take_ten_seconds(trial):
        clock.sleep(10)
        return made_up(trial)

    tuner = searched(tmp_path, take_ten_seconds, n_trials=None, timeout=25, keep_best=0)
    assert list(tuner.results()["state"]) == ["COMPLETE"] * 3


@needs_posix
def test_a_fork_of_a_process_that_has_trained_is_told(tmp_path):
    """Training there would wait for ever for threads of TensorFlow that the fork does not have."""
    tf.zeros(1)  # enough to start them
    tuner = searched(tmp_path, n_trials=1)
    given = {"x": X, "y": X, "validation_data": (X, X)}
    calls = [partial(tuner.search, n_trials=3), partial(tuner.confirm, 1), tuner.refit]
    told = FORK.SimpleQueue()

    def train():
        for number, call in enumerate(calls):
            with pytest.raises(WorkerError, match="forked after TensorFlow had begun"):
                call(**given)
            told.put(number)

    child = FORK.Process(target=train)
    child.start()
    child.join(WATCHDOG)
    child.kill()
    assert [None if told.empty() else told.get() for _ in calls] == [0, 1, 2]


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
    assert list(table["stop_reason"]) == ["too wide", "too wide", "ran all epochs"]
    assert list(table["epochs_run"]) == [0, 0, 4]


@pytest.mark.parametrize("name", ["own fit", "callback"])
def test_a_training_may_prune_its_trial(tmp_path, name):
    """The trial has the value of its best epoch so far, and no weights are kept."""

    def build(trial):
        return made_up(trial)

    def fit(trial, model, **keywords):
        model.fit(**{**keywords, "epochs": 2})
        raise optuna.TrialPruned

    def prune(epoch, logs):
        if epoch == 1:
            raise optuna.TrialPruned

    pruning = keras.callbacks.LambdaCallback(on_epoch_end=prune)
    callbacks = [lambda trial: pruning] if name == "callback" else []
    if name == "own fit":
        build.fit = fit
    options = {"n_trials": 1, "max_failed_trials": 1}
    tuner = searched(tmp_path, build, **options, fit={"callbacks": callbacks})
    (trial,) = tuner.study.trials
    assert trial.state is optuna.trial.TrialState.PRUNED
    assert trial.user_attrs["best_value"] == min(trial.intermediate_values.values())
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


def search_in_vain(tuner, **given):
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

    def build(trial):
        if trial.number == 2:
            raise FatalError("no more")
        return made_up(trial)

    tuner = searched(folder, build, n_trials=1)
    given = {"x": X, "y": X, "validation_data": (X, X), "epochs": 4, "verbose": 0}
    return lambda: CALLS[name](tuner, **given)


def drawn():
    """Return the next numbers of the global generators of Python, NumPy and Keras."""
    return [random.random(), np.random.random(), float(keras.random.uniform(()))]


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


OF_KERAS = "floatx epsilon image_data_format dtype_policy max_epochs max_steps_per_epoch".split()
OF_KERAS += ["is_traceback_filtering_enabled", "is_interactive_logging_enabled"]


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
        "keras": {name: str(getattr(keras.config, name)()) for name in OF_KERAS},
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
