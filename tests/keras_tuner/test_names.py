"""Whoever uses a name of KerasTuner's on a tuner of ours is told ours in one line."""

import copy
import importlib
import inspect
import re
from pathlib import Path

import keras_tuner
import pytest
from keras_tuner import oracles
from keras_tuner.engine import trial
from keras_tuner.engine.base_tuner import BaseTuner

from kerastune_optuna import (
    ArgumentError,
    ArgumentTypeError,
    NoTrialsError,
    OptunaTuner,
    TunerError,
    UnknownNameError,
)

TUNERS = "BayesianOptimization GridSearch Hyperband RandomSearch SklearnTuner Tuner"
ORACLES = [keras_tuner.Oracle, *(vars(oracles)[name] for name in dir(oracles) if "Oracle" in name)]
KINDS = [getattr(keras_tuner, name) for name in TUNERS.split()]
OURS = set(inspect.signature(OptunaTuner).parameters)


def arguments(*kinds):
    """Return the names of all arguments of some classes' constructors."""
    names = {name for kind in kinds for name in inspect.signature(kind).parameters}
    return sorted(names - {"kwargs"})


def attributes():
    """Return the public methods and attributes of KerasTuner's tuners."""
    found = {name for kind in KINDS for name in dir(kind)}
    for kind in (BaseTuner, keras_tuner.Tuner):  # what its __init__ sets is in no class
        found |= set(re.findall(r"self\.(\w+) = ", inspect.getsource(kind.__init__)))
    return sorted(name for name in found if not name.startswith("_"))


OF_TUNERS = {*arguments(*KINDS, keras_tuner.Oracle, BaseTuner)}


@pytest.mark.parametrize("name", sorted(OF_TUNERS - OURS))
def test_an_argument_of_keras_tuner_is_answered(name, make_tuner):
    """The error is a TypeError of one line that says what to do here, without a list of all."""
    with pytest.raises(ArgumentTypeError, match=f"got '{name}', which it does not take") as got:
        make_tuner(**{name: 3})
    text = str(got.value)
    assert len(text.splitlines()) == 1
    assert "It takes" not in text, "as of a name that nobody knows"
    assert len(text) < 250


@pytest.mark.parametrize("name", sorted(set(attributes()) - OURS - set(dir(OptunaTuner))))
def test_a_method_of_keras_tuner_is_answered(name, make_tuner):
    """The error is an AttributeError of one line that names ours."""
    tuner = make_tuner()
    with pytest.raises(UnknownNameError, match=f"OptunaTuner has no '{name}', unlike Keras") as got:
        getattr(tuner, name)
    assert isinstance(got.value, TunerError)
    assert isinstance(got.value, AttributeError)
    assert len(str(got.value).splitlines()) == 1


def test_a_habit_of_optuna_is_answered(make_tuner):
    """Whoever knows Optuna's Study calls optimize()."""
    with pytest.raises(UnknownNameError, match="'optimize', unlike Optuna's Study"):
        make_tuner().optimize  # noqa: B018 what is tested is that it raises


def test_other_names_are_answered_by_python(make_tuner):
    """Nothing is hidden: neither a misspelt name, nor an error within a property, nor a copy."""

    class Broken(OptunaTuner):
        @property
        def mine(self):
            return self.build_model.no_such_thing

    with pytest.raises(AttributeError, match="object has no attribute 'sumary'") as got:
        make_tuner().sumary  # noqa: B018 what is tested is that it raises
    assert not isinstance(got.value, TunerError)
    tuner = Broken(make_tuner().build_model)
    with pytest.raises(AttributeError, match="no_such_thing"):
        tuner.mine  # noqa: B018
    assert copy.copy(tuner).build_model is tuner.build_model


@pytest.mark.parametrize("name", ["run_trial", "on_epoch_end", "load_model"])
def test_a_hook_of_keras_tuner_is_refused(name, make_tuner):
    """A subclass that defines one would wait in vain for its call."""
    kind = type("Mine", (OptunaTuner,), {name: lambda self: None})
    with pytest.raises(ArgumentTypeError, match=rf"Mine defines {name}\(\), which OptunaTuner"):
        kind(make_tuner().build_model)


PAGE = (Path(__file__).parents[2] / "examples" / "keras_tuner_names.md").read_text()
ROWS = {
    section.partition("\n")[0]: [
        row.split(" | ") for row in re.findall(r"^\| (`.*) \|$", section, re.M)
    ]
    for section in PAGE.split("\n## ")[1:]
}


def public():
    """Return the names of all public modules, classes and functions of KerasTuner."""
    folder = Path(keras_tuner.__file__).parent
    files = [path for path in folder.rglob("__init__.py") if "src" not in path.parts]
    modules = [".".join(path.relative_to(folder.parent).parent.parts) for path in files]
    found = {name for module in modules for name in vars(importlib.import_module(module))}
    found |= {module.split(".")[1] for module in modules if "." in module}
    return {name for name in found if not name.startswith("_")} - {"src"}


def of(*kinds):
    """Return the public attributes of classes."""
    return {name for kind in kinds for name in dir(kind) if not name.startswith("_")}


SECTIONS = {
    "Classes, functions and modules": public(),
    "Arguments of tuners and oracles": {*arguments(*KINDS, BaseTuner, *ORACLES)},
    "Methods and attributes of tuners": of(*KINDS, BaseTuner),
    "Methods of an Oracle": of(*ORACLES),
    "HyperParameters": of(keras_tuner.HyperParameters) | {"values"},
    "HyperModel": of(keras_tuner.HyperModel) | {*arguments(keras_tuner.HyperModel)},
    "Objective": of(keras_tuner.Objective) | {*arguments(keras_tuner.Objective)},
    "Trial and TrialStatus": of(trial.Trial, trial.TrialStatus) | {*arguments(trial.Trial)},
}


@pytest.mark.parametrize("section", SECTIONS)
def test_the_table_has_all_of_keras_tuners_names(section):
    """Each is there once, with what it is here, and how, or why not; and no other name is."""
    named = [name for row in ROWS[section] for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(named) == sorted(SECTIONS[section])
    for _, here, how in ROWS[section]:
        assert here in ("same", "renamed", "recipe", "not")
        assert how.strip()


def test_what_the_table_names_is_there():
    """A tuner has the attributes that stand there, and the arguments that are the same."""
    rows = ROWS["Arguments of tuners and oracles"]
    same = {row[0].strip("`") for row in rows if row[1] == "same"}
    called = set(re.findall(r"`\[?[^`]*?\btuner\.(\w+)", PAGE))
    assert same <= OURS
    assert called <= OURS | set(dir(OptunaTuner))
    assert called >= {"space", "top_trials", "best_models"}


@pytest.mark.parametrize(
    ("objective", "kind", "text"),
    [
        ("val_loss", NoTrialsError, "has 0 COMPLETE trials"),
        (["val_loss", "n_params"], ArgumentError, "has several objectives"),
    ],
)
def test_the_best_trials_are_those_of_one_objective(make_tuner, objective, kind, text):
    """One line says why there are none."""
    tuner = make_tuner(objective=objective)
    assert tuner.study.trials == []
    with pytest.raises(kind, match=text):
        tuner.top_trials(1)
