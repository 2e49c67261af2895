"""Configurations that the user enqueues go first, and are checked before."""

from __future__ import annotations

import warnings

import keras
import optuna
import pytest

from kerastune_optuna import ArgumentError, ArgumentTypeError
from tests.support.untrained import Untrained, cheap, run, tuner_in


def of_two_ranges(trial):
    """Return a model with a width and a learning rate, of which it makes nothing."""
    level = trial.suggest_float("lr", 1e-3, 1e-1, log=True)
    return Untrained(trial.suggest_int("units", 2, 8), [{"val_mae": level}])


def of_two(**params):
    """Return a configuration of the builder with two ranges."""
    return {"units": 3, "lr": 0.01, **params}


def of_layers(trial):
    """Ask for as many widths as there are layers, without a model."""
    for layer in range(trial.suggest_int("layers", 1, 3)):
        trial.suggest_int(f"units_{layer}", 8, 128, log=True)
    trial.suggest_float("rate", 1e-4, 1e-2, log=True)
    trial.suggest_float("dropout", 0.0, 0.5)
    trial.suggest_float("momentum", 0.0, 0.8, step=0.4)
    trial.suggest_categorical("end", ["softmax", None])


def params_of(tuner):
    """Return the parameters of all trials in their order."""
    return [trial.params for trial in tuner.study.trials]


@pytest.fixture
def make_tuner(tmp_path):
    """Give a maker of tuners of one study, which is in memory."""
    kept = cheap()

    def make(build=of_two_ranges, **options):
        return tuner_in(tmp_path, build, "val_mae", **{**kept, **options})

    return make


def test_enqueued_configurations_go_first(make_tuner):
    """They run before the sampler's and count; the sampler chooses what they leave open."""
    tuner = make_tuner(n_trials=2)
    tuner.enqueue({"units": 4})
    run(tuner)
    assert len(tuner.study.trials) == 2
    assert params_of(tuner)[0] == of_two(units=4, lr=params_of(tuner)[0]["lr"])
    later = make_tuner(n_trials=4)
    later.enqueue(of_two(units=5))
    later.enqueue(of_two(units=6))
    run(later)
    assert params_of(later)[2:] == [of_two(units=5), of_two(units=6)]


def test_an_enqueued_configuration_changes_no_other(make_tuner):
    """What a seeded sampler of the user's own draws in a new study stays what it was."""
    drawn = []
    for enqueues in (False, True):
        sampler = optuna.samplers.RandomSampler(seed=3)
        tuner = make_tuner(study_name=f"{enqueues}", sampler=sampler, n_trials=3)
        if enqueues:
            tuner.enqueue(of_two())
        drawn.append(params_of(run(tuner)))
    assert drawn[1] == [of_two(), *drawn[0][:2]]


def test_a_sampler_that_enqueues_first_draws_no_number_again(make_tuner):
    """A later process gets another seed though enqueue() is what writes to the study first."""
    for n_trials in (2, 5):
        sampler = optuna.samplers.RandomSampler(seed=3)
        tuner = make_tuner(sampler=sampler, n_trials=n_trials)
        if n_trials == 5:
            tuner.enqueue(of_two())
        run(tuner)
    assert len({tuple(params.values()) for params in params_of(tuner)}) == 5


def test_a_script_that_runs_again_enqueues_nothing_new(make_tuner):
    """A configuration that waits, ran or was found by the sampler is not added; a failure is."""

    def build(trial):
        if trial.params.get("units") == 8 or trial.suggest_int("units", 2, 8) == 8:
            raise RuntimeError("no such luck")
        return of_two_ranges(trial)

    for states in (["WAITING", "WAITING"], ["COMPLETE", "FAIL", "COMPLETE", "WAITING"]):
        tuner = make_tuner(build, n_trials=2)
        for _ in range(2):
            tuner.enqueue({"units": 4})
            tuner.enqueue({"units": 8})
        assert [trial.state.name for trial in tuner.study.trials] == states
        run(tuner)
    found = tuner.study.trials[0].params
    tuner.enqueue(found)
    assert len(tuner.study.trials) == len(states)


