"""The space of a builder for KerasTuner: its ranges, its entries, and what is refused."""

from __future__ import annotations

import json

import keras
import keras_tuner
import optuna
import pytest

from kerastune_optuna import ArgumentError, HyperParameters, from_keras_tuner
from tests.support.keras_tuner_builders import FUNCTIONS, compiled


def two_ranges(hp):
    """Ask for one name with two ranges, in plain branches."""
    if hp.Choice("kind", ["a", "b"]) == "a":
        units, activation = hp.Int("units", 2, 3), hp.Choice("activation", ["relu", "tanh"])
    else:
        units, activation = hp.Int("units", 8, 9), hp.Choice("activation", ["selu", "elu"])
    return compiled(keras.layers.Dense(units, activation))


def three_branches(hp):
    """Ask for one name with two ranges, where the model of the defaults does not ask for it."""
    kind = hp.Choice("kind", ["a", "b", "c"])
    choices = {"a": [], "b": ["relu", "tanh"], "c": ["selu", "elu"]}[kind]
    activation = hp.Choice("activation", choices) if choices else None
    return compiled(keras.layers.Dense(2, activation))


def values_of(tuner, name):
    """Return the values that the trials had, which all must have ended well."""
    assert {trial.state.name for trial in tuner.study.trials} == {"COMPLETE"}
    return {trial.params[name] for trial in tuner.study.trials if name in trial.params}


@pytest.mark.slow
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


def all_kinds(hp):
    """Ask for each kind of hyperparameter."""
    hp.Int("int", 1, 9)
    hp.Int("step", 1, 9, step=2, default=3, sampling="linear")
    hp.Int("factor", 1, 8, step=2, sampling="log")
    hp.Float("float", 0, 1)
    hp.Float("log", 1e-3, 1, sampling="LOG", default=0.1)
    hp.Choice("words", ["a", "b"], default="b")
    hp.Choice("numbers", [1, 2], ordered=False)
    hp.Choice("flags", [True, False])
    hp.Boolean("flag", default=True)
    hp.Fixed("fixed", 0.5)
    with hp.name_scope("scope"):
        hp.Int("a | b", 2, 3)
    with hp.conditional_scope("words", ["a"]):
        hp.Int("inactive", 2, 3)
    hp.Float("child", 0.0, 1.0, parent_name="flag", parent_values=True)


@pytest.mark.parametrize("build", [all_kinds, *FUNCTIONS])
def test_a_space_is_written_as_keras_tuner_writes_it(build):
    """In its order, with conditions and defaults; json, both from_config() and copy() keep it."""
    ours, theirs = HyperParameters(), keras_tuner.HyperParameters()
    build(ours)
    build(theirs)
    written = json.loads(json.dumps(theirs.get_config()))
    assert json.loads(json.dumps(ours.get_config())) == written
    assert HyperParameters.from_config(written).get_config() == written
    assert keras_tuner.HyperParameters.from_config(ours.get_config()).values == ours.values
    assert ours.copy().get_config() == written
    assert [one.default for one in ours.space] == [one.default for one in theirs.space]


def test_a_space_is_merged_as_in_keras_tuner():
    """Entries of both kinds of objects, which overwrite values with defaults or leave them."""
    for kind in (HyperParameters, keras_tuner.HyperParameters):
        for overwrite, units in ((True, 4), (False, 3)):
            hp, other = kind(), keras_tuner.HyperParameters()
            hp.Fixed("units", 3)
            other.Int("units", 2, 8, default=4)
            other.Choice("kind", ["a", "b"])
            other.Int("more", 1, 2, parent_name="kind", parent_values="b")
            hp.merge(other, overwrite=overwrite)
            assert hp.values == {"units": units, "kind": "a"}


@pytest.mark.parametrize("kind", [keras_tuner.HyperParameters, HyperParameters])
def test_what_is_active_follows_values_set_by_hand(kind):
    """As in KerasTuner: a name and an entry of the space are active where conditions are met."""
    hp = kind()
    hp.values["kind"] = "b"
    hp.Choice("kind", ["a", "b"])
    for parent in "ab":
        with hp.conditional_scope("kind", [parent]):
            hp.Int(f"of_{parent}", 1, 9)

    def active():
        return [hp.is_active(name) for name in ("kind", "of_a", "of_b", "never asked")]

    assert active() == [True, False, True, False]
    hp.values["kind"] = "a"
    assert active() == [True, True, False, False]
    assert [hp.is_active(one) for one in hp.space] == active()[:3]


def test_what_a_builder_presets_is_recorded(search, make_tuner):
    """As in KerasTuner, and shown to the sampler; `best_model()` presets it again."""

    def build(hp):
        hp.values["units"] = 7
        with hp.name_scope("more"):
            hp.values["more/rate"] = hp.Float("first", 0.1, 0.3, step=0.1)
            hp.Float("rate", 0.1, 0.5, step=0.1)
        return compiled(keras.layers.Dense(hp.Int("units", 1, 9)))

    tuner = search(from_keras_tuner(build), n_trials=2, fit={"epochs": 1})
    for trial in tuner.study.trials:
        assert trial.params["units"] == 7
        assert trial.params["more/rate"] == trial.params["more/first"]
    assert HyperParameters(tuner.best_trial).get("units") == 7
    assert tuner.best_model().layers[0].units == 7


