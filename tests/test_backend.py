"""What we rely on of Keras's private API: a new version that differs fails here."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerastune_optuna import _backend

ONLY_TENSORFLOW = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="other backends trace nothing"
)


@pytest.fixture
def model():
    model = keras.Sequential([keras.Input((2, 3)), keras.layers.Dense(1)])
    model.compile(loss="mse", metrics=["mae"], weighted_metrics=[keras.metrics.MeanSquaredError()])
    return model


def test_what_compile_got(model):
    """`_compile_metrics` holds the metrics that it was given."""
    given = _backend.compiled_metrics(model)
    assert [getattr(one, "name", one) for one in given] == ["mae", "mean_squared_error"]
    assert _backend.compiled_metrics(keras.Sequential()) == []


@ONLY_TENSORFLOW
def test_a_model_is_built_without_data(model):
    """`_symbolic_build` makes metrics and loss of a symbolic batch, and leaves the optimizer."""
    batch = keras.KerasTensor((4, 2, 3)), keras.KerasTensor((4, 2, 1))
    _backend.build_symbolically(model, batch)
    assert model._compile_metrics.built
    assert model._compile_loss.built
    assert not model.optimizer.built


@ONLY_TENSORFLOW
def test_a_model_that_is_built_keeps_several_optimizers():
    """A model with a fit of its own may have a dict of them, or none."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(loss="mse")
    model.optimizer = own = {"of the first": keras.optimizers.Adam()}
    _backend.build_symbolically(model, (keras.KerasTensor((4, 2)), keras.KerasTensor((4, 1))))
    assert model.optimizer == own


@ONLY_TENSORFLOW
def test_keras_makes_a_pipeline_of_arrays():
    """ArrayDataAdapter gives the batches of fit, and train_validation_split() its split."""
    x, y = np.arange(10.0), np.arange(10)
    assert _backend.are_arrays((x, y, None))
    assert not _backend.are_arrays((iter(x), None, None))
    batches = list(_backend.pipeline_of(x=x, y=y, sample_weight=None, batch_size=4))
    assert [y.numpy().tolist() for _, y in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    train, validation = _backend.split_as_fit((x, y, None), 0.3)
    assert (train[1].tolist(), validation[1].tolist()) == ([0, 1, 2, 3, 4, 5, 6], [7, 8, 9])


@ONLY_TENSORFLOW
def test_a_pipeline_tells_its_stages():
    """The bytes that it holds and the size of its batches are known without reading it."""
    data = tf.data.Dataset.from_tensor_slices((np.zeros((6, 2)), np.zeros(6)))
    batches = data.shuffle(6).batch(4).prefetch(1)
    assert _backend.held_by(batches) == 6 * 3 * 8
    assert _backend.batch_size_of(batches) == 4
    assert _backend.batch_size_of(data) is None


def test_tensorflow_tells_which_ops_have_a_state():
    """An op that draws at random has a state, and so has one that TensorFlow does not know."""
    assert _backend.is_stateful("RandomUniform")
    assert _backend.is_stateful("NoSuchOp")
    assert not _backend.is_stateful("Add")


def test_tensorflow_registers_gradients_by_name():
    """Its registry is a dict, into which a custom gradient that is traced adds an entry."""
    registry = _backend._gradients()
    before = set(registry)

    @tf.custom_gradient
    def double(x):
        return 2 * x, lambda above: 2 * above

    tf.function(double).get_concrete_function(tf.TensorSpec((), tf.float32))
    added = set(registry) - before
    assert added
    assert all(name.startswith("CustomGradient-") for name in added)
