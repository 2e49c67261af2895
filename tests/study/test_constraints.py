"""Constraints: what breaks one is not trained, counts, never ranks, and the sampler learns it."""

import json
import re

import keras
import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from kerastune_optuna import (
    ArgumentError,
    ArgumentTypeError,
    NoTrialsError,
    TooManyFailuresError,
    TunerError,
)
from kerastune_optuna._study import Constraints, Ending, Objective
from kerastune_optuna._trial import ledger
from kerastune_optuna._trial.hooks import Limits
from kerastune_optuna._trial.ledger import Ledger
from tests.support.faults import Clock
from tests.support.untrained import Untrained, X, build, cheap, run, tuner_in

LIMIT = 10_000


def build_large(trial):
    """Return a model of up to 30,001 parameters, whose error has nothing to do with its size."""
    units = trial.suggest_int("units", 1, 10_000)
    return Untrained(units, [{"val_mae": trial.suggest_float("level", 0.0, 1.0)}])


def broken(trials):
    return [trial for trial in trials if any(value > 0 for value in trial.constraints.values())]


def size_and_level(trial, model):
    return [model.count_params() - 1_500, trial.params["level"] - 0.5]


@pytest.fixture(scope="module")
def tuner(tmp_path_factory):
    """Give a tuner that has searched 30 trials under a limit, which no test may change."""
    folder = tmp_path_factory.mktemp("limited") / "tuning"
    options = {"n_trials": 30, "max_params": LIMIT, "sampler": "tpe", **cheap()}
    return run(tuner_in(folder, build_large, "val_mae", **options), epochs=1)


def test_no_trial_over_the_limit_trains(tuner):
    """Each that is larger is PRUNED before its first epoch, and says why; others are not."""
    assert len(tuner.study.trials) == 30
    for trial in tuner.study.trials:
        size = trial.user_attrs["n_params"]
        if size > LIMIT:
            assert trial.state is TrialState.PRUNED
            assert trial.user_attrs["epochs_run"] == 0
            assert trial.intermediate_values == {}
            assert trial.user_attrs["stop_reason"] == f"max_params: {size:,} > 10,000"
        else:
            assert trial.user_attrs["epochs_run"] > 0


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"max_params": 0}, ArgumentError, "max_params=0 is less than 1."),
        ({"max_flops": 0}, ArgumentError, "max_flops=0 is less than 1."),
        ({"max_seconds_per_trial": 0}, ArgumentError, "max_seconds_per_trial=0 leaves no time"),
        ({"constraints": len}, ArgumentTypeError, "is not a list"),
        ({"constraints": [1.0]}, ArgumentTypeError, "constraints holds 1.0"),
        (
            {"constraints": [lambda: 0]},
            ArgumentTypeError,
            "cannot be called with a trial and a model",
        ),
    ],
)
def test_a_wrong_limit_is_refused(quick, options, kind, text):
    """The constructor of the tuner says what came and why it cannot work."""
    with pytest.raises(kind, match=re.escape(text)):
        quick(**options)


def test_a_search_that_trained_nothing_is_an_error(quick, capsys):
    """It says which limit was broken, and so do lines, and whoever asks for a result."""
    tuner = quick(build_large, n_trials=2, max_params=3)
    why = r"the last one \(trial 1\) with: max_params: [\d,]+ > 3\."
    for _ in range(2):
        with pytest.raises(TooManyFailuresError, match=f"No trial has a result: 2 trials .*{why}"):
            run(tuner, verbose=2)
    assert "Trial 0: max_params: " in capsys.readouterr().out
    with pytest.raises(NoTrialsError, match=f"2 trials ended as PRUNED or FAIL, {why}"):
        tuner.best_model()


def test_tpe_learns_the_limit(tuner):
    """It proposes fewer that are too large as it goes on, though nothing else speaks for that."""
    trials = tuner.study.trials
    assert len(broken(trials[-10:])) < 0.7 * len(broken(trials[:10]))


def test_a_sampler_that_passes_over_pruned_trials_learns_too(quick):
    """NSGA-II is shown broken trials as bad ones: it proposes fewer as it goes on."""
    sampler = optuna.samplers.NSGAIISampler(population_size=6, seed=0)
    tuner = quick(build_large, n_trials=24, sampler=sampler, max_params=LIMIT)
    trials = run(tuner, epochs=1).study.trials
    assert len(broken(trials[-12:])) < len(broken(trials[:12]))


