"""Models that come without all of their variables: kept, rebuilt and loaded, or refused.

The zoo of .ci/nightly has more kinds of them, and opens their studies in other processes.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

from kerastune_optuna import BuilderError, WeightsError
from tests.support.falling import Falling
from tests.support.marks import mostly_nightly
from tests.zoo.models import denoiser

of_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="these steps are written for TensorFlow"
)
X = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")
Y = np.arange(24) % 3
WORDS = np.arange(48).reshape(24, 2) % 4


class SaysBuilt(keras.Model):
    """Be a classifier that says nothing of its inputs, and calls itself built."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3, activation="softmax")
        self.built = True

    def call(self, x):
        """Predict."""
        return self.dense(x)


class OfParts(SaysBuilt):
    """Take a dict or a list of inputs."""

    def __init__(self):
        super().__init__()
        self.embedding = layers.Embedding(4, 2)

    def call(self, inputs):
        """Predict from numbers and from words."""
        x, words = inputs.values() if isinstance(inputs, dict) else inputs
        return self.dense(ops.concatenate([x, ops.mean(self.embedding(words), 1)], 1))


class Task(keras.Model):
    """Turn texts into numbers as KerasHub does: by a layer that Keras never builds."""

    def __init__(self):
        inputs = keras.Input((4,))
        super().__init__(inputs, layers.Dense(3, "softmax")(inputs))
        self.preprocessor = layers.Layer()

    def fit(self, x, validation_data, **others):
        """Train on the numbers."""
        return super().fit(numbers(x), validation_data=[*map(numbers, validation_data)], **others)

    def evaluate(self, x, *rest, **others):
        """Evaluate on the numbers, which fit() has for validation."""
        return super().evaluate(numbers(x), *rest, **others)


def numbers(texts):
    """Return the numbers that texts say, or those that came."""
    return np.array([[float(text)] * 4 for text in texts]) if texts.dtype == object else texts


UNBUILT = {
    "says built": (SaysBuilt, X),
    "dict": (OfParts, {"a": X, "words": WORDS}),
    "list": (OfParts, [X, WORDS]),
    "task": (Task, np.array([f"0.{row}" for row in range(24)], object)),
}


@pytest.mark.parametrize(("make", "x"), mostly_nightly(UNBUILT, "says built", "dict", "task"))
def test_a_model_that_came_without_variables_is_loaded_whole(search, make, x):
    """Whatever a model says of itself, best_model() evaluates to the best value."""

    def build(trial):
        model, rate = make(), trial.suggest_float("lr", 0.01, 0.1)
        model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
        return model

    fit = {"x": x, "y": Y, "validation_data": (x, Y), "epochs": 1}
    tuner = search(build, "val_loss", fit=fit)
    loss = tuner.best_model().evaluate(x, Y, verbose=0)
    assert loss == pytest.approx(tuner.best_value, abs=1e-6)


@of_tensorflow
@pytest.mark.parametrize("eager", mostly_nightly([False, True], "False"))
def test_a_model_that_its_steps_call_with_something_else_than_the_data_is_loaded_whole(
    search, eager
):
    """All of its variables are there, though Keras never marks it as built."""

    def build(trial):
        model = denoiser(trial)
        model.run_eagerly = eager
        return model

    rows = np.hstack([X, X])
    tuner = search(build, "val_loss", fit={"x": rows, "y": None, "validation_data": rows})
    loss = tuner.best_model().evaluate(rows, verbose=0)
    assert loss == pytest.approx(tuner.best_value, abs=1e-6)


class Part(keras.Model):
    """Be a network within another, with two layers and no inputs told."""

    def __init__(self, units):
        super().__init__()
        self.first, self.last = layers.Dense(8, activation="relu"), layers.Dense(units)

    def call(self, x):
        """Apply both layers."""
        return self.last(self.first(x))


