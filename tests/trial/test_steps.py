"""Many steps a call change nothing that a user sees, and are made only where they pay."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerastune_optuna import OptunaTuner
from kerastune_optuna._data.fit import FitArguments
from kerastune_optuna._trial.steps import set_steps

# What PyTorch and JAX train with is left as the builder made it.
of_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="only TensorFlow makes many steps in one call"
)

X, Y = np.random.default_rng(0).normal(size=(400, 8)).astype("float32"), np.arange(400) % 3
VALIDATION = (X[:100], Y[:100])
DATASET = tf.data.Dataset.from_tensor_slices((X, Y)).batch(10)
UNKNOWN = DATASET.filter(lambda x, y: True)


def build(trial=None, **options):
    """Return a network with what depends on the seed: weights, dropout and normalisation."""
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(16, "relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(3, "softmax"),
        ]
    )
    metrics = ["accuracy"]
    model.compile("adam", "sparse_categorical_crossentropy", metrics=metrics, **options)
    return model


class Image(keras.Model):
    """Be a model that has no shapes before it sees data."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(3)

    def call(self, x):
        """Predict."""
        return self.dense(x)


class Own(keras.layers.Layer):
    """Be a layer of the user's own."""

    def call(self, x):
        """Double."""
        return twice(x)


def twice(x):
    """Double."""
    return 2.0 * x


def sized():
    """Return what a model with known inputs begins with."""
    return [keras.Input((8,))]


class OwnLoop(keras.Model):
    """Train in a way that Keras knows nothing of."""

    def make_train_function(self, force=False):
        """Return a function of one's own."""
        return super().make_train_function(force)


def compiled(model):
    """Return the model compiled."""
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def fit_arguments(x=X, y=Y, *, epochs=20, steps="auto", **others):
    """Return the arguments of a search."""
    return FitArguments(x, y, epochs, VALIDATION, 0.0, others, steps)


def steps_of(model, callbacks=(), **arguments):
    """Return how many steps a call of the model makes after it was prepared."""
    set_steps(model, fit_arguments(**arguments), list(callbacks))
    return model.steps_per_execution


@of_tensorflow
def test_an_epoch_is_one_call():
    """Arrays of 13 batches and datasets of 40 make whole epochs a call."""
    assert steps_of(build()) == 13
    assert steps_of(build(), x=DATASET, y=None) == 40


@pytest.mark.parametrize(
    ("model", "arguments"),
    [
        (build, {"epochs": 15}),  # 195 steps do not pay for the tracing
        (build, {"x": UNKNOWN, "y": None}),
        (lambda: build(run_eagerly=True), {}),
        (build, {"callbacks": [keras.callbacks.TerminateOnNaN()]}),
        (build, {"callbacks": [keras.callbacks.LambdaCallback(on_train_batch_end=print)]}),
        (lambda: compiled(Image()), {}),
        (lambda: compiled(keras.Sequential([*sized(), keras.layers.Dense(3, "silu")])), {}),
        (lambda: compiled(keras.Sequential([*sized(), Own(), keras.layers.Dense(3)])), {}),
        (lambda: compiled(keras.Sequential([*sized(), keras.layers.Dense(3, twice)])), {}),
        (lambda: compiled(OwnLoop(x := keras.Input((8,)), keras.layers.Dense(3)(x))), {}),
        # A prime above the most that a call makes, and two numbers that have no divisor in common.
        (build, {"steps_per_epoch": 131, "validation_steps": 131, "x": DATASET.repeat()}),
        (build, {"steps_per_epoch": 13, "validation_steps": 4, "x": DATASET.repeat()}),
        (build, {"steps": 1}),
    ],
)
def test_where_it_does_not_pay_or_could_show_steps_are_single(model, arguments):
    """Short trainings, unknown sizes, batch callbacks and what was not measured stay as is."""
    if "steps_per_epoch" in arguments:
        arguments = {**arguments, "y": None}
    assert steps_of(model(), **arguments) == 1


@of_tensorflow
def test_callbacks_of_epochs_do_not_matter():
    """EarlyStopping and a checkpoint at each epoch act on no batch."""
    callbacks = [keras.callbacks.EarlyStopping(), keras.callbacks.ModelCheckpoint("a.keras")]
    assert steps_of(build(), callbacks) == 13


@of_tensorflow
def test_the_builder_decides_first():
    """What the builder set stays, and an explicit number of steps goes before it."""
    assert steps_of(build(steps_per_execution=5)) == 5
    assert steps_of(build(steps_per_execution=5), steps=3) == 3


@pytest.mark.slow
@of_tensorflow
@pytest.mark.parametrize(("given", "steps"), [({}, 13), ({"steps_per_execution": 1}, 1)])
def test_search_takes_the_number_of_steps(tmp_path, given, steps):
    """A search of 260 steps makes an epoch a call, unless it is told to train step by step."""
    seen = []

    class Note(keras.callbacks.Callback):
        def __deepcopy__(self, memo):
            return self

        def on_epoch_begin(self, epoch, logs=None):
            seen.append(self.model.steps_per_execution)
            self.model.stop_training = True

    tuner = OptunaTuner(build, "val_loss", n_trials=1, directory=tmp_path)
    fit = {"validation_data": VALIDATION, "epochs": 20, "callbacks": [Note()], "verbose": 0}
    tuner.search(X, Y, **fit, **given)
    assert seen == [steps]


@of_tensorflow
def test_a_counted_epoch_is_cut_into_even_calls():
    """Of an endless dataset no call takes more than its epoch, nor than its validation."""
    endless = {"x": DATASET.repeat(), "y": None}
    assert steps_of(build(), **endless, steps_per_epoch=60) == 60
    assert steps_of(build(), **endless, steps_per_epoch=60, validation_steps=4) == 4
    assert steps_of(build(), **endless, steps_per_epoch=150) == 75


@of_tensorflow
def test_heavy_steps_come_in_small_calls():
    """The more work a step is, the fewer steps a call makes, so that Ctrl-C is prompt."""
    wide = [keras.Input((8,)), *(keras.layers.Dense(4096) for _ in range(4))]
    assert 4 <= steps_of(compiled(keras.Sequential(wide)), batch_size=4) < 60
    image = [keras.Input((256, 256, 3)), keras.layers.Conv2D(64, 5, strides=2)]
    images = np.zeros((400, 256, 256, 3), "float16")
    assert steps_of(compiled(keras.Sequential(image)), x=images, y=None) < 10


@of_tensorflow
def test_the_size_of_batches_is_read_from_the_pipeline():
    """A dataset's batches weigh what batch() was called with."""
    wide = [keras.Input((8,)), *(keras.layers.Dense(2048) for _ in range(4))]
    small, large = (
        tf.data.Dataset.from_tensor_slices(X).repeat(50).batch(size).prefetch(1)
        for size in (8, 512)
    )
    few = steps_of(compiled(keras.Sequential(wide)), x=large, y=None)
    assert few < steps_of(compiled(keras.Sequential(wide)), x=small, y=None)