def test_functions_of_trial_and_model_are_constraints(quick):
    """One that returns several numbers gives as many; above 0 is broken."""
    tuner = quick(n_trials=8, constraints=[size_and_level])
    for trial in run(tuner).study.trials:
        size, level = 3 * trial.params["units"] + 1, trial.params["level"]
        excess = {"size_and_level[0]": size - 1_500, "size_and_level[1]": level - 0.5}
        assert trial.constraints == excess
        is_allowed = size <= 1_500 and level <= 0.5
        assert (trial.user_attrs["epochs_run"] > 0) == is_allowed
        assert ("size_and_level[" in trial.user_attrs["stop_reason"]) == (not is_allowed)


def build_that_tells(trial):
    model = build(trial)
    trial.set_constraint("own", model.count_params() - 1_500)
    return model


def test_what_a_builder_tells_is_a_constraint(tmp_path):
    """Optuna's own trial.set_constraint ends a trial before it trains; refit() tells it again."""
    tuner = run(tuner_in(tmp_path, build_that_tells, "val_mae", n_trials=6))
    trials = tuner.study.trials
    assert 0 < len(broken(trials)) < 6
    assert all(trial.user_attrs["epochs_run"] == 0 for trial in broken(trials))
    reason = broken(trials)[0].user_attrs["stop_reason"]
    assert reason.startswith("constraint own: ")
    assert tuner.best_model().count_params() <= 1_500
    assert tuner.refit(X, X, verbose=0)[0].count_params() <= 1_500


@pytest.mark.parametrize(
    ("returned", "text"),
    [(True, "returned True"), (None, "returned None"), ("no", "'no'"), (float("nan"), "NaN")],
)
def test_what_a_constraint_must_not_return(returned, text, quick):
    """The first trial says so, and nothing else is tried."""
    tuner = quick(constraints=[lambda trial, model: returned])
    with pytest.raises(ArgumentError, match=f"The constraint <lambda> .*{text}.*Return a number"):
        run(tuner)
    assert [trial.state for trial in tuner.study.trials if trial.params] == [TrialState.FAIL]


def test_a_training_that_takes_too_long_ends(search, monkeypatch):
    """It ends with a batch, its trial is PRUNED and infeasible, and says how long it took."""
    monkeypatch.setattr(ledger, "time", clock := Clock())
    slow = keras.callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: clock.sleep(1))
    fit = {"callbacks": [lambda trial: slow], "epochs": 50, "batch_size": 8}
    (trial,) = search(n_trials=1, max_seconds_per_trial=8, fit=fit).study.trials
    assert trial.state is TrialState.PRUNED
    assert clock.now == 9, "it was left at the third of six batches of the second epoch"
    assert trial.user_attrs["epochs_run"] == 2
    assert trial.user_attrs["stop_reason"] == "max_seconds_per_trial: 9 > 8"
    assert trial.constraints["max_seconds_per_trial"] > 0


def watched():
    """Return the ledger of a training that minimizes val_loss."""
    return Ledger(Objective("val_loss", "minimize"))


def test_time_counts_over_all_processes_of_a_training(monkeypatch):
    """A resumed training goes on from the time that its backup knows."""
    monkeypatch.setattr(ledger, "time", clock := Clock())
    earlier, resumed = watched(), watched()
    limit = Limits(Constraints(max_seconds=100.0))
    earlier.begin(9, 9, 0)
    clock.sleep(99)
    earlier.take(0, {"val_loss": 1.0})
    resumed.resume(json.loads(json.dumps(earlier.state())), None)
    resumed.begin(9, 9, 0)
    resumed.go_on()
    limit.batch(resumed)
    assert (resumed.seconds, resumed.is_open) == (99, True)
    clock.sleep(2)
    limit.batch(resumed)
    assert (resumed.ending, resumed.reason) == (
        Ending.OVER_LIMIT,
        "max_seconds_per_trial: 101 > 100",
    )


def test_a_training_may_end_before_its_first_value():
    """Where time is over before the first validation, the metric is not taken for missing."""
    training = watched()
    training.take(0, {"loss": 1.0})
    training.stop(Ending.OVER_LIMIT, "time is over")
    training.end()
    assert (training.ending, training.reason) == (Ending.OVER_LIMIT, "time is over")


def test_constraints_are_asked_again_of_what_was_trained(quick):
    """A configuration that comes again is taken over where it is allowed, and ends where not."""
    for number, limit in enumerate([5_000, 5_000, 100]):
        tuner = quick(n_trials=number + 1, max_params=limit)
        tuner.study.enqueue_trial({"units": 1_000, "level": 0.5})
        run(tuner)
    first, again, refused = tuner.study.trials
    assert (again.user_attrs["repeat_of"], again.value) == (0, first.value)
    assert again.constraints == first.constraints
    assert refused.state is TrialState.PRUNED
    assert refused.user_attrs["stop_reason"] == "max_params: 3,001 > 100"