class Autoencoder(keras.Model):
    """Encode and decode as keras.io's VAE does: with a step, and without a call."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = Part(4), Part(4)
        self.seeds = keras.random.SeedGenerator(1337)

    def train_step(self, data):
        """Train encoder and decoder."""
        import tensorflow as tf

        with tf.GradientTape() as tape:
            code = self.encoder(data)
            noise = keras.random.normal(ops.shape(code), seed=self.seeds)
            loss = ops.mean(ops.square(data - self.decoder(code + noise)))
        self.optimizer.apply(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
        return {"total_loss": loss}


class GAN(keras.Model):
    """Train two networks against each other, as keras.io's example does, each with an optimizer."""

    def __init__(self):
        super().__init__()
        self.discriminator, self.generator = Part(1), Part(4)
        self.seeds = keras.random.SeedGenerator(1337)

    def compile(self, d_optimizer, g_optimizer):
        """Take both optimizers."""
        super().compile()
        self.d_optimizer, self.g_optimizer = d_optimizer, g_optimizer

    def train_step(self, data):
        """Train one network after the other."""
        import tensorflow as tf

        def told(rows):
            return ops.sigmoid(self.discriminator(rows))

        noise = keras.random.normal((ops.shape(data)[0], 2), seed=self.seeds)
        with tf.GradientTape() as tape:
            loss = ops.mean(told(data) - told(self.generator(noise)))
        weights = self.discriminator.trainable_weights
        self.d_optimizer.apply(tape.gradient(loss, weights), weights)
        with tf.GradientTape() as tape:
            other = ops.mean(told(self.generator(noise)))
        weights = self.generator.trainable_weights
        self.g_optimizer.apply(tape.gradient(other, weights), weights)
        return {"total_loss": loss + other}


def autoencoder(trial):
    """Return an autoencoder of parts that only its step builds."""
    model = Autoencoder()
    model.compile(keras.optimizers.Adam(trial.suggest_float("lr", 0.01, 0.1)))
    return model


def gan(trial):
    """Return a GAN of parts that only its step builds."""
    model, rate = GAN(), trial.suggest_float("lr", 0.01, 0.1)
    model.compile(keras.optimizers.Adam(rate), keras.optimizers.Adam(rate))
    return model


OF_ROWS = {"x": X, "y": None, "validation_data": None}
MINIMIZED = {"objective": "total_loss", "direction": "minimize"}


@pytest.mark.slow
@of_tensorflow
def test_a_model_of_parts_is_tuned_and_loaded_whole(search):
    """The best model has the very weights that its trial had, of all of its networks."""
    kept = []

    class Noting(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            kept.append(self.model.get_weights())

    fit = {**OF_ROWS, "epochs": 1, "callbacks": [Noting()]}
    tuner = search(gan, **MINIMIZED, fit=fit)
    model, trial = tuner.best_model(), tuner.best_trial
    assert trial.user_attrs["n_params"] == model.count_params() > 0
    assert len(kept[trial.number]) == len(model.weights) == 8
    assert all(map(np.array_equal, kept[trial.number], model.get_weights()))


@pytest.mark.slow
@of_tensorflow
def test_a_model_of_parts_goes_on_from_its_backup(search):
    """Its networks are made before the backup is loaded, and no epoch is lost."""
    ran = []

    def interrupt(epoch, logs):
        ran.append(epoch)
        if ran == [0, 1, 2]:
            raise KeyboardInterrupt

    fit = {"epochs": 4, "callbacks": [keras.callbacks.LambdaCallback(on_epoch_end=interrupt)]}
    options = {**MINIMIZED, "n_trials": 1, "backup_every": 0, "fit": {**OF_ROWS, **fit}}
    with pytest.raises(KeyboardInterrupt):
        search(autoencoder, **options)
    tuner = search(autoencoder, **options)
    assert ran == [0, 1, 2, 2, 3]
    assert sorted(tuner.best_trial.intermediate_values) == [0, 1, 2, 3]
    assert tuner.best_model().count_params() == tuner.best_trial.user_attrs["n_params"]


@of_tensorflow
def test_what_cannot_be_built_again_is_refused_before_training(search):
    """A model that only running its steps builds is an error of the first trial, in one line."""
    ran = []

    def build(trial):
        model = gan(trial)
        model.run_eagerly = True
        model.discriminator.call = lambda x: ran.append(float(ops.sum(x))) or x
        return model

    with pytest.raises(BuilderError, match=r"Call the model, or each of its parts, once") as came:
        search(build, **MINIMIZED, fit=OF_ROWS)
    assert len(str(came.value).splitlines()) == 1
    assert ran == []


def test_weights_that_were_not_loaded_are_an_error(search):
    """A layer that loads nothing leaves no half trained model in the user's hands."""

    class Forgetful(layers.Layer):
        def build(self, shape):
            self.scale = self.add_weight(shape=(), name="scale")

        def call(self, x):
            return x * self.scale

        def save_own_variables(self, store):
            pass

        def load_own_variables(self, store):
            pass

    with pytest.raises(WeightsError, match=r"of trial \d could not all be loaded"):
        search(lambda trial: Falling(Forgetful()), "val_loss")
