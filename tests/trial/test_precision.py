"""Mixed precision, set for all models or for one, within the trials of a search."""

from __future__ import annotations

import keras
import pytest

from tests.support.marks import mostly_nightly
from tests.support.models import build_model

POLICIES = ["mixed_float16", "mixed_bfloat16"]


@pytest.fixture(params=mostly_nightly(POLICIES, "mixed_float16"))
def policy(request):
    """Give a dtype policy that holds for all models meanwhile."""
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy("float32")


def build_of_dtype(dtype):
    """Return a builder of models whose hidden layer has a dtype policy of its own."""

    def build(trial):
        units = trial.suggest_int("units", 2, 8)
        layers = [
            keras.Input((4,)),
            keras.layers.Dense(units, activation="relu", dtype=dtype),
            keras.layers.Dense(3, activation="softmax", dtype="float32"),
        ]
        model = keras.Sequential(layers)
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    return build


def evaluated(tuner, data):
    """Return the loss of the best model on the validation data."""
    return tuner.best_model().evaluate(*data[2], verbose=0, return_dict=True)["loss"]


def test_a_policy_for_all_models_holds_in_trials(search, data, policy):
    """The best model has the policy, and evaluates to the best value."""
    tuner = search(build_model, "val_loss", fit={"epochs": 3})
    assert tuner.best_model().layers[0].compute_dtype == policy.removeprefix("mixed_")
    assert evaluated(tuner, data) == pytest.approx(tuner.best_value, abs=1e-6)


@pytest.mark.parametrize("dtype", mostly_nightly(POLICIES, "mixed_float16"))
def test_a_builder_may_mix_precisions(search, data, dtype):
    """A model with a layer of half precision evaluates to the best value."""
    tuner = search(build_of_dtype(dtype), "val_loss", fit={"epochs": 3})
    assert evaluated(tuner, data) == pytest.approx(tuner.best_value, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_float16"], indirect=True)  # which alone scales the loss
def test_a_trial_of_mixed_precision_is_resumed(search, make_tuner, data, policy):
    """The optimizer that scales the loss goes on as if nothing had happened."""

    def curve(study_name, interrupted_at):
        def interrupt(epoch, logs):
            if epoch == interrupted_at and not seen:
                seen.append(epoch)
                raise KeyboardInterrupt

        seen = []
        options = {"objective": "val_loss", "n_trials": 1, "backup_every": 0}
        tuner = make_tuner(study_name=study_name, **options)
        callback = lambda trial: keras.callbacks.LambdaCallback(on_epoch_end=interrupt)  # noqa: E731
        fit = {"epochs": 5, "shuffle": False, "callbacks": [callback]}
        if interrupted_at is not None:
            with pytest.raises(KeyboardInterrupt):
                search(tuner=tuner, fit=fit)
        search(tuner=tuner, fit=fit)
        return tuner.study.best_trial.intermediate_values

    assert curve("interrupted", 3) == pytest.approx(curve("whole", None), abs=1e-6)