@pytest.mark.slow
def test_overwrite_leaves_what_was_enqueued(tmp_path):
    """The old study goes when the first configuration is enqueued, and not again."""
    run(tuner_in(tmp_path, of_two_ranges, "val_mae", n_trials=1))
    tuner = tuner_in(tmp_path, of_two_ranges, "val_mae", n_trials=1, overwrite=True)
    tuner.enqueue(of_two())
    assert params_of(run(tuner)) == [of_two()]


@pytest.mark.parametrize(
    ("params", "kind", "text"),
    [
        (
            {"layer": 2},
            ArgumentError,
            "'layer', which build_model does not ask for with",
        ),
        (
            {"layer": 2},
            ArgumentError,
            "Did you mean 'layers'? It asks for layers (1 to 3),",
        ),
        (
            {"units_2": 9},
            ArgumentError,
            "Where another parameter decides over it, pass that",
        ),
        ({"layers": 4}, ArgumentError, "layers=4, which build_model does not allow. Pass 1 to 3."),
        ({"layers": 1.5}, ArgumentError, "layers=1.5, which build_model does not allow"),
        (
            {"rate": "fast"},
            ArgumentError,
            "rate='fast', which build_model does not allow. Pass",
        ),
        ({"momentum": 0.5}, ArgumentError, "Pass 0.0 to 0.8 in steps of 0.4."),
        (
            {"end": "relu"},
            ArgumentError,
            "end='relu', which build_model does not allow.",
        ),
        ({}, ArgumentTypeError, "enqueue() got {}. Pass one configuration as a dict"),
        ([{"layers": 1}], ArgumentTypeError, "Pass one configuration as a dict"),
    ],
)
def test_what_the_builder_does_not_take_is_refused(make_tuner, params, kind, text):
    """One line says what came and what the builder asks for; nothing is enqueued."""
    tuner = make_tuner(of_layers)
    with pytest.raises(ArgumentError) as got:
        tuner.enqueue(params)
    assert type(got.value) is kind
    assert text in str(got.value)
    assert len(str(got.value).splitlines()) == 1
    assert tuner.study.trials == []


def test_objects_are_not_enqueued(make_tuner):
    """What a database does not give back as it was is refused, with a way out."""

    def build(trial):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Optuna tells of such choices
            trial.suggest_categorical("layer", [keras.layers.Dense])

    with pytest.raises(ArgumentError, match="Let suggest_categorical choose among names"):
        make_tuner(build).enqueue({"layer": keras.layers.Dense})


def test_defaults_are_the_middle(make_tuner):
    """Of a range the middle, of a logarithm its middle, of choices the first; as conditions say."""
    tuner = make_tuner(of_layers)
    tuner.enqueue()
    (trial,) = tuner.study.trials
    rate = trial.system_attrs["fixed_params"].pop("rate")
    assert rate == pytest.approx(1e-3)
    assert trial.system_attrs["fixed_params"] == {
        "layers": 2,
        "units_0": 32,
        "units_1": 32,
        "dropout": 0.25,
        "momentum": 0.4,
        "end": "softmax",
    }


def test_a_builder_may_have_defaults_of_its_own(make_tuner):
    """`default_params` of a builder goes before the middle, and is checked."""

    def build(trial):
        of_layers(trial)

    build.default_params = lambda: {"layers": 3, "units_2": 8}
    tuner = make_tuner(build)
    tuner.enqueue()
    (trial,) = tuner.study.trials
    assert trial.system_attrs["fixed_params"] == {"layers": 3, "units_2": 8}


def test_a_builder_without_parameters_has_no_defaults(make_tuner):
    """There is nothing to try."""
    with pytest.raises(ArgumentError, match="asks for no parameters"):
        make_tuner(lambda trial: None).enqueue()