def test_confirm_asks_no_constraints(quick):
    """What it trains again was allowed, and is ranked however long it takes."""
    limits = {"max_params": 5_000, "max_seconds_per_trial": 600}
    tuner = run(quick(n_trials=2, **limits))
    assert -1 <= tuner.best_trial.constraints["max_seconds_per_trial"] < -0.5, "time was left"
    found = tuner.confirm(1, 2, X, X, (X, X), verbose=0)
    executions = optuna.load_study(study_name=found.study_name, storage=tuner.study._storage).trials
    assert [trial.state for trial in executions] == [TrialState.COMPLETE] * 2
    assert [trial.constraints for trial in executions] == [{}] * 2


def build_unbuilt(trial):
    """Return a model of 15 parameters, which it has not yet."""
    model = keras.Sequential([keras.layers.Dense(3, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class Silent(keras.Model):
    """A model of 15 parameters that does not tell what it takes, even once it has them."""

    def __init__(self):
        super().__init__()
        self.head = keras.layers.Dense(3, "softmax")
        self.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])

    def call(self, inputs):
        """Call its layer."""
        return self.head(inputs)


@pytest.mark.parametrize(
    ("build", "limit", "most", "measure", "least"),
    # 4 numbers in, 3 out, each with a bias and softmax
    [
        (build_unbuilt, "max_params", 5, "n_params", 15),
        (build_unbuilt, "max_flops", 23, "flops", 2 * 4 * 3),
        (lambda trial: Silent(), "max_flops", 23, "flops", 2 * 4 * 3),
    ],
)
def test_a_model_that_came_unbuilt_is_measured(
    make_tuner, search, build, limit, most, measure, least
):
    """It is built from the data, and not trained where it is too large."""
    tuner = make_tuner(build, n_trials=1, **{limit: most})
    with pytest.raises(TooManyFailuresError, match="No trial has a result"):
        search(tuner=tuner)
    (trial,) = tuner.study.trials
    size = trial.user_attrs[measure]
    assert size >= least
    assert trial.user_attrs["stop_reason"] == f"{limit}: {size} > {most}"
    assert (trial.state, trial.user_attrs["epochs_run"]) == (TrialState.PRUNED, 0)
    assert trial.constraints == {limit: size / most - 1}


def build_in_vain(trial):
    """Return a model of whose Fourier transform TensorFlow has no count."""
    model = build(trial)
    model.add(keras.layers.Lambda(lambda x: keras.ops.fft((x, x))[0], output_shape=(1,)))
    return model


@pytest.mark.parametrize("options", [{"max_flops": 9}, {"objective": ["val_mae", "flops"]}])
def test_a_model_that_cannot_be_counted_is_told_before_it_trains(quick, options):
    """The first trial says what has no count, and nothing else is tried."""
    tuner = quick(build_in_vain, **options)
    why = r"FLOPs of the model 'untrained.*' cannot .* FFT\. Pass \"n_params\" as an objective and"
    with pytest.raises(ArgumentError, match=why):
        run(tuner)
    assert [trial.state for trial in tuner.study.trials if trial.params] == [TrialState.FAIL]
    assert not any(trial.intermediate_values for trial in tuner.study.trials)


class Picky(keras.layers.Layer):
    """Raise an error of the user's where the layer is not trained."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def call(self, x, training=None):
        """Return the input."""
        if training is False:
            raise self.error
        return x


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ValueError("only in training"), "cannot be counted with {}: ValueError: only in training"),
        (MemoryError("Unable to allocate 9 GiB"), "Unable to allocate 9 GiB; memory ran out"),
    ],
    ids=["value", "memory"],
)
def test_an_error_of_a_layer_is_told_where_flops_are_counted(make_tuner, search, error, why):
    """With any backend, and a lack of memory as such, since smaller models may fit."""

    def build_picky(trial):
        trial.suggest_int("units", 1, 9)
        model = keras.Sequential([keras.Input((4,)), Picky(error), keras.layers.Dense(3)])
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    tuner = make_tuner(build_picky, "val_loss", n_trials=1, max_flops=99)
    with pytest.raises(TunerError):
        search(tuner=tuner)
    trial = tuner.study.trials[0]
    assert trial.state is TrialState.FAIL
    assert why.format(keras.backend.backend()) in trial.user_attrs["stop_reason"]


def test_a_study_may_get_constraints_later(quick):
    """Samplers that want the same constraints of each trial get them."""
    sampler = optuna.samplers.NSGAIISampler(population_size=4, seed=0)
    run(quick(n_trials=6, sampler=sampler))
    tuner = quick(n_trials=14, max_params=2_000, sampler=sampler)
    trials = run(tuner).study.trials
    assert [len(trial.constraints) for trial in trials] == [0] * 6 + [1] * 8
    assert np.isfinite(tuner.best_value)
