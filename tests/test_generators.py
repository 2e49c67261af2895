"""Generators of a user's module, which begin anew with each training."""

import random

import keras
import numpy as np
import pytest

from kerastune_optuna._digest import read_by
from kerastune_optuna._generators import restore_read
from tests.support.untrained import Untrained, X, run, tuner_in
from tests.zoo.stateful import NOISE, drawn


def test_a_generator_that_a_function_reads_begins_anew():
    """Keras's generators of a module give the same numbers again."""
    restore_read(read_by(drawn))
    first = drawn((2,))
    assert restore_read(read_by(drawn)) == {id(NOISE.state)}
    assert np.array_equal(drawn((2,)), first)


def drawing(chance):
    """Return a builder whose model comes to what the generator gives."""

    def build(trial):
        units = trial.suggest_int("units", 1, 2)
        return Untrained(units, [{"val_mae": chance.random()}])

    return build


@pytest.mark.parametrize("kind", [np.random.default_rng, np.random.RandomState, random.Random])
@pytest.mark.parametrize("look", ["space", "enqueue", "grid"])
def test_a_look_at_the_space_changes_no_training(quick, kind, look):
    """A builder that is called without a trial first draws for it what it draws anyway."""
    options = {"sampler": "grid"} if look == "grid" else {}
    tuner = quick(drawing(kind(0)), n_trials=2, pruner="none", **options)
    getattr(tuner, look, lambda: None)()
    assert [trial.value for trial in run(tuner).study.trials] == [kind(0).random()] * 2


@pytest.mark.slow
def test_workers_get_generators_as_they_were_at_first(tmp_path):
    """A search in this process draws from those that travel with the builder to a later one."""
    build = drawing(np.random.default_rng(0))
    options = {"objective": "val_mae", "pruner": "none", "train_repeats": True}
    for n_workers in (1, 2):
        tuner = tuner_in(tmp_path, build, n_trials=2 * n_workers, **options)
        run(tuner, n_workers=n_workers)
    assert tuner.results()["value"].nunique() == 1


@pytest.mark.slow
def test_a_script_draws_from_its_generators_as_without_a_search(tmp_path):
    """Searches, refit() and best_model() give a user's generator back as they found it."""
    chance = np.random.default_rng(0)

    def build(trial):
        return Untrained(int(chance.integers(1, 99)), [{"val_mae": 0.5}])

    tuner, drawn = tuner_in(tmp_path, build, "val_mae", pruner="none", train_repeats=True), []
    for n_trials in (1, 2):
        run(tuner, n_trials=n_trials)
        drawn.append(chance.random())
    for call in (tuner.best_model, lambda: tuner.refit(X, X, epochs=1, verbose=0)):
        call()
        drawn.append(chance.random())
    assert drawn == list(np.random.default_rng(0).random(4))


def test_a_search_gives_generators_of_keras_back(quick):
    """Which a script may use for other things than the builder's weights."""
    chance = keras.random.SeedGenerator(3)

    def build(trial):
        keras.random.normal((2,), seed=chance)
        return Untrained(1, [{"val_mae": 0.5}])

    before = keras.ops.convert_to_numpy(chance.state)
    run(quick(build, n_trials=1))
    assert np.array_equal(keras.ops.convert_to_numpy(chance.state), before)
