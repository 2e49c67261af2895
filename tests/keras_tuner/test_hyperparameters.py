"""HyperParameters: what is known, active and recorded, as in KerasTuner."""

import keras_tuner
import optuna
import pytest

from kerastune_optuna import ArgumentError, HyperParameters
from tests.support.keras_tuner_builders import FUNCTIONS, same_names


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
def test_a_space_is_that_of_keras_tuner(build):
    """In its order, with conditions, defaults and values; copy() keeps it."""
    ours, theirs = HyperParameters(), keras_tuner.HyperParameters()
    build(ours)
    build(theirs)
    for here, there in zip(ours.space, theirs.space, strict=True):
        conditions = [(of.parent, list(of.values)) for of in here.conditions]
        assert conditions == [(of.name, of.values) for of in there.conditions]
        assert (here.name, here.default) == (there.name, there.default)
    assert ours.values == theirs.values == ours.copy().values
    assert ours.copy().space == ours.space


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


def test_what_a_builder_presets_beyond_its_range_is_recorded():
    """As in KerasTuner; what Optuna cannot hold counts without a record."""
    trial = optuna.create_study().ask()
    hp = HyperParameters(trial)
    hp.values |= {"units": 70, "activation": "none", "rate": "fast"}
    assert hp.Int("units", 1, 9) == 70
    assert hp.Choice("activation", ["relu", "tanh"]) == "none"
    assert hp.Float("rate", 0.1, 0.9) == "fast"
    assert trial.params == {"units": 70, "activation": "none"}


def test_a_finished_trial_has_a_space():
    """What it has recorded, without a call of the builder."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    all_kinds(HyperParameters(study.ask()))
    hp = HyperParameters(study.trials[0])
    assert [one.name for one in hp.space] == list(hp.values)
    spaces = {one.name: one.distribution for one in hp.space}
    assert spaces == study.trials[0].distributions


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


def test_one_name_under_two_conditions_is_two_parameters():
    """Where Optuna takes no other values by a name, the conditions tell them apart."""
    study = optuna.create_study()
    for kind in "abab":
        study.enqueue_trial({"kind": kind})
        same_names(HyperParameters(study.ask()))
    read = [HyperParameters(trial).values for trial in study.trials]
    assert [list(values) for values in read] == [["kind", "activation", "units"]] * 4
    assert [values["activation"] in ("selu", "elu") for values in read] == [False, True] * 2
    names = {name for trial in study.trials for name in trial.params}
    assert names == {"kind", "activation", "activation | kind=b", "units"}


def test_changed_choices_are_one_clear_error():
    """A study that knows other values by a name cannot take the new ones."""
    study = optuna.create_study()
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


def test_a_child_has_another_name_than_its_parent():
    """As in KerasTuner; and a condition has values."""
    for kind in (HyperParameters, keras_tuner.HyperParameters):
        hp = kind()
        hp.Choice("x", ["a", "b"])
        with hp.conditional_scope("x", ["a"]), pytest.raises(ValueError, match="parent"):
            hp.Int("x", 1, 2)
        with pytest.raises((ValueError, IndexError)), hp.conditional_scope("x", []):
            pass
