"""Builders that were written for KerasTuner run unchanged, with the values that it would give."""

from __future__ import annotations

import functools
import pickle
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import cloudpickle
import keras
import keras_tuner
import numpy as np
import optuna
import pytest
from keras_tuner.src.applications import efficientnet

from kerastune_optuna import (
    ArgumentError,
    ArgumentTypeError,
    BuilderError,
    HyperParameters,
    MetricNotFoundError,
    OptunaTuner,
    TooManyFailuresError,
    from_keras_tuner,
)
from kerastune_optuna._backend import Memory
from kerastune_optuna._search.grid import Grid, configurations, lay_out_grid
from tests.support.keras_tuner_builders import (
    FUNCTIONS,
    MODELS,
    BatchSize,
    OwnLoop,
    compiled,
    plain,
    same_names,
)
from tests.support.models import kept

RANGES = {
    "ends": lambda hp: hp.Int("x", 3, 7),
    "step": lambda hp: hp.Int("x", 6, 13, step=3),
    "one": lambda hp: hp.Int("x", 5, 5),
    "negative": lambda hp: hp.Int("x", -4, 4, step=2),
    "log": lambda hp: hp.Int("x", 1, 9, sampling="log"),
    "factor": lambda hp: hp.Int("x", 2, 40, step=2, sampling="log"),
    "mirrored": lambda hp: hp.Int("x", 2, 9, sampling="reverse_log"),
    "mirrored factor": lambda hp: hp.Int("x", 2, 40, step=3, sampling="reverse_log"),
    "float step": lambda hp: hp.Float("x", 0.0, 0.3, step=0.1),
    "float step, its last value lost": lambda hp: hp.Float("x", 0.0, 0.6, step=0.1),
    "float step of the documentation": lambda hp: hp.Float("x", 0, 1, step=0.2),
    "float step with a rest": lambda hp: hp.Float("x", 0.05, 1.0, step=0.3),
    "float factor": lambda hp: hp.Float("x", 0.001, 10, step=10, sampling="log"),
    "float mirrored factor": lambda hp: hp.Float("x", 0.1, 0.95, step=2, sampling="reverse_log"),
    "words": lambda hp: hp.Choice("x", ["a", "b", "c"]),
    "numbers": lambda hp: hp.Choice("x", [0.5, 0.25], ordered=False),
    "booleans": lambda hp: hp.Choice("x", [True, False]),
    "boolean": lambda hp: hp.Boolean("x"),
    "fixed": lambda hp: hp.Fixed("x", 0.1),
}
SPANS = {
    "linear": lambda hp: hp.Float("x", -1, 2),
    "log": lambda hp: hp.Float("x", 1e-4, 1e-1, sampling="log"),
    "mirrored": lambda hp: hp.Float("x", 0.01, 1, sampling="reverse_log"),
}


class Both:
    """Put each question to KerasTuner's object too, and give our answer."""

    def __init__(self, ours):
        self.ours, self.theirs = ours, keras_tuner.HyperParameters()

    def __getattr__(self, name):
        mine, other = getattr(self.ours, name), getattr(self.theirs, name)
        return functools.partial(self._ask, mine, other) if callable(mine) else mine

    def _ask(self, mine, other, *arguments, **options):
        given, theirs = mine(*arguments, **options), other(*arguments, **options)
        if hasattr(given, "__enter__"):
            return both_scopes(given, theirs)
        self.theirs.values.update(self.ours.values)
        return given

    def __contains__(self, name):
        return name in self.ours

    def __getitem__(self, name):
        return self.ours[name]


@contextmanager
def both_scopes(ours, theirs):
    """Enter a scope of ours and one of KerasTuner's."""
    with ours, theirs:
        yield


def possible(hyperparameter):
    """Return all values that KerasTuner can draw."""
    return {hyperparameter.prob_to_value(number / 2000) for number in range(2000)}


