"""FLOPs: tools count what a formula gives, and what they would leave out is an error."""

from contextlib import suppress

import keras
import numpy as np
import pytest

from kerastune_optuna import _flops

BACKEND = keras.backend.backend()
ONLY_TENSORFLOW = pytest.mark.skipif(BACKEND != "tensorflow", reason="another tool counts there")
layers = keras.layers


def counted(model, batch=None):
    """Return what is counted of a model, of whose data this is a batch."""
    return _flops.count(model, lambda: batch)


def of(shape, layer):
    """Return what is counted of a model of one layer."""
    return counted(keras.Sequential([keras.Input(shape), layer]))


@pytest.mark.parametrize(
    ("shape", "layer", "multiplications"),
    [
        ((7,), lambda **one: layers.Dense(5, **one), 7 * 5),
        ((3, 7), lambda **one: layers.Dense(5, **one), 3 * 7 * 5),
        ((8, 8, 3), lambda **one: layers.Conv2D(4, 3, **one), 6 * 6 * 4 * (3 * 3 * 3)),
        ((8, 8, 4), lambda **one: layers.Conv2D(4, 3, groups=2, **one), 6 * 6 * 4 * (3 * 3 * 2)),
        ((8, 8, 4), lambda **one: layers.DepthwiseConv2D(3, **one), 6 * 6 * 4 * (3 * 3)),
        ((9, 3), lambda **one: layers.Conv1D(4, 3, strides=2, **one), 4 * 4 * (3 * 3)),
        ((5, 5, 5, 2), lambda **one: layers.Conv3D(4, 3, **one), 27 * 4 * (27 * 2)),
        ((6, 8), lambda **one: layers.EinsumDense("abc,cde->abde", (6, 2, 5), **one), 6 * 8 * 10),
    ],
    ids=["dense", "rows", "conv2d", "groups", "depthwise", "conv1d", "conv3d", "einsum"],
)
def test_a_layer_takes_what_its_formula_says(shape, layer, multiplications):
    """Each multiplication comes with an addition; a bias adds at most one for each output."""
    bias = {} if isinstance(layer(), layers.EinsumDense) else {"use_bias": False}
    assert of(shape, layer(**bias)) == 2 * multiplications


@pytest.mark.parametrize(
    ("activation", "added"), [(None, {"tensorflow": 5, "jax": 5}), ("relu", {"jax": 10})]
)
def test_some_tools_count_what_is_done_to_single_numbers(activation, added):
    """TensorFlow counts a bias, XLA an activation too, and PyTorch neither."""
    least = {"tensorflow": 5}.get(BACKEND, 0)
    assert of((7,), layers.Dense(5, activation)) == 70 + added.get(BACKEND, least)


def test_attention_takes_what_its_formula_says():
    """Four products have weights, and two are those of queries and keys, and of values."""
    x = keras.Input((6, 8))
    model = keras.Model(x, layers.MultiHeadAttention(2, 4, use_bias=False)(x, x))
    least = 2 * (4 * 6 * 8 * 2 * 4 + 2 * 6 * 6 * 2 * 4)
    assert least <= counted(model) <= least + 2 * 6 * 6 * 8 + 6 * 8, "softmax and a scale may count"


class Together(keras.Model):
    """A model without a graph that takes two inputs by their names."""

    def __init__(self):
        super().__init__()
        self.parts = [layers.Dense(5, use_bias=False), layers.Dense(3, use_bias=False)]

    def call(self, inputs):
        """Return what the layers make of both."""
        return [part(inputs[name]) for part, name in zip(self.parts, "ab", strict=True)]


def test_several_inputs_are_counted():
    """A graph says which inputs it takes; other models get those of the data."""
    a, b = keras.Input((7,), name="a"), keras.Input((4,), name="b")
    outputs = [layers.Dense(5, use_bias=False)(a), layers.Dense(3, use_bias=False)(b)]
    assert counted(keras.Model({"a": a, "b": b}, outputs)) == 2 * (7 * 5 + 4 * 3)
    model, batch = Together(), {"a": np.zeros((2, 7)), "b": np.zeros((2, 4))}
    model(batch)
    symbols = {name: keras.KerasTensor((None, *one.shape[1:])) for name, one in batch.items()}
    assert counted(model, (symbols, None)) == 2 * (7 * 5 + 4 * 3)


def test_an_open_size_is_that_of_the_data():
    """If the data leaves it open too, nothing can be counted."""
    model = keras.Sequential([keras.Input((None, 7)), layers.Dense(5, use_bias=False)])
    assert counted(model, (keras.KerasTensor((None, 3, 7)),)) == 2 * 3 * 7 * 5
    with pytest.raises(NotImplementedError, match=r"\(None, None, 7\), is open"):
        counted(model, (keras.KerasTensor((None, None, 7)),))


def test_counting_changes_nothing():
    """Neither variables nor generators are others, though a layer draws."""
    drawing = layers.Lambda(lambda x: x + keras.random.normal((1, 4), seed=drawn))
    drawn = keras.random.SeedGenerator(0)
    model = keras.Sequential([keras.Input((4,)), drawing, layers.BatchNormalization()])
    before = [*model.get_weights(), keras.ops.convert_to_numpy(drawn.state)]
    np.random.seed(0)
    with suppress(NotImplementedError):  # JAX draws in a loop
        counted(model)
    after = [*model.get_weights(), keras.ops.convert_to_numpy(drawn.state)]
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
    drawn_next = np.random.random()
    np.random.seed(0)
    assert np.random.random() == drawn_next


def test_a_loop_is_counted_whole_or_not_at_all():
    """An LSTM takes the multiplications of all of its steps; other tools would count one step."""
    unrolled = of((6, 3), layers.LSTM(5, unroll=True))
    assert unrolled >= 6 * 2 * (3 + 5) * 4 * 5
    if BACKEND == "torch":
        assert unrolled <= of((6, 3), layers.LSTM(5)) <= unrolled + 6 * 5
    else:
        told = r" does not count \S*[wW]hile \(an RNN needs unroll=True\)"
        with pytest.raises(NotImplementedError, match=told):
            of((6, 3), layers.LSTM(5))


def until_nine(x):
    """Count up, as often as the values say."""
    return keras.ops.while_loop(lambda y: keras.ops.sum(y) < 9, lambda y: (y + 1,), (x,))[0]


@ONLY_TENSORFLOW
@pytest.mark.parametrize(
    ("function", "operation"),
    [
        (lambda x: keras.ops.einsum("...ab,...cb->...ac", x, x), "Einsum"),
        (lambda x: keras.ops.fft((x, x))[0], "FFT"),
        (until_nine, "StatelessWhile"),
    ],
    ids=["einsum", "fft", "while"],
)
def test_what_would_be_left_out_is_an_error(function, operation):
    """TensorFlow's profiler takes these for nothing."""
    x = keras.Input((6, 3))
    model = keras.Model(x, layers.Lambda(function, output_shape=(5,))(x))
    with pytest.raises(NotImplementedError, match=f"does not count {operation}"):
        counted(model)