def test_what_a_builder_presets_beyond_its_range_is_recorded():
    """As in KerasTuner; what Optuna cannot hold counts without a record."""
    trial = optuna.create_study().ask()
    hp = HyperParameters(trial)
    hp.values |= {"units": 70, "activation": "none", "rate": "fast"}
    assert hp.Int("units", 1, 9) == 70
    assert hp.Choice("activation", ["relu", "tanh"]) == "none"
    assert hp.Float("rate", 0.1, 0.9) == "fast"
    assert trial.params == {"units": 70, "activation": "none"}


def test_what_a_builder_presets_leaves_the_sampler_no_choice(search, capsys):
    """A search of the rest ends where all of it was tried."""

    def build(hp):
        hp.values |= {"units": 3, "activation": "relu"}
        units, activation = hp.Int("units", 2, 4), hp.Choice("activation", ["relu", "tanh"])
        return compiled(keras.layers.Dense(units, activation, use_bias=hp.Boolean("bias")))

    tuner = search(from_keras_tuner(build), n_trials=9, fit={"epochs": 1, "verbose": 2})
    assert len(tuner.study.trials) == 2
    assert "All 2 configurations were tried" in capsys.readouterr().out


def test_choices_that_a_builder_presets_may_change(search):
    """They count as they are, though Optuna has one set of choices for a name."""
    seen = []

    def build(hp):
        deep = hp.Boolean("deep")
        hp.values["activation"] = "relu" if deep else "tanh"
        seen.append((deep, hp.Choice("activation", ["relu", "tanh"])))
        return compiled(keras.layers.Dense(3, seen[-1][1]))

    search(from_keras_tuner(build), n_trials=2, fit={"epochs": 1})
    assert set(seen) == {(True, "relu"), (False, "tanh")}


def test_what_is_merged_is_asked_of_a_trial():
    """A trial gives its value, and not the default."""
    other = HyperParameters()
    other.Int("units", 2, 8)
    hp = HyperParameters(optuna.trial.FixedTrial({"units": 7}))
    hp.merge(other)
    assert hp.values == {"units": 7}


def test_a_finished_trial_has_a_space():
    """What it has recorded, without a call of the builder."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    all_kinds(HyperParameters(study.ask()))
    hp = HyperParameters(study.trials[0])
    assert [one.name for one in hp.space] == list(hp.values)
    kinds = {one.name: one.kind for one in hp.space}
    assert (kinds["int"], kinds["log"], kinds["words"]) == ("Int", "Float", "Choice")
    assert (kinds["flag"], kinds["fixed"]) == ("Boolean", "Fixed")


@pytest.mark.parametrize("parent", ["kind", "the | kind"])
def test_a_bar_in_a_name_survives(parent):
    """It stands before conditions too, and what is recorded is read as it was asked."""
    study, seen = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)), []
    for kind in (1, 2, 1, 2):
        study.enqueue_trial({parent: kind})
        hp = HyperParameters(study.ask())
        hp.Choice(parent, [1, 2])
        hp.Int("a | b", 1, 3)
        hp.Int("a | b=c", 4, 6)
        for value, choices in ((1, ["x", "y"]), (2, ["v", "w"])):
            with hp.conditional_scope(parent, [float(value), 7]):
                hp.Choice("u | v", choices)
        seen.append(hp.values)
    assert [set(values) for values in seen] == [{parent, "a | b", "a | b=c", "u | v"}] * 4
    assert [HyperParameters(trial).values for trial in study.trials] == seen


REFUSED = {
    "a default that is no choice": lambda hp: hp.Choice("x", ["a", "b"], default="c"),
    "a number that is no choice": lambda hp: hp.Choice("x", [1, 2], default=3),
    "two types": lambda hp: hp.Choice("x", [1, 2.0]),
    "numbers and texts": lambda hp: hp.Choice("x", [1, "a"]),
    "None beside others": lambda hp: hp.Choice("x", ["a", None]),
    "None alone": lambda hp: hp.Choice("x", [None]),
    "lists": lambda hp: hp.Choice("x", [[1], [2]]),
    "texts in order": lambda hp: hp.Choice("x", ["a", "b"], ordered=True),
    "a default that is no bool": lambda hp: hp.Boolean("x", default="no"),
    "None fixed": lambda hp: hp.Fixed("x", None),
    "a list fixed": lambda hp: hp.Fixed("x", [1]),
}


@pytest.mark.parametrize("question", REFUSED.values(), ids=REFUSED)
def test_what_keras_tuner_refuses_is_refused(question):
    """By an error of the same kind, in one line that names the hyperparameter."""
    with pytest.raises((ValueError, TypeError)) as theirs:
        question(keras_tuner.HyperParameters())
    with pytest.raises(ArgumentError, match="'x'") as ours:
        question(HyperParameters())
    assert isinstance(ours.value, theirs.type)
    assert len(str(ours.value).splitlines()) == 1


def test_a_child_has_another_name_than_its_parent():
    """As in KerasTuner; and a condition has values."""
    for kind in (HyperParameters, keras_tuner.HyperParameters):
        hp = kind()
        hp.Choice("x", ["a", "b"])
        with hp.conditional_scope("x", ["a"]), pytest.raises(ValueError, match="parent"):
            hp.Int("x", 1, 2)
        with pytest.raises((ValueError, IndexError)), hp.conditional_scope("x", []):
            pass
