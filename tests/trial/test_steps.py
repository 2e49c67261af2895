"""Many steps a call change nothing that a user sees, and are made only where they pay."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerastune_optuna import OptunaTuner
from kerastune_optuna._data.fit import FitArguments
from kerastune_optuna._trial.fast import set_steps

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="only TensorFlow makes many steps in one call"
)

X, Y = np.random.default_rng(0).normal(size=(400, 8)).astype("float32"), np.arange(400) % 3
VALIDATION = (X[:100], Y[:100])
DATASET = tf.data.Dataset.from_tensor_slices((X, Y)).batch(10)
UNKNOWN = DATASET.filter(lambda x, y: True)
ENDLESS = {"x": DATASET.repeat(), "y": None}
Dense = keras.layers.Dense


def compiled(model, **options):
    model.compile("adam", "sparse_categorical_crossentropy", **options)
    return model


def of_layers(*layers, shape=(8,), kind=keras.Sequential, **options):
    return compiled(kind([keras.Input(shape), *layers]), **options)


def build(trial=None, **options):
    """Return a network with what depends on the seed: weights, dropout and normalisation."""
    others = [keras.layers.BatchNormalization(), keras.layers.Dropout(0.3)]
    return of_layers(Dense(16, "relu"), *others, Dense(3, "softmax"), **options)


def twice(x):
    return 2.0 * x


class Own(keras.layers.Layer):
    """Be a layer of the user's own."""

    def call(self, x):
        """Double."""
        return twice(x)


class OwnLoop(keras.Sequential):
    """Train in a way that Keras knows nothing of."""

    def make_train_function(self, force=False):
        """Return a function of one's own."""
        return super().make_train_function(force)


def steps_of(model, callbacks=(), x=X, y=Y, *, epochs=20, steps="auto", **others):
    """Return how many steps a call of the model makes after it was prepared."""
    fit = FitArguments(x, y, epochs, VALIDATION, 0.0, others, steps)
    set_steps(model, fit, list(callbacks))
    return model.steps_per_execution


def test_an_epoch_is_one_call():
    """Arrays of 13 batches and datasets of 40 make whole epochs a call."""
    assert steps_of(build()) == 13
    assert steps_of(build(), x=DATASET, y=None) == 40


@pytest.mark.parametrize(
    ("model", "arguments"),
    [
        (build, {"epochs": 15}),  # 195 steps do not pay for the tracing
        (build, {"x": UNKNOWN, "y": None}),
        (build, {"x": UNKNOWN, "y": None, "steps_per_epoch": 12}),  # it may end within an epoch
        (lambda: build(run_eagerly=True), {}),
        (build, {"callbacks": [keras.callbacks.TerminateOnNaN()]}),
        (build, {"callbacks": [keras.callbacks.LambdaCallback(on_train_batch_end=print)]}),
        (lambda: compiled(keras.Sequential([Dense(3)])), {}),  # without shapes before it sees data
        (lambda: of_layers(Dense(3, "silu")), {}),
        (lambda: of_layers(Own(), Dense(3)), {}),
        (lambda: of_layers(Dense(3, twice)), {}),
        (lambda: of_layers(Dense(3), kind=OwnLoop), {}),
        # A prime above the most that a call makes, and two numbers that have no divisor in common.
        (build, {"steps_per_epoch": 131, "validation_steps": 131, **ENDLESS}),
        (build, {"steps_per_epoch": 13, "validation_steps": 4, **ENDLESS}),
        (build, {"steps": 1}),
    ],
)
def test_where_it_does_not_pay_or_could_show_steps_are_single(model, arguments):
    """Short trainings, unknown sizes, batch callbacks and what was not measured stay as is."""
    assert steps_of(model(), **arguments) == 1


def test_callbacks_of_epochs_do_not_matter():
    """EarlyStopping and a checkpoint at each epoch act on no batch."""
    callbacks = [keras.callbacks.EarlyStopping(), keras.callbacks.ModelCheckpoint("a.keras")]
    assert steps_of(build(), callbacks) == 13


def test_the_builder_decides_first():
    """What the builder set stays, and an explicit number of steps goes before it."""
    assert steps_of(build(steps_per_execution=5)) == 5
    assert steps_of(build(steps_per_execution=5), steps=3) == 3


@pytest.mark.slow
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


def test_a_counted_epoch_is_cut_into_even_calls():
    """Of an endless dataset no call takes more than its epoch, nor than its validation."""
    assert steps_of(build(), **ENDLESS, steps_per_epoch=60) == 60
    assert steps_of(build(), **ENDLESS, steps_per_epoch=60, validation_steps=4) == 4
    assert steps_of(build(), **ENDLESS, steps_per_epoch=150) == 75


def wide(units):
    """Return a model with much work in each step."""
    return of_layers(*(Dense(units) for _ in range(4)))


def test_heavy_steps_come_in_small_calls():
    """The more work a step is, the fewer steps a call makes, so that Ctrl-C is prompt."""
    assert 4 <= steps_of(wide(4096), batch_size=4) < 60
    image = of_layers(keras.layers.Conv2D(64, 5, strides=2), shape=(256, 256, 3))
    images = np.zeros((400, 256, 256, 3), "float16")
    assert steps_of(image, x=images, y=None) < 10


def test_the_size_of_batches_is_read_from_the_pipeline():
    """A dataset's batches weigh what batch() was called with."""
    rows = tf.data.Dataset.from_tensor_slices(X).repeat(50)
    few, many = (steps_of(wide(2048), x=rows.batch(size).prefetch(1), y=None) for size in (512, 8))
    assert few < many