def drawn(question, draws=150):
    """Return the values that a search by chance draws, and those that it records."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trials = [study.ask() for _ in range(draws)]
    values = [question(HyperParameters(trial)) for trial in trials]
    return values, [trial.params["x"] for trial in trials]


@pytest.mark.parametrize("question", RANGES.values(), ids=RANGES)
def test_the_values_are_keras_tuners(question):
    """Each value that KerasTuner can draw is drawn, to the last digit, and no other."""
    theirs = keras_tuner.HyperParameters()
    question(theirs)
    values, recorded = drawn(question)
    assert set(values) == possible(theirs.space[0])
    assert {type(value) for value in values} == {type(one) for one in possible(theirs.space[0])}
    assert recorded == pytest.approx(values) if isinstance(values[0], float) else recorded == values


@pytest.mark.parametrize("question", SPANS.values(), ids=SPANS)
def test_spans_have_keras_tuners_ends(question):
    """Values from a span without steps lie all over it."""
    theirs = keras_tuner.HyperParameters()
    question(theirs)
    span = theirs.space[0]
    values, recorded = drawn(question)
    assert values == recorded
    assert span.min_value <= min(values) < max(values) <= span.max_value
    middle = span.prob_to_value(0.5)
    assert min(values) < middle < max(values)


@pytest.mark.parametrize("question", [*RANGES.values(), *SPANS.values()], ids=[*RANGES, *SPANS])
def test_defaults_are_keras_tuners(question):
    """Without a trial each hyperparameter has the default that KerasTuner gives it."""
    assert question(HyperParameters()) == question(keras_tuner.HyperParameters())


@pytest.mark.parametrize("question", SPANS.values(), ids=SPANS)
def test_the_grid_of_a_span_is_keras_tuners(question):
    """A float without a step has ten values and its default, to the last digit."""
    theirs = keras_tuner.HyperParameters()
    question(theirs)
    spread = {}
    grid = configurations(from_keras_tuner(question), 0, Memory(), spread)
    values = [params["x"] for params, _ in grid]
    assert len(values) == len(set(values)) == spread["x"] == 11
    assert set(values) == {*theirs.space[0].values, theirs.space[0].default}


@pytest.mark.parametrize("sampling", ["log", "reverse_log"])
@pytest.mark.parametrize(("most", "default"), [(64, None), (64, 7), (4, None), (2000, 1500)])
def test_the_grid_of_whole_numbers_on_a_log_scale_is_keras_tuners(sampling, most, default):
    """Without a step they are ten values at most, and the default."""

    def question(hp):
        return hp.Int("x", 2, most, sampling=sampling, default=default)

    theirs = keras_tuner.HyperParameters()
    question(theirs)
    grid = configurations(from_keras_tuner(question), 0, Memory())
    values = sorted(params["x"] for params, _ in grid)
    assert values == sorted({*theirs.space[0].values, theirs.space[0].default})
    assert {type(value) for value in values} == {int}


def test_a_grid_says_of_which_parameters_it_leaves_values_out(make_tuner):
    """One line, and each point is laid out once: a name of two ranges has the values of each."""

    def build(hp):
        for kind in [hp.Choice("kind", ["a", "b"])]:
            with hp.conditional_scope("kind", kind):
                hp.Float("rate", 0.5 if kind == "a" else 0.1, 0.9, default=0.55)

    study = make_tuner().study
    study.sampler = Grid()
    line = lay_out_grid(study, from_keras_tuner(build), None, 0, Memory())
    assert line == (
        "Grid: 22 configurations with 11 values of 'rate' (no step: ten values and the default, "
        "as in KerasTuner)"
    )
    points = [tuple(trial.system_attrs["fixed_params"].items()) for trial in study.trials]
    assert len(set(points)) == 22


def is_given(value, hyperparameter):
    """Whether KerasTuner can give the value to the hyperparameter."""
    if getattr(hyperparameter, "step", 1) is None and hasattr(hyperparameter, "min_value"):
        return hyperparameter.min_value <= value <= hyperparameter.max_value
    return value in possible(hyperparameter)


@pytest.mark.parametrize("build", FUNCTIONS)
def test_a_builder_gets_what_keras_tuner_would_give(build):
    """In each trial just the active names are asked, with values from KerasTuner's own ranges."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(6):
        trial = study.ask()
        both = Both(HyperParameters(trial))
        build(both)
        active = [one for one in both.theirs.space if both.theirs.is_active(one)]
        assert set(both.ours.values) == {one.name for one in active}
        assert all(is_given(both.ours.values[one.name], one) for one in active)
        recorded = {name.partition(" | ")[0]: value for name, value in trial.params.items()}
        assert recorded == pytest.approx(both.ours.values)
        assert list(recorded) == [one.name for one in active]


