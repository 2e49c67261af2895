"""A builder whose model computes something else is told from the one that was trained."""

import sys

import keras
import numpy as np
import pytest

from kerastune_optuna import WeightsError
from kerastune_optuna._architecture import digest_of
from tests.support.memory import make_tuner as make_tuner

kl = keras.layers


def of(*layers):
    return keras.Sequential(layers)


def compiled(model):
    """Return a model that is ready to train, without a graph that would take longer to trace."""
    loss = "sparse_categorical_crossentropy"
    model.compile("adam", loss, metrics=["accuracy"], run_eagerly=True)
    return model


def dense(activation, name=None):
    return lambda trial: compiled(
        of(keras.Input((4,)), kl.Dense(4, activation, name=name), kl.Dense(3, "softmax"))
    )


def test_another_activation_is_an_error(search, make_tuner):
    """The weights fit, and the model would not come to its value."""
    search(dense("relu"), n_trials=1)
    tuner = make_tuner(dense("tanh"))
    with pytest.raises(WeightsError, match="its layers or their settings differ"):
        tuner.best_model()
    with pytest.raises(WeightsError, match="Restore the builder of that search"):
        tuner.best_models(1)


def test_the_names_of_layers_may_change(search, make_tuner, data):
    """They change no prediction."""
    value = search(dense("relu"), n_trials=1).best_value
    model = make_tuner(dense("relu", "other")).best_model()
    assert model.evaluate(*data[2], verbose=0)[1] == value


def test_an_initializer_makes_no_other_model():
    """Saved weights take the place of what it draws, as of a matrix that it may hold."""
    one, other = (
        of(keras.Input((3,)), kl.Embedding(4, 2, embeddings_initializer=initializer))
        for initializer in (keras.initializers.Constant(np.ones((4, 2))), "uniform")
    )
    assert digest_of(one) == digest_of(other)


def test_settings_that_read_as_a_name_are_the_same_in_each_build():
    """Keras numbers the second layer of a kind: only the first one here has the name "elu"."""

    def build():
        given = keras.Input((4,))
        return keras.Model(given, kl.ELU()(kl.Dense(4, "elu")(given)))

    keras.utils.clear_session()
    assert digest_of(build()) == digest_of(build())


class Subclassed(keras.Model):
    """Make layers as subclassed models do, and tell no config."""

    def __init__(self, make):
        super().__init__()
        self.hidden = make()


def branched(swapped):
    one, other = keras.Input((4,)), keras.Input((4,))
    hidden = [kl.Dense(4)(x) for x in (one, other)]
    return keras.Model([one, other], kl.Subtract()(hidden[:: -1 if swapped else 1]))


def computed(operation):
    given = keras.Input((4,))
    return keras.Model(given, operation(kl.Dense(4)(given), given))


def scaled(layer):
    return compiled(of(keras.Input((4,)), layer, kl.Dense(3)))


def scaling(factor):
    """Return a builder of a model that multiplies by something that only its code tells."""
    return lambda trial: scaled(kl.Lambda(lambda x: x * factor))


FACTOR = 2


def build_scaled(trial):
    """Return a model that multiplies by a global, in a layer of Keras's own."""
    return scaled(kl.Activation(lambda x: x * FACTOR))


def test_a_global_that_a_function_in_a_layer_reads_is_a_warning(search, make_tuner, monkeypatch):
    """Though the layer is Keras's own."""
    search(build_scaled, n_trials=1)
    make_tuner(build_scaled).best_model()
    monkeypatch.setattr(sys.modules[__name__], "FACTOR", 3)
    with pytest.warns(UserWarning, match="model is wrong although"):
        make_tuner(build_scaled).best_model()


def test_code_that_no_config_tells_is_a_warning(search, make_tuner):
    """Where the builder has changed: it says which of the two may be wrong."""
    search(scaling(2), n_trials=1)
    make_tuner(scaling(2)).best_model()
    tuner = make_tuner(scaling(3))
    for read in (tuner.best_model, lambda: tuner.best_model(0), lambda: tuner.best_models(1)):
        with pytest.warns(UserWarning, match="model is wrong although") as got:
            read()
        assert {one.filename for one in got} == {__file__}


MODELS = {
    "subclassed": lambda other: Subclassed(lambda: kl.Dense(2 + other)),
    "wires": branched,
    "operations": lambda other: computed(keras.ops.subtract if other else keras.ops.add),
    "nested": lambda other: of(of(kl.Dense(4, "tanh" if other else "relu"))),
    "recurrent": lambda other: of(kl.Bidirectional(kl.GRU(3, reset_after=not other))),
    "precision": lambda other: of(kl.Dense(4, dtype="mixed_float16" if other else "float32")),
    "slope": lambda other: of(kl.LeakyReLU(0.2 if other else 0.3)),
    "regularizer": lambda other: of(kl.Dense(4, kernel_regularizer="l2" if other else "l1")),
    "lambda": lambda other: of(kl.Lambda(lambda x: x), kl.Dense(2, use_bias=other)),
    "augmentation": lambda other: of(kl.RandAugment(), kl.RandomFlip(), kl.Dense(3 - other)),
    "text": lambda other: of(kl.TextVectorization(vocabulary=["a", "b" if other else "c"])),
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_models_are_told_apart(make):
    """Two builds of one model are the same, and another one is not."""
    assert digest_of(make(False)) == digest_of(make(False)) != digest_of(make(True))


def test_training_and_building_change_nothing():
    """A model that came unbuilt is the same when it was trained."""
    model = compiled(of(kl.BatchNormalization(), kl.Dense(3), kl.Dropout(0.5)))
    before = digest_of(model)
    model.fit(np.zeros((8, 4)), np.zeros(8), verbose=0)
    model.layers[1].trainable = False
    assert digest_of(model) == before
