"""What is searched: samplers and pruners by name, configurations that go first, and repeats."""

from __future__ import annotations

import importlib.util
import sys
import warnings

import keras
import optuna
import pytest
from optuna.samplers import CmaEsSampler, GPSampler, QMCSampler, RandomSampler, TPESampler

from kerastune_optuna import ArgumentError, ArgumentTypeError, MissingExtraError
from kerastune_optuna._search import LearningSampler, repeats, samplers
from kerastune_optuna._search.pruner import WilcoxonPruner
from kerastune_optuna._search.samplers import start_sampler
from kerastune_optuna._study import record
from kerastune_optuna._study.monitor import Objective
from tests.support.models import PruneAt, Spy, kept

SAMPLERS = {
    "cmaes": CmaEsSampler,
    "gp": GPSampler,
    "qmc": QMCSampler,
    "random": RandomSampler,
    "tpe": TPESampler,
}
# PyTorch is too large to install for one sampler: where it is there, Optuna's GPSampler is tried.
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed"
)


def compiled(units, optimizer):
    """Return a classifier that trains without a trace, which costs more than so few steps."""
    layers = [keras.layers.Dense(units), keras.layers.Dense(3, activation="softmax")]
    model = keras.Sequential([keras.Input((4,)), *layers])
    loss = "sparse_categorical_crossentropy"
    model.compile(optimizer, loss, metrics=["accuracy"], run_eagerly=True)
    return model


def of_few(trial):
    """Return a classifier of four configurations, two of which differ in a name alone."""
    units = trial.suggest_int("units", 2, 3)
    trial.suggest_categorical("name", ["a", "b"])
    return compiled(units, "sgd")


def of_two_ranges(trial):
    """Return a classifier with a width and a learning rate."""
    units = trial.suggest_int("units", 2, 8)
    rate = trial.suggest_float("lr", 1e-3, 1e-1, log=True)
    return compiled(units, keras.optimizers.Adam(rate))


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


def of_two(**params):
    """Return a configuration of the builder with two ranges."""
    return {"units": 3, "lr": 0.01, **params}


@pytest.mark.parametrize(
    ("name", "trials"),
    [("cmaes", 2), pytest.param("gp", 12, marks=needs_torch), ("qmc", 2), ("random", 2)],
)
def test_a_sampler_has_a_name(search, name, trials):
    """A name makes Optuna's sampler, and its argument stays what it was."""
    tuner = search(of_two_ranges, sampler=name, n_trials=trials, fit={"epochs": 1})
    assert tuner.sampler == name
    assert type(tuner.study.sampler) is SAMPLERS[name]
    assert len({tuple(params.values()) for params in params_of(tuner)}) == trials


@pytest.mark.parametrize("name", ["qmc", "random", "tpe"])
@pytest.mark.parametrize("seed", [0, None])
def test_a_name_goes_on_in_a_resumed_study(name, seed):
    """No number is drawn twice, and a QMC sequence with a seed is the one that was begun."""

    def values(*searches):
        study = optuna.create_study()
        for trials in searches:
            own, _ = start_sampler(study, name, seed)
            study.sampler = taught(study.sampler, own)
            for _ in range(trials):
                trial = study.ask()
                study.tell(trial, trial.suggest_float("x", 0, 1) + trial.suggest_float("y", 0, 1))
        return [tuple(trial.params.values()) for trial in study.trials]

    assert len(set(values(2, 3))) == 5
    if name == "qmc" and seed is not None:
        assert values(2, 3)[1:] == values(5)[1:]


def taught(sampler, seed):
    """Return a sampler as a search has it."""
    loss = Objective("val_loss", "minimize")
    return LearningSampler(sampler, loss, constrained=False, may_repeat=False, seed=seed)


def draws(name, seed):
    """Return what the sampler of a name draws in a new study."""
    study = optuna.create_study()
    start_sampler(study, name, seed)
    drawn = []
    for _ in range(3):
        trial = study.ask()
        drawn.append((trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)))
        study.tell(trial, sum(drawn[-1]))
    return drawn


@pytest.mark.parametrize(
    "name", ["cmaes", pytest.param("gp", marks=needs_torch), "qmc", "random", "tpe"]
)
def test_a_name_is_seeded(name):
    """The tuner's seed decides what the sampler draws, and another seed gives other values."""
    assert draws(name, 3) == draws(name, 3)
    assert draws(name, 3)[1:] != draws(name, 4)[1:]  # the first point of QMC may be the origin


