"""Builders that were written for KerasTuner run unchanged, with the values that it would give."""

import pickle
import re
import subprocess
import sys

import cloudpickle
import keras_tuner
import optuna
import pytest

from kerastune_optuna import (
    ArgumentError,
    ArgumentTypeError,
    HyperParameters,
    OptunaTuner,
    WeightsError,
    from_keras_tuner,
)
from tests.support.faults import ROOT, states
from tests.support.keras_tuner_builders import (
    DATA,
    FUNCTIONS,
    BatchSize,
    OwnLoop,
    Quick,
    compiled,
    plain,
    possible,
    same_names,
)
from tests.support.untrained import cheap, run, tuner_in


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
        ours, theirs = HyperParameters(trial), keras_tuner.HyperParameters()
        build(ours)
        theirs.values.update(ours.values)
        build(theirs)
        active = [one for one in theirs.space if theirs.is_active(one)]
        assert set(ours.values) == {one.name for one in active}
        assert all(is_given(ours.values[one.name], one) for one in active)
        recorded = {name.partition(" | ")[0]: value for name, value in trial.params.items()}
        assert recorded == pytest.approx(ours.values)
        assert list(recorded) == [one.name for one in active]
        assert HyperParameters(study.trials[-1]).values == ours.values


@pytest.mark.parametrize("build", [same_names, BatchSize(), OwnLoop()])
def test_a_builder_is_searched_unchanged(search, data, build):
    """A search records what was asked, and rebuilds the best model by it."""
    tuner = search(from_keras_tuner(build), n_trials=1, fit={"epochs": 1})
    assert set(tuner.best_params) == set(HyperParameters(tuner.best_trial).values)
    if build is same_names:  # which is really trained
        accuracy = tuner.best_model().evaluate(*data[2], verbose=0)[1]
        assert accuracy == pytest.approx(tuner.best_value)


def test_the_returned_builder_takes_hp(search):
    """As `tuner.hypermodel.build(best_hps)` of TensorFlow's tutorial does."""
    tuner = search(from_keras_tuner(BatchSize()), n_trials=1, fit={"epochs": 1})
    hp = HyperParameters(tuner.best_trial)
    assert tuner.build_model(hp).count_params() == tuner.best_model().count_params()
    assert tuner.build_model(HyperParameters()).layers[0].units == 2


@pytest.mark.slow
def test_a_builder_of_keras_tuners_own_runs():
    """It gets each value that it asks for."""
    params = {"version": "v1", "conv3_depth": 4, "conv4_depth": 6, "pooling": "max"}
    trial = optuna.trial.FixedTrial({**params, "optimizer": "sgd", "learning_rate": 0.1})
    builder = keras_tuner.applications.HyperResNet(input_shape=(32, 32, 3), classes=2)
    model = from_keras_tuner(builder)(trial)
    assert model.compiled
    assert model.output_shape == (None, 2)


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


@pytest.mark.parametrize("hypermodel", [3, BatchSize, compiled()], ids=["number", "class", "model"])
def test_what_is_no_builder_is_refused(hypermodel):
    """Neither a class nor a model can be called with hp."""
    with pytest.raises(ArgumentTypeError, match="which is no builder for KerasTuner"):
        from_keras_tuner(hypermodel)


def test_a_hypermodel_that_is_not_tunable_has_its_defaults(make_tuner):
    """KerasTuner builds it with a copy of hp, which adds nothing to the search."""

    class Model(BatchSize):
        def build(self, hp):
            return plain(hp)

    trial = optuna.create_study().ask()
    model = from_keras_tuner(Model(tunable=False))(trial)
    assert model.layers[0].units == 8
    assert trial.params == {}


def two_ranges(hp):
    """Ask for one name with two ranges, in plain branches."""
    if hp.Choice("kind", ["a", "b"]) == "a":
        units, _ = hp.Int("units", 2, 3), hp.Choice("activation", ["relu", "tanh"])
    else:
        units, _ = hp.Int("units", 8, 9), hp.Choice("activation", ["selu", "elu"])
    return Quick(units)


def three_branches(hp):
    """Ask for one name with two ranges, where the model of the defaults does not ask for it."""
    kind = hp.Choice("kind", ["a", "b", "c"])
    choices = {"a": [], "b": ["relu", "tanh"], "c": ["selu", "elu"]}[kind]
    if choices:
        hp.Choice("activation", choices)
    return Quick(2)


def values_of(tuner, name):
    """Return the values that the trials had, which all must have ended well."""
    assert set(states(tuner)) == {"COMPLETE"}
    return {trial.params[name] for trial in tuner.study.trials if name in trial.params}


def test_one_name_with_two_ranges_keeps_the_first(search, tmp_path):
    """The one that the model of the defaults asks for, as in KerasTuner, whatever comes first."""
    theirs = keras_tuner.RandomSearch(two_ranges, "val_accuracy", directory=tmp_path)
    space = {one.name: one for one in theirs.oracle.get_space().space}
    options = {"sampler": "grid", "n_trials": None, "fit": {"epochs": 1}}
    tuner = search(from_keras_tuner(two_ranges), **options)
    assert len(tuner.study.trials) == 2 * 2 * 2
    assert values_of(tuner, "units") == set(space["units"].values)
    assert values_of(tuner, "activation") == set(space["activation"].values)


def test_what_is_enqueued_must_be_of_the_first_range(make_tuner):
    """The error names what may be passed, also for a branch with ranges of its own."""
    tuner = make_tuner(from_keras_tuner(two_ranges))
    with pytest.raises(ArgumentError, match="'relu', 'tanh'"):
        tuner.enqueue({"kind": "b", "activation": "selu"})
    tuner.enqueue({"kind": "b", "activation": "tanh"})