@pytest.mark.parametrize("build", [*FUNCTIONS, *MODELS])
def test_a_builder_is_searched_unchanged(search, data, build):
    """A search records what was asked, and rebuilds the best model by it."""
    tuner = search(from_keras_tuner(build), n_trials=1, fit={"epochs": 1})
    assert set(tuner.best_params) == set(HyperParameters(tuner.best_trial).values)
    accuracy = tuner.best_model().evaluate(*data[2], verbose=0)[1]
    assert accuracy == pytest.approx(tuner.best_value)


SMALL = {
    "HyperResNet": {"version": "v1", "conv3_depth": 4, "conv4_depth": 6, "pooling": "max"}
    | {"optimizer": "sgd", "learning_rate": 0.1},
    "HyperXception": {"activation": "selu", "conv2d_num_filters": 32, "kernel_size": 3}
    | {"initial_strides": 2, "sep_num_filters": 128, "num_residual_blocks": 2}
    | {"pooling": "avg", "num_dense_layers": 1, "dropout_rate": 0.3, "dense_use_bn": 0}
    | {"learning_rate": 0.001},
    "HyperEfficientNet": {"version": "B0", "pooling": "avg", "top_dropout_rate": 0.4}
    | {"learning_rate": 0.01},
}


@pytest.mark.parametrize("name", SMALL)
def test_keras_tuners_own_builders_run(name, monkeypatch):
    """They get each value they ask for, from the ranges that KerasTuner would draw from."""
    # The weights of ImageNet would have to be downloaded.
    small = functools.partial(keras.applications.EfficientNetB0, weights=None)
    monkeypatch.setitem(efficientnet.EFFICIENTNET_MODELS, "B0", small)
    both = []

    class Watched(getattr(keras_tuner.applications, name)):
        def build(self, hp):
            both.append(Both(hp))
            return super().build(both[0])

    trial = optuna.trial.FixedTrial(SMALL[name])
    model = from_keras_tuner(Watched(input_shape=(32, 32, 3), classes=2))(trial)
    assert model.compiled
    assert model.output_shape == (None, 2)
    assert trial.params == SMALL[name] == pytest.approx(both[0].ours.values)
    for one in both[0].theirs.space:
        distribution = trial.distributions[one.name]
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        values = {study.ask({one.name: distribution}).params[one.name] for _ in range(120)}
        assert sorted(values) == pytest.approx(sorted(possible(one)))


def test_the_returned_builder_pickles(search):
    """Workers get it by cloudpickle, and what the study is named after stays."""
    for build in (plain, BatchSize()):
        again = pickle.loads(cloudpickle.dumps(from_keras_tuner(build)))
        model = again(optuna.trial.FixedTrial({"units": 4, "activation": "relu", "lr": 1e-3}))
        assert model.layers[0].units == 4


def test_a_study_is_named_after_the_builder(make_tuner):
    """By the function or the class that was passed."""
    names = [
        make_tuner(from_keras_tuner(build), study_name=None).study.study_name
        for build in (plain, BatchSize())
    ]
    assert names == ["plain", "BatchSize"]