@pytest.mark.slow
def test_an_enqueued_configuration_changes_no_other(search, make_tuner):
    """What a seeded sampler of the user's own draws in a new study stays what it was."""
    drawn = []
    for enqueues in (False, True):
        sampler = optuna.samplers.RandomSampler(seed=3)
        tuner = make_tuner(of_two_ranges, study_name=f"{enqueues}", sampler=sampler, n_trials=3)
        if enqueues:
            tuner.enqueue(of_two())
        drawn.append(params_of(search(tuner=tuner, fit={"epochs": 1})))
    assert drawn[1] == [of_two(), *drawn[0][:2]]


@pytest.mark.slow
def test_a_sampler_that_enqueues_first_draws_no_number_again(search, make_tuner):
    """A later process gets another seed though enqueue() is what writes to the study first."""
    for n_trials in (2, 5):
        sampler = optuna.samplers.RandomSampler(seed=3)
        tuner = make_tuner(of_two_ranges, sampler=sampler, n_trials=n_trials)
        if n_trials == 5:
            tuner.enqueue(of_two())
        search(tuner=tuner, fit={"epochs": 1})
    assert len({tuple(params.values()) for params in params_of(tuner)}) == 5


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("halving", optuna.pruners.SuccessiveHalvingPruner),
        ("median", optuna.pruners.MedianPruner),
        ("none", optuna.pruners.NopPruner),
        ("percentile", optuna.pruners.PercentilePruner),
        ("wilcoxon", WilcoxonPruner),
    ],
)
def test_a_pruner_has_a_name(make_tuner, name, kind):
    """A name makes Optuna's pruner."""
    tuner = make_tuner(pruner=name)
    assert tuner.pruner == name
    assert type(tuner.study.pruner) is kind


@pytest.mark.slow
def test_hyperband_knows_the_epochs(search, make_tuner):
    """Its largest resource is the number of epochs, also for a tuner that has not searched."""
    tuner = search(of_two_ranges, pruner="hyperband", fit={"epochs": 3})
    assert tuner.study.pruner._max_resource == 3
    assert len(tuner.study.trials) == 2
    assert make_tuner(of_two_ranges, pruner="hyperband").study.pruner._max_resource == 3


@pytest.mark.slow
def test_hyperband_goes_on_where_a_bracket_has_trials(search):
    """The sampler sees the trials of a bracket alone, and learns from them."""
    tuner = search(of_two_ranges, pruner="hyperband", n_trials=6)
    assert len(tuner.study.trials) == 6


@pytest.mark.parametrize("name", ["cmaes", "gp"])
def test_a_name_whose_package_is_missing_names_the_extra(make_tuner, monkeypatch, name):
    """The error says what to install, before a study is made."""
    monkeypatch.setitem(sys.modules, samplers._PACKAGES[name], None)
    with pytest.raises(MissingExtraError, match=rf'kerastune_optuna\[{name}\]"'):
        make_tuner(sampler=name)


@pytest.mark.slow
def test_enqueued_configurations_go_first(search, make_tuner):
    """They run before the sampler's and count; the sampler chooses what they leave open."""
    tuner = make_tuner(of_two_ranges, n_trials=2)
    tuner.enqueue({"units": 4})
    search(tuner=tuner, fit={"epochs": 1})
    assert len(tuner.study.trials) == 2
    assert params_of(tuner)[0] == of_two(units=4, lr=params_of(tuner)[0]["lr"])
    later = make_tuner(of_two_ranges, n_trials=4)
    later.enqueue(of_two(units=5))
    later.enqueue(of_two(units=6))
    search(tuner=later, fit={"epochs": 1})
    assert params_of(later)[2:] == [of_two(units=5), of_two(units=6)]


@pytest.mark.slow
def test_a_script_that_runs_again_enqueues_nothing_new(search, make_tuner):
    """A configuration that waits, ran or was found by the sampler is not added; a failure is."""

    def build(trial):
        if trial.params.get("units") == 8 or trial.suggest_int("units", 2, 8) == 8:
            raise RuntimeError("no such luck")
        return of_two_ranges(trial)

    for states in (["WAITING", "WAITING"], ["COMPLETE", "FAIL", "COMPLETE", "WAITING"]):
        tuner = make_tuner(build)
        for _ in range(2):
            tuner.enqueue({"units": 4})
            tuner.enqueue({"units": 8})
        assert [trial.state.name for trial in tuner.study.trials] == states
        search(tuner=tuner, fit={"epochs": 1})
    found = tuner.study.trials[0].params
    tuner.enqueue(found)
    assert len(tuner.study.trials) == len(states)