def test_processes_that_meet_other_branches_first_agree(search, make_tuner):
    """The range that the study has counts where the model of the defaults does not ask for one."""
    for n_trials, kind in enumerate("bc", start=1):
        tuner = make_tuner(from_keras_tuner(three_branches), n_trials=n_trials)
        tuner.enqueue({"kind": kind})
        search(tuner=tuner, fit={"epochs": 1})
    assert [trial.params["kind"] for trial in tuner.study.trials] == ["b", "c"]
    assert values_of(tuner, "activation") <= {"relu", "tanh"}


def test_what_a_builder_presets_is_recorded(search, make_tuner):
    """As in KerasTuner, and shown to the sampler; `best_model()` presets it again."""

    def build(hp):
        hp.values["units"] = 7
        with hp.name_scope("more"):
            hp.values["more/rate"] = hp.Float("first", 0.1, 0.3, step=0.1)
            hp.Float("rate", 0.1, 0.5, step=0.1)
        return Quick(hp.Int("units", 1, 9))

    tuner = search(from_keras_tuner(build), n_trials=2, fit={"epochs": 1})
    for trial in tuner.study.trials:
        assert trial.params["units"] == 7
        assert trial.params["more/rate"] == trial.params["more/first"]
    assert HyperParameters(tuner.best_trial).get("units") == 7
    assert tuner.best_model().layers[0].units == 7


def test_what_a_builder_presets_leaves_the_sampler_no_choice(search, capsys):
    """A search of the rest ends where all of it was tried."""

    def build(hp):
        hp.values |= {"units": 3, "activation": "relu"}
        hp.Choice("activation", ["relu", "tanh"])
        hp.Boolean("bias")
        return Quick(hp.Int("units", 2, 4))

    tuner = search(from_keras_tuner(build), n_trials=9, fit={"epochs": 1, "verbose": 2})
    assert len(tuner.study.trials) == 2
    assert "All configurations were tried" in capsys.readouterr().out


def test_a_builder_that_depends_on_chance_is_told_so(search):
    """What the line gives as the reason is not that it no longer asks for its parameters."""
    more = iter(range(9))

    def build(hp):
        with hp.conditional_scope("kind", hp.Choice("kind", ["a", "b"])):
            units = hp.Int("units", 2, 4)
        return Quick(units + next(more))

    text = r"return its first model: The model .* Let build_model depend only on its trial"
    with pytest.raises(WeightsError, match=text):
        search(from_keras_tuner(build), n_trials=1, fit={"epochs": 1})


def test_choices_that_a_builder_presets_may_change(search):
    """They count as they are, though Optuna has one set of choices for a name."""
    seen = []

    def build(hp):
        deep = hp.Boolean("deep")
        hp.values["activation"] = "relu" if deep else "tanh"
        seen.append((deep, hp.Choice("activation", ["relu", "tanh"])))
        return Quick(3)

    search(from_keras_tuner(build), n_trials=2, fit={"epochs": 1})
    assert set(seen) == {(True, "relu"), (False, "tanh")}


def test_the_defaults_of_a_builder_are_enqueued(tmp_path):
    """enqueue() takes KerasTuner's defaults, and what is Fixed as it is."""

    def build(hp):
        hp.Fixed("fixed", 3)
        if hp.Choice("kind", ["a", "b"], default="b") == "b":
            hp.Int("units", 2, 16, step=2, sampling="log", default=8)

    tuner = OptunaTuner(from_keras_tuner(build), "val_loss", directory=tmp_path)
    tuner.enqueue()
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


GUIDE = (ROOT / "examples" / "guides" / "coming-from-kerastuner.md").read_text()
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
def test_the_tuner_takes_the_guides_arguments(line, monkeypatch, tmp_path):
    """Each argument beside one of KerasTuner's serves in a search."""
    monkeypatch.chdir(tmp_path)
    named = eval(f"dict({line})")

    def build(hp):
        metric = "my_score" if "my_score" in line else "accuracy"
        return Quick(hp.Choice("units", [2, 3]), metric=metric)

    options = {"objective": "val_accuracy", **cheap(), **named}
    tuner = run(tuner_in(tmp_path, from_keras_tuner(build), **options), **DATA, n_trials=1)
    assert states(tuner) == ["COMPLETE"]
    assert {name: getattr(tuner, name) for name in named} == named


@pytest.mark.filterwarnings("ignore:Not as in the trials:UserWarning")  # of other epochs
def test_the_guides_calls_work(tmp_path):
    """Each call beside one of KerasTuner's works on a tuner that has searched."""
    options = {"objective": "val_accuracy", "n_trials": 2, "keep_best": 2, "pruner": "none"}
    build = from_keras_tuner(shallow)
    tuner = run(tuner_in(tmp_path / "a", build, **options), **DATA, epochs=1)
    names = {
        "OptunaTuner": lambda *given: tuner_in(tmp_path / "b", *given),
        "from_keras_tuner": from_keras_tuner,
        "build": shallow,
        "HyperParameters": HyperParameters,
        "tuner": tuner,
        "x": DATA["x"],
        "y": DATA["y"],
        "data": DATA["validation_data"],
    }
    calls = [line for line in LINES if line not in ARGUMENTS]
    assert len(calls) == 12
    for line in calls:
        assert eval(line, names) is not None or line in ("tuner.summary(3)", "tuner.space()")


def shallow(hp):
    """Return a model whose training is made up."""
    units = hp.Int("units", 2, 90)
    return Quick(units, units / 100)