def test_one_name_under_two_conditions_is_two_parameters(tmp_path):
    """Where Optuna takes no other values by a name, the conditions tell them apart."""
    study = optuna.create_study(storage=f"sqlite:///{tmp_path}/study.db")
    seen = []
    for kind in "abab":
        study.enqueue_trial({"kind": kind})
        trial = study.ask()
        hp = HyperParameters(trial)
        same_names(hp)
        seen.append(hp.values)
        study.tell(trial, 0.5)
    assert [list(values) for values in seen] == [["kind", "activation", "units"]] * 4
    assert [values["activation"] in ("selu", "elu") for values in seen] == [False, True] * 2
    assert [HyperParameters(trial).values for trial in study.trials] == seen
    names = {name for trial in study.trials for name in trial.params}
    assert names == {"kind", "activation", "activation | kind=b", "units"}


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


def trained(search, returns, **options):
    """Search with a HyperModel whose fit returns what a function makes of its History."""

    class Model(BatchSize):
        def fit(self, hp, model, *args, callbacks, **kwargs):
            given = callbacks if options.get("passes", True) else []
            return returns(model.fit(*args, callbacks=given, **kwargs))

    wanted = {name: value for name, value in options.items() if name != "passes"}
    return search(from_keras_tuner(Model()), **{"n_trials": 1, **wanted})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The builder's fit returned a number:UserWarning")
def test_what_fit_returns_is_the_value(search):
    """Whatever KerasTuner takes for a result, the trial has its value."""
    results = [0.25, 1, np.float32(0.5), {"val_accuracy": 0.75}, [0.5, {"val_accuracy": 0.25}]]
    coming = iter(results)
    options = {"n_trials": len(results), "train_repeats": True, "fit": {"epochs": 1}}
    tuner = trained(search, lambda history: next(coming), passes=False, **options)
    assert [trial.value for trial in tuner.study.trials] == [0.25, 1.0, 0.5, 0.75, 0.375]


def test_ctrl_c_ends_a_fit_of_its_own(search, make_tuner):
    """What its code makes of the half of a training does not count, and the trial is resumed."""

    class Model(BatchSize):
        def fit(self, hp, model, *args, **kwargs):
            signal.raise_signal(signal.SIGINT)
            return super().fit(hp, model, *args, **kwargs).history["no such metric"]

    with pytest.raises(KeyboardInterrupt):
        search(from_keras_tuner(Model()), n_trials=1)
    trials = make_tuner().study.trials
    assert [trial.state.name for trial in trials] == ["FAIL", "WAITING"]
    assert trials[0].user_attrs["stop_reason"] == "interrupted"


def test_a_loop_of_its_own_is_reported_once(search, data):
    """Its final weights are kept, and the tables know what there is to know."""
    tuner = search(from_keras_tuner(OwnLoop()), n_trials=2, keep_best=1)
    assert [len(trial.intermediate_values) for trial in tuner.study.trials] == [1, 1]
    assert len(kept(tuner)) == 1
    assert tuner.results()["stop_reason"].unique() == ["all of the builder's own training"]


@pytest.mark.slow
def test_a_loop_of_its_own_is_told_without_an_epoch(search, data, capsys):
    """In lines, of search() and of confirm(), and in the summary."""
    tuner = search(from_keras_tuner(OwnLoop()), n_trials=1, fit={"verbose": 2})
    tuner.confirm(1, 2, *data, epochs=1, verbose=2)
    tuner.summary()
    printed = capsys.readouterr().out
    line = r"^Trial \d: val_accuracy \S+, all of the builder's own training, \S+ s$"
    assert len(re.findall(line, printed, re.MULTILINE)) == 3
    assert re.search(r"^ +1 +0 +\S+ +0 ", printed, re.MULTILINE), "no epoch of none"