@pytest.mark.slow
def test_overwrite_leaves_what_was_enqueued(search, make_tuner):
    """The old study goes when the first configuration is enqueued, and not again."""
    search(of_two_ranges, n_trials=1, fit={"epochs": 1})
    tuner = make_tuner(of_two_ranges, n_trials=1, overwrite=True)
    tuner.enqueue(of_two())
    search(tuner=tuner, fit={"epochs": 1})
    assert params_of(tuner) == [of_two()]


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


def test_optunas_own_grid_takes_no_enqueued_trials(make_tuner):
    """GridSampler would fail after such a trial."""
    tuner = make_tuner(sampler=optuna.samplers.GridSampler({"units": [2]}))
    with pytest.raises(ArgumentError, match="Pass sampler='grid'"):
        tuner.enqueue({"units": 2})


def test_defaults_are_the_middle(make_tuner):
    """Of a range the middle, of a logarithm its middle, of choices the first; as conditions say."""
    tuner = make_tuner(of_layers)
    tuner.enqueue_defaults()
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
    tuner.enqueue_defaults()
    (trial,) = tuner.study.trials
    assert trial.system_attrs["fixed_params"] == {"layers": 3, "units_2": 8}


def test_a_builder_without_parameters_has_no_defaults(make_tuner):
    """There is nothing to try."""
    with pytest.raises(ArgumentError, match="asks for no parameters"):
        make_tuner(lambda trial: None).enqueue_defaults()


def repeated(make_tuner, **options):
    """Return a tuner whose first two trials are to have one configuration."""
    tuner = make_tuner(of_few, n_trials=3, **options)
    tuner.enqueue({"units": 3, "name": "a"})
    tuner.enqueue({"name": "a", "units": 3.0})
    tuner.study.enqueue_trial({"units": 3, "name": "a"})
    return tuner


@pytest.mark.slow
def test_a_repeated_configuration_costs_no_training(search, make_tuner, capsys):
    """Its trial has the result of the earlier one, and its weights are not kept twice."""
    seen = []
    tuner = repeated(make_tuner, keep_best=2)
    search(tuner=tuner, fit={"callbacks": [Spy(seen)], "verbose": 2})
    first, again, other = tuner.study.trials
    assert seen.count("begin") == 2
    assert again.state == first.state
    assert again.params == first.params != other.params
    assert again.value == first.value
    assert again.intermediate_values == first.intermediate_values
    same = ("best_value", "best_epoch", "seed", "n_params")
    assert all(again.user_attrs[key] == first.user_attrs[key] for key in same)
    assert again.user_attrs["epochs_run"] == 0
    assert "repeats trial 0" in capsys.readouterr().out.splitlines()[1]
    assert {trial.number for trial in tuner._home.ranked(2)} == {0, 2}
    assert len(kept(tuner)) == len(tuner.best_models(2)) == 2


@pytest.mark.slow
def test_a_repeated_pruned_configuration_is_pruned(search, make_tuner):
    """It was weak before, and what pruning saved is not counted twice."""
    tuner = repeated(make_tuner, pruner=PruneAt([0]))
    search(tuner=tuner)
    assert list(tuner.results()["state"]) == ["PRUNED", "PRUNED", "COMPLETE"]
    assert "1 saved by pruning" in str(tuner._repr_html_())


@pytest.mark.slow
def test_repeats_are_trained_where_that_is_asked_for(search, make_tuner):
    """train_repeats=True trains each trial."""
    tuner = search(tuner=repeated(make_tuner, train_repeats=True), fit={"epochs": 1})
    assert list(tuner.results()["epochs_run"]) == [1, 1, 1]


@pytest.mark.slow
def test_more_epochs_are_no_repeat(search, make_tuner):
    """A configuration that had fewer epochs before is trained."""
    search(tuner=repeated(make_tuner), fit={"epochs": 1, "n_trials": 1})
    with pytest.warns(UserWarning, match="epochs was 1 and is 2"):
        tuner = search(tuner=make_tuner(of_few), fit={"epochs": 2})
    assert list(tuner.results()["epochs_run"]) == [1, 2]


def test_a_retry_repeats_no_later_trial():
    """It goes on from where its first try was; what other trials came to since is not its own."""
    study = optuna.create_study()

    def begun(**attrs):
        trial = study.ask()
        trial.suggest_int("units", 2, 2)
        for key, value in {record.SEED: trial.number, **attrs}.items():
            trial.set_user_attr(key, value)
        return trial

    first = begun()
    study.tell(begun(), 0.5)
    study.tell(first, state=optuna.trial.TrialState.FAIL)
    assert repeats.find(study, begun(**{record.RETRY_OF: 0})) is None
    assert repeats.find(study, begun()).number == 1
