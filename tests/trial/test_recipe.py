"""A base that was there before the builder: refused where trials would train it, else it serves."""

import functools
import sys
from types import ModuleType

import keras
import numpy as np
import pytest
from tensorflow.python.util.lazy_loader import KerasLazyLoader

from kerastune_optuna import BuilderError
from kerastune_optuna._digest import read_by
from tests.support import falling
from tests.support.faults import states
from tests.support.untrained import Untrained, run


def base_model():
    """Return a base with weights, statistics and chance of its own."""
    layers = [keras.layers.Dense(4), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)]
    return keras.Sequential([keras.Input((4,)), *layers])


def on(base):
    head = keras.layers.Dense(3, "softmax")
    model = keras.Sequential([keras.Input((4,)), base, head])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def frozen(base):
    base.trainable = False
    return base


def closing(base):
    return lambda trial: on(base)


class Builder:
    """Be a builder that holds its base."""

    def __init__(self, base):
        self.bases = {"only": base}

    def __call__(self, trial):
        """Build on it."""
        return on(self.bases["only"])


KINDS = {
    "closure": closing,
    "partial": lambda base: functools.partial(lambda trial, base: on(base), base=base),
    "object": Builder,
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_base_that_trials_would_train_is_refused(search, kind):
    """Before the first training touches it."""
    base = base_model()
    before = base.get_weights()
    with pytest.raises(BuilderError, match=r"Load the base inside of build_model"):
        search(kind(base))
    assert all(map(np.array_equal, base.get_weights(), before))


def test_a_model_that_every_trial_returns_is_refused(search):
    """It would train on and on."""
    model = on(base_model())
    with pytest.raises(BuilderError, match="which its training changes"):
        search(lambda trial: model)


def test_a_base_that_the_first_trial_loads_is_refused_in_the_second(search):
    """Where a function keeps what it loaded, nothing was there before the first."""
    load = functools.lru_cache(base_model)
    with pytest.raises(BuilderError, match="Load the base inside of build_model"):
        search(lambda trial: falling.Falling(load()), "val_loss")


@pytest.mark.parametrize(
    "of",
    [lambda: {"of": keras.optimizers.SGD()}, lambda: [keras.optimizers.SGD()], lambda: "sgd"],
    ids=["dict", "list", "name"],
)
def test_an_optimizer_may_be_no_object_of_keras(quick, of):
    """As in models with steps of their own: a GAN's `optimizer` may be a dict of two."""

    def build(trial):
        model = Untrained(trial.suggest_int("units", 1, 9), [{"val_mae": 0.5}])
        model.optimizer = of()
        return model

    tuner = run(quick(build, n_trials=2, keep_best=2, backup_every=0), epochs=1)
    assert states(tuner) == ["COMPLETE", "COMPLETE"]
    assert tuner.best_model().count_params() == 3 * tuner.best_params["units"] + 1


def test_an_optimizer_that_trials_share_is_refused_in_the_second(search):
    """It keeps the variables of the first model, and cannot train another."""
    optimizer = keras.optimizers.Adam()

    def build(trial):
        model = falling.build(trial)
        model.compile(optimizer, "mse")
        return model

    with pytest.raises(BuilderError, match="Make the optimizer inside of build_model"):
        search(build, "val_loss")


@pytest.mark.slow
def test_a_base_that_is_unfrozen_in_training_is_refused(search):
    """As in the second phase of a builder's own fit."""
    base = base_model()

    class Fine(Builder):
        def fit(self, trial, model, **keywords):
            base.trainable = True
            model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
            return model.fit(**keywords)

    with pytest.raises(BuilderError, match="which its training changes"):
        search(Fine(frozen(base)))


@pytest.mark.slow
def test_a_frozen_base_serves_all_trials(search, data, comes_again):
    """Each best model comes to its value, and a trial is trained again to the digit."""
    base = frozen(base_model())
    tuner = search(closing(base), keep_best=3, n_trials=3, train_repeats=True)
    values = [trial.value for trial in tuner._home.top(3)]
    assert [one.evaluate(*data[2], verbose=0)[1] for one in tuner.best_models(3)] == values
    assert comes_again(tuner, 2)


@pytest.mark.slow
def test_a_clone_and_an_adapted_layer_are_fine(search, make_tuner, data):
    """What is made inside of the builder is its own, and only a user changes statistics of data."""
    base, scale = base_model(), keras.layers.Normalization()
    scale.adapt(data[0])

    def build(trial):
        own = keras.models.clone_model(base)
        own.set_weights(base.get_weights())
        return on(keras.Sequential([keras.Input((4,)), scale, own]))

    tuner = search(build, n_trials=2, train_repeats=True)
    assert tuner.best_model().evaluate(*data[2], verbose=0)[1] == tuner.best_value
    scale.adapt(data[0] + 1)
    assert len(search(tuner=make_tuner(build, n_trials=3)).study.trials) == 3


class Measured:
    """Build a model with metrics that all trials share, or with its own, and only train it."""

    def __init__(self, metrics=None):
        self.metrics = metrics

    def __call__(self, trial):
        """Build a model."""
        model = on(keras.layers.Dense(4))
        own = [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
        model.compile("adam", "sparse_categorical_crossentropy", metrics=self.metrics or own)
        return model

    def fit(self, trial, model, **keywords):
        """Train it."""
        return model.fit(**keywords)


@pytest.mark.slow
def test_metrics_that_trials_share_begin_anew_with_each(search, data):
    """Metric objects that are made once, as in TensorFlow's tutorials, count from nothing."""
    shared = Measured([keras.metrics.SparseCategoricalAccuracy(name="accuracy")])
    how = {"objective": "accuracy", "n_trials": 2, "train_repeats": True, "fit": {"epochs": 1}}
    tuners = search(shared, **how), search(Measured(), study_name="own", **how)
    values = [[trial.value for trial in tuner.study.trials] for tuner in tuners]
    assert values[0] == values[1]
    x, y, _ = data
    found = [tuner.best_model().evaluate(x, y, verbose=0)[1] for tuner in tuners]
    assert found[0] == found[1]


def test_keras_2_is_refused_where_its_variable_makes_it_tf_keras(quick, monkeypatch):
    """With TF_USE_LEGACY_KERAS, `tf.keras` is the package tf_keras, of which this is a stand-in."""
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")
    for name in ("tf_keras", "tf_keras.api._v2.keras"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    of_keras_2 = {"__module__": "tf_keras.src.engine.sequential"}
    sys.modules["tf_keras.api._v2.keras"].Sequential = type("Sequential", (), of_keras_2)
    kind = KerasLazyLoader({}).Sequential  # as TensorFlow makes tf.keras
    with pytest.raises(BuilderError, match="a Sequential of tf_keras, which is Keras 2"):
        run(quick(lambda trial: kind()))


def test_long_containers_are_not_looked_into():
    """A builder that reads a vocabulary or a table costs its trials nothing."""
    base, words = base_model(), {f"word {number}": number for number in range(1000)}

    def build(trial):
        return base, words

    read = read_by(build)
    assert {id(one) for one in read if isinstance(one, keras.Layer)} == {id(base)}
    assert len(read) < len(words)