@pytest.mark.parametrize("is_compiled", [True, False], ids=["compiled", "uncompiled"])
def test_a_loop_of_its_own_may_call_the_callbacks(search, data, is_compiled):
    """As KerasTuner's guide does: the epochs it tells of are reported, and the best is kept.

    The model of that guide is not compiled: its loop has an optimizer of its own.
    """

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
        (lambda history: {"acc": 1.0}, MetricNotFoundError, "returned acc, and not my_score"),
        (lambda history: history, MetricNotFoundError, "accuracy, loss, val_accuracy, val_loss"),
        (lambda history: None, BuilderError, "returned None (is its `return` missing?). Return"),
        (lambda history: "0.5", BuilderError, "returned '0.5'. Return what Model.fit returns"),
    ],
)
def test_what_is_no_result_is_an_error(search, returns, kind, text):
    """One line says what came and what may be returned."""
    with pytest.raises(kind) as got:
        trained(search, returns, objective="my_score", direction="maximize", fit={"epochs": 1})
    assert text in str(got.value)


def test_a_value_that_is_not_finite_fails_the_trial(search):
    """As an objective that is never finite does."""
    options = {"passes": False, "fit": {"epochs": 1}, "max_failed_trials": 1}
    with pytest.raises(TooManyFailuresError, match="returned a val_accuracy that is not finite"):
        trained(search, lambda history: float("nan"), **options)


WRONG = [
    (lambda hp: hp.Int("x", 5, 2), "'x' has min_value=5 above max_value=2"),
    (lambda hp: hp.Int("x", 0.5, 2), "hp.Int('x') has min_value=0.5. Pass a whole number"),
    (lambda hp: hp.Float("x", 0, 1, sampling="log"), "min_value=0.0, which has no logarithm"),
    (lambda hp: hp.Float("x", 1, 9, step=1, sampling="log"), "Pass a step above 1, or None"),
    (lambda hp: hp.Int("x", 1, 9, step=0), "step=0. Pass a step above 0"),
    (lambda hp: hp.Float("x", 0, 1, sampling="cube"), "Pass one of 'linear', 'log', 'reverse_log'"),
    (lambda hp: hp.Choice("x", []), "hp.Choice('x') has no values"),
    (lambda hp: hp.conditional_scope("y", [1]).__enter__(), "These were asked: none."),
]


@pytest.mark.parametrize(("question", "text"), WRONG)
def test_a_wrong_range_is_refused(question, text):
    """The error names the hyperparameter, and says what to pass."""
    with pytest.raises(ArgumentError) as got:
        question(HyperParameters())
    assert text in str(got.value)
    assert len(str(got.value).splitlines()) == 1


@pytest.mark.parametrize("hypermodel", [3, BatchSize, compiled()], ids=["number", "class", "model"])
def test_what_is_no_builder_is_refused(hypermodel):
    """Neither a class nor a model can be called with hp."""
    with pytest.raises(ArgumentTypeError, match="which is no builder for KerasTuner"):
        from_keras_tuner(hypermodel)


def test_changed_choices_are_one_clear_error(tmp_path):
    """A study that knows other values by a name cannot take the new ones."""
    study = optuna.create_study(storage=f"sqlite:///{tmp_path}/study.db")
    HyperParameters(study.ask()).Choice("activation", ["relu", "tanh"])
    with pytest.raises(ArgumentError, match="hp cannot ask for 'activation'") as got:
        HyperParameters(study.ask()).Choice("activation", ["relu", "selu"])
    assert "pass another study_name, or overwrite=True" in str(got.value)


def test_what_was_not_asked_is_not_known():
    """An inactive name is a ValueError and an unknown one a KeyError, as in KerasTuner."""
    for hp in (HyperParameters(), keras_tuner.HyperParameters()):
        hp.Choice("kind", ["a", "b"])
        with hp.conditional_scope("kind", ["b"]):
            assert hp.Int("size", 1, 2) is None
        assert not hp.is_active("size")
        with pytest.raises(ValueError, match="active"):
            hp.get("size")
        with pytest.raises(KeyError):
            hp["other"]


