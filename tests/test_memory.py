"""A finished trial leaves nothing in the process, and what lived before it is left alone."""

import gc
import weakref

import keras
import numpy as np
import optuna
import pytest
from tensorflow.python.framework import ops

from kerastune_optuna import _backend
from tests.support.faults import states
from tests.support.models import PruneAt, build_model
from tests.support.untrained import run, tuner_in

# Other backends register nothing; what the other tests say of models holds for them too.
registers = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="TensorFlow alone has a registry of gradients"
)


@pytest.fixture(autouse=True)
def as_in_a_users_process():
    """Undo what conftest freezes for the sake of time: a search is to do that itself."""
    gc.unfreeze()
    yield
    gc.freeze()


def graphs():
    return [thing for thing in gc.get_objects() if type(thing).__name__ == "FuncGraph"]


def custom_gradients():
    return {name for name in ops.gradient_registry._registry if name.startswith("CustomGradient-")}


@pytest.mark.nightly
def test_no_model_and_no_graph_outlives_a_search(search):
    """COMPLETE, PRUNED and FAIL trials leave no model and no gradient, and the next no graph."""
    gradients, models, counts = custom_gradients(), [], []
    lived = weakref.WeakSet(graphs())

    def made():
        gc.collect()
        return [graph for graph in graphs() if graph not in lived]

    def build_or_fail(trial):
        if isinstance(trial, optuna.Trial):  # not where the first model is built once again
            counts.append(len(made()))
        model = build_model(trial)
        models.append(weakref.ref(model))
        if trial.number == 1:  # after its model has been traced
            model.fit(np.zeros((4, 4)), np.zeros(4), verbose=0)
            raise MemoryError("as if there was none left")
        return model

    ended = sorted(states(search(build_or_fail, n_trials=3, pruner=PruneAt([2]))))
    assert ended == ["COMPLETE", "COMPLETE", "FAIL", "PRUNED"]
    assert made() == []
    assert counts == [0] * 4
    assert len(models) >= 4
    assert [model() for model in models if model() is not None] == []
    assert custom_gradients() == gradients


@pytest.mark.nightly
@registers
def test_the_models_of_the_user_go_on_training(search, data):
    """A model that was traced before the search trains on after it, with its gradients."""
    x, y, _ = data
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, verbose=0)
    names = custom_gradients()
    search(n_trials=1)
    assert custom_gradients() == names != set()
    assert np.isfinite(model.fit(x, y, verbose=0).history["loss"][0])


def test_a_freeze_of_the_user_is_kept(tmp_path):
    """What the user has kept out of the collections stays out."""
    gc.freeze()
    try:
        run(tuner_in(tmp_path, n_trials=1))
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


@registers
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_trial_that_raises_is_released_too(error):
    """Gradients go however a trial ends, and the error comes through."""
    memory = _backend.Memory()
    before = custom_gradients()

    def leave_a_gradient():
        with memory.released():
            ops.gradient_registry._registry["CustomGradient-of-a-test"] = {}
            raise error

    with pytest.raises(error):
        leave_a_gradient()
    assert custom_gradients() == before
