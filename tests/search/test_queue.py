"""Configurations that the user enqueues go first, and are checked before."""

import warnings

import keras
import optuna
import pytest

from kerastune_optuna import ArgumentError, ArgumentTypeError
from tests.support.faults import states
from tests.support.untrained import Untrained, run


def of_two_ranges(trial):
    level = trial.suggest_float("lr", 1e-3, 1e-1, log=True)
    return Untrained(trial.suggest_int("units", 2, 8), [{"val_mae": level}])


def of_two(**params):
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
    return [trial.params for trial in tuner.study.trials]


def test_enqueued_configurations_go_first(quick):
    """They run before the sampler's and count; the sampler chooses what they leave open."""
    tuner = quick(of_two_ranges, n_trials=2)
    tuner.enqueue({"units": 4})
    run(tuner)
    assert len(tuner.study.trials) == 2
    assert tuner.study.trials[0].params["units"] == 4
    later = quick(of_two_ranges, n_trials=4)
    later.enqueue(of_two(units=5))
    later.enqueue(of_two(units=6))
    run(later)
    assert params_of(later)[2:] == [of_two(units=5), of_two(units=6)]


def test_no_more_are_run_than_the_study_has_room_for(quick):
    """Of five that are enqueued, a search of three trials leaves the last two for the next one."""
    tuner = quick(of_two_ranges, n_trials=3)
    for units in range(2, 7):
        tuner.enqueue(of_two(units=units))
    assert states(run(tuner)) == ["COMPLETE"] * 3 + ["WAITING"] * 2


def test_an_enqueued_configuration_changes_no_other(quick):
    """What a seeded sampler of the user's own draws in a new study stays what it was."""
    drawn = []
    for enqueues in (False, True):
        sampler = optuna.samplers.RandomSampler(seed=3)
        tuner = quick(of_two_ranges, study_name=f"{enqueues}", sampler=sampler, n_trials=3)
        if enqueues:
            tuner.enqueue(of_two())
        drawn.append(params_of(run(tuner)))
    assert drawn[1] == [of_two(), *drawn[0][:2]]


def test_a_sampler_that_enqueues_first_draws_no_number_again(quick):
    """A later process gets another seed though enqueue() is what writes to the study first."""
    for n_trials in (2, 5):
        sampler = optuna.samplers.RandomSampler(seed=3)
        tuner = quick(of_two_ranges, sampler=sampler, n_trials=n_trials)
        if n_trials == 5:
            tuner.enqueue(of_two())
        run(tuner)
    assert len({tuple(params.values()) for params in params_of(tuner)}) == 5


def test_a_script_that_runs_again_enqueues_nothing_new(quick):
    """A configuration that waits, ran or was found by the sampler is not added; a failure is."""

    def build(trial):
        if trial.params.get("units") == 8 or trial.suggest_int("units", 2, 8) == 8:
            raise RuntimeError("no such luck")
        return of_two_ranges(trial)

    for expected in (["WAITING", "WAITING"], ["COMPLETE", "FAIL", "COMPLETE", "WAITING"]):
        tuner = quick(build, n_trials=2)
        for _ in range(2):
            tuner.enqueue({"units": 4})
            tuner.enqueue({"units": 8})
        assert [trial.state.name for trial in tuner.study.trials] == expected
        run(tuner)
    tuner.enqueue(tuner.study.trials[0].params)
    assert len(tuner.study.trials) == len(expected)


@pytest.mark.parametrize(
    ("params", "kind", "text"),
    [
        (
            {"layer": 2},
            ArgumentError,
            "'layer', which build_model does not ask for with these values. Did you mean 'layers'? "
            "It asks for layers (1 to 3),",
        ),
        ({"units_2": 9}, ArgumentError, "If it asks for this one only with certain values of"),
        (
            {"layers": 4},
            ArgumentError,
            "layers=4, which build_model does not allow. Pass 1 to 3.",
        ),
        ({"layers": 1.5}, ArgumentError, "layers=1.5, which build_model does not allow"),
        ({"rate": "fast"}, ArgumentError, "Pass 0.0001 to 0.01 on a log scale."),
        ({"momentum": 0.5}, ArgumentError, "Pass 0.0 to 0.8 in steps of 0.4."),
        ({"end": "relu"}, ArgumentError, "end='relu', which build_model does not allow."),
        ({}, ArgumentTypeError, "enqueue() got {}. Pass one configuration as a dict"),
        ([{"layers": 1}], ArgumentTypeError, "Pass one configuration as a dict"),
    ],
)
def test_what_the_builder_does_not_take_is_refused(quick, params, kind, text):
    """One line says what came and what the builder asks for; nothing is enqueued."""
    tuner = quick(of_layers)
    with pytest.raises(kind) as got:
        tuner.enqueue(params)
    assert type(got.value) is kind
    assert text in str(got.value)
    assert len(str(got.value).splitlines()) == 1
    assert tuner.study.trials == []


def test_objects_are_not_enqueued(quick):
    """What a database does not give back as it was is refused, with a way out."""

    def build(trial):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Optuna tells of such choices
            trial.suggest_categorical("layer", [keras.layers.Dense])

    with pytest.raises(ArgumentError, match="Let suggest_categorical choose among names"):
        quick(build).enqueue({"layer": keras.layers.Dense})


def test_defaults_are_the_middle(quick):
    """Of a range the middle, of a logarithm its middle, of choices the first; as conditions say."""
    tuner = quick(of_layers)
    tuner.enqueue()
    (trial,) = tuner.study.trials
    numbers = {"layers": 2, "units_0": 32, "units_1": 32, "rate": 1e-3, "dropout": 0.25}
    found = trial.system_attrs["fixed_params"]
    assert found.pop("end") == "softmax"
    assert found == pytest.approx({**numbers, "momentum": 0.4})


def test_a_builder_may_have_defaults_of_its_own(quick):
    """`default_params` of a builder goes before the middle, and is checked."""

    def build(trial):
        of_layers(trial)

    build.default_params = lambda: {"layers": 3, "units_2": 8}
    tuner = quick(build)
    tuner.enqueue()
    (trial,) = tuner.study.trials
    assert trial.system_attrs["fixed_params"] == {"layers": 3, "units_2": 8}


def test_a_builder_without_parameters_has_no_defaults(quick):
    """There is nothing to try."""
    with pytest.raises(ArgumentError, match="asks for no parameters"):
        quick(lambda trial: None).enqueue()