def test_a_hypermodel_that_is_not_tunable_has_its_defaults(make_tuner):
    """KerasTuner builds it with a copy of hp, which adds nothing to the search."""

    class Model(BatchSize):
        def build(self, hp):
            return plain(hp)

    trial = optuna.create_study().ask()
    model = from_keras_tuner(Model(tunable=False))(trial)
    assert model.layers[0].units == 8
    assert trial.params == {}


GUIDES = Path(__file__).parent.parent.parent / "examples" / "guides"
GUIDE = (GUIDES / "coming-from-kerastuner.md").read_text()
SECTION = GUIDE.partition("## What is called what")[2].partition("\n## ")[0]
LINES = [
    code
    for line in SECTION.splitlines()
    if line.startswith("| ") and "---" not in line
    for code in re.findall(r"`([^`]+)`", line.split(" | ")[1])
]
ARGUMENTS = [line for line in LINES if re.match(r"\w+=", line)]


@pytest.mark.parametrize("line", ARGUMENTS)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_tuner_takes_the_guides_arguments(line, search, monkeypatch, tmp_path):
    """Each argument beside one of KerasTuner's serves in a search."""
    monkeypatch.chdir(tmp_path)
    options = eval(f"dict({line})", {"optuna": optuna})
    build = scored if "my_score" in line else plain
    tuner = search(from_keras_tuner(build), fit={"epochs": 1, "n_trials": 1}, **options)
    assert len(tuner.study.trials) == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Not as in the trials:UserWarning")  # of other epochs
def test_the_guides_calls_work(search, make_tuner, data):
    """Each call beside one of KerasTuner's works on a tuner that has searched."""
    tuner = search(from_keras_tuner(plain), n_trials=2, keep_best=2, fit={"epochs": 1})
    names = {"OptunaTuner": make_tuner, "from_keras_tuner": from_keras_tuner, "build": plain}
    names |= {"HyperParameters": HyperParameters, "tuner": tuner}
    names |= {"x": data[0], "y": data[1], "data": data[2]}
    calls = [line for line in LINES if line not in ARGUMENTS]
    assert len(calls) == 11
    for line in calls:
        assert eval(line, names) is not None or line in ("tuner.summary(3)", "tuner.space()")


def scored(hp):
    """Return a model that logs a score of its own."""
    model = plain(hp)
    metric = keras.metrics.MeanMetricWrapper(keras.metrics.sparse_categorical_accuracy, "my_score")
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=[metric], run_eagerly=True)
    return model


def test_the_defaults_of_a_builder_are_enqueued(tmp_path):
    """enqueue_defaults() takes KerasTuner's defaults, and what is Fixed as it is."""

    def build(hp):
        hp.Fixed("fixed", 3)
        if hp.Choice("kind", ["a", "b"], default="b") == "b":
            hp.Int("units", 2, 16, step=2, sampling="log", default=8)

    tuner = OptunaTuner(from_keras_tuner(build), "val_loss", directory=tmp_path)
    tuner.enqueue_defaults()
    (waiting,) = tuner.study.trials
    assert waiting.system_attrs["fixed_params"] == {"fixed": 3, "kind": "b", "units": 8}


WITHOUT_KERAS_TUNER = """
import sys
sys.modules["keras_tuner"] = None  # as where it is not installed
import optuna
from kerastune_optuna import HyperParameters, from_keras_tuner

def build(hp):
    return hp.Int("units", 2, 8, step=2, default=4), hp.Choice("kind", ["a", "b"])

print(build(HyperParameters()))
print(from_keras_tuner(build)(optuna.trial.FixedTrial({"units": 6, "kind": "b"})))
"""


def test_keras_tuner_need_not_be_installed():
    """Builders that were written for it are called without it, in a search and outside."""
    command = [sys.executable, "-c", WITHOUT_KERAS_TUNER]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["(4, 'a')", "(6, 'b')"], done.stderr
