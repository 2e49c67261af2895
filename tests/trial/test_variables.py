"""Models that come without all of their variables: kept, rebuilt and loaded, or refused."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers, ops

from kerastune_optuna import BuilderError, OptunaTuner, WeightsError
from tests.support import forks
from tests.support.marks import mostly_nightly
from tests.zoo.models import denoiser

of_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="these steps are written for TensorFlow"
)
X = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")
Y = np.arange(24) % 3
KEPT = {}  # the weights that each trial ended with


class Subclassed(keras.Model):
    """Be a classifier that says nothing of its inputs."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3, activation="softmax")

    def call(self, x):
        """Predict."""
        return self.dense(x)


class SaysBuilt(Subclassed):
    """Call itself built from the beginning."""

    def __init__(self):
        super().__init__()
        self.built = True


class BuildsNothing(Subclassed):
    """Call itself built when it is asked to build."""

    def build(self, shape):
        """Build nothing."""
        self.built = True


class OfParts(keras.Model):
    """Take a dict or a list of inputs."""

    def __init__(self):
        super().__init__()
        self.embedding = layers.Embedding(4, 2)
        self.dense = layers.Dense(3, activation="softmax")
        self.built = True

    def call(self, inputs):
        """Predict from numbers and from words."""
        x, words = inputs.values() if isinstance(inputs, dict) else inputs
        return self.dense(ops.concatenate([x, ops.mean(self.embedding(words), 1)], 1))


def built_by_shape():
    """Return a model that Keras marks as built, with a warning, and does not build."""
    model = Subclassed()
    with warnings.catch_warnings(action="ignore"):
        model.build((None, 4))
    return model


def classifier(model, trial=None):
    """Return the model compiled, with a rate of learning to search for."""
    rate = trial.suggest_float("lr", 0.01, 0.1) if trial else 0.1
    model.compile(
        keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


def noting(trial):
    """Note what a trial ends with."""

    def note(logs):
        KEPT[trial.number] = callback.model.get_weights()

    callback = keras.callbacks.LambdaCallback(on_train_end=note)
    return callback


def searched(directory, build, x=X, y=Y, objective="val_loss", **options):
    """Search for one epoch a trial."""
    tuner = OptunaTuner(
        build, objective, n_trials=2, seed=0, directory=directory, study_name="test", **options
    )
    validation = {} if y is None else {"validation_data": (x, y)}
    fit = {**validation, "epochs": 1, "verbose": 0, "callbacks": [noting]}
    return tuner.search(x, y, **fit)


WORDS = np.arange(48).reshape(24, 2) % 4


UNBUILT = {
    "subclassed": (Subclassed, X),
    "says built": (SaysBuilt, X),
    "builds nothing": (BuildsNothing, X),
    "built by shape": (built_by_shape, X),
    "dict": (OfParts, {"a": X, "words": WORDS}),
    "list": (OfParts, [X, WORDS]),
}


@pytest.mark.parametrize(("make", "x"), mostly_nightly(UNBUILT, "says built", "dict"))
def test_a_model_that_came_without_variables_is_loaded_whole(make, x, tmp_path):
    """Whatever a model says of itself, best_model() evaluates to the best value."""
    tuner = searched(tmp_path, lambda trial: classifier(make(), trial), x)
    loss, _ = tuner.best_model().evaluate(x, Y, verbose=0)
    assert loss == pytest.approx(tuner.best_value, abs=1e-6)


class Part(keras.Model):
    """Be a network within another, with two layers and no inputs told."""

    def __init__(self, units):
        super().__init__()
        self.first, self.last = layers.Dense(8, activation="relu"), layers.Dense(units)

    def call(self, x):
        """Apply both layers."""
        return self.last(self.first(x))


def functional(n, units):
    """Return a network within another, built."""
    return keras.Sequential(
        [keras.Input((n,)), layers.Dense(8, activation="relu"), layers.Dense(units)]
    )


class VAE(keras.Model):
    """Encode and decode as keras.io's example does: with a step, and without a call."""

    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.seeds = keras.random.SeedGenerator(1337)
        self.tracker = keras.metrics.Mean(name="total_loss")

    @property
    def metrics(self):
        """The loss alone."""
        return [self.tracker]

    def train_step(self, data):
        """Train encoder and decoder."""
        import tensorflow as tf

        with tf.GradientTape() as tape:
            mean, log_var = ops.split(self.encoder(data), 2, axis=1)
            noise = keras.random.normal(ops.shape(mean), seed=self.seeds)
            decoded = self.decoder(mean + ops.exp(0.5 * log_var) * noise)
            fit = ops.mean(ops.square(data - decoded))
            loss = fit - 0.5 * ops.mean(1 + log_var - ops.square(mean) - ops.exp(log_var))
        self.optimizer.apply(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
        self.tracker.update_state(loss)
        return {"total_loss": self.tracker.result()}


class GAN(keras.Model):
    """Train two networks against each other, as keras.io's example does, each with an optimizer."""

    def __init__(self, discriminator, generator):
        super().__init__()
        self.discriminator, self.generator = discriminator, generator
        self.seeds = keras.random.SeedGenerator(1337)
        self.tracker = keras.metrics.Mean(name="total_loss")

    def compile(self, d_optimizer, g_optimizer):
        """Take both optimizers."""
        super().compile()
        self.d_optimizer, self.g_optimizer = d_optimizer, g_optimizer

    @property
    def metrics(self):
        """The loss alone."""
        return [self.tracker]

    def train_step(self, data):
        """Train one network after the other."""
        import tensorflow as tf

        loss_of = keras.losses.BinaryCrossentropy(from_logits=True)
        noise = keras.random.normal((ops.shape(data)[0], 2), seed=self.seeds)
        both = ops.concatenate([self.generator(noise), data], axis=0)
        labels = ops.concatenate(
            [ops.ones((ops.shape(data)[0], 1)), ops.zeros((ops.shape(data)[0], 1))], axis=0
        )
        with tf.GradientTape() as tape:
            loss = loss_of(labels, self.discriminator(both))
        weights = self.discriminator.trainable_weights
        self.d_optimizer.apply(tape.gradient(loss, weights), weights)
        with tf.GradientTape() as tape:
            faked = self.discriminator(self.generator(noise))
            other = loss_of(ops.zeros((ops.shape(data)[0], 1)), faked)
        weights = self.generator.trainable_weights
        self.g_optimizer.apply(tape.gradient(other, weights), weights)
        self.tracker.update_state(loss + other)
        return {"total_loss": self.tracker.result()}


def eager_denoiser(trial):
    """Return a Denoiser that TensorFlow runs without a graph."""
    model = denoiser(trial)
    model.run_eagerly = True
    return model


@of_tensorflow
@pytest.mark.parametrize("build", mostly_nightly([denoiser, eager_denoiser], "denoiser"))
def test_a_model_that_its_steps_call_with_something_else_than_the_data_is_loaded_whole(
    build, tmp_path
):
    """All of its variables are there, though Keras never marks it as built."""
    tuner = OptunaTuner(build, "val_loss", n_trials=2, seed=0, directory=tmp_path)
    rows = np.hstack([X, X])
    tuner.search(rows, validation_data=rows, epochs=2, verbose=0)
    loss = tuner.best_model().evaluate(rows, verbose=0)
    assert loss == pytest.approx(tuner.best_value, abs=1e-6)


def vae(trial, parts=functional):
    """Return a VAE of built or of unbuilt parts."""
    model = VAE(*((functional(4, 4), functional(2, 4)) if parts else (Part(4), Part(4))))
    model.compile(keras.optimizers.Adam(trial.suggest_float("lr", 0.01, 0.1)))
    return model


def gan(trial, parts=functional):
    """Return a GAN of built or of unbuilt parts."""
    model = GAN(*((functional(4, 1), functional(2, 4)) if parts else (Part(1), Part(4))))
    rate = trial.suggest_float("lr", 0.01, 0.1)
    model.compile(keras.optimizers.Adam(rate), keras.optimizers.Adam(rate))
    return model


def unbuilt_vae(trial):
    """Return a VAE of parts that only its step builds."""
    return vae(trial, parts=None)


def unbuilt_gan(trial):
    """Return a GAN of parts that only its step builds."""
    return gan(trial, parts=None)


@of_tensorflow
@pytest.mark.parametrize(
    "build", mostly_nightly([vae, gan, unbuilt_vae, unbuilt_gan], "unbuilt_gan")
)
def test_a_model_of_parts_is_tuned_and_loaded_whole(build, tmp_path):
    """The best model has the very weights that its trial had, of all of its networks."""
    tuner = searched(tmp_path, build, y=None, objective="total_loss", direction="minimize")
    model = tuner.best_model()
    number = tuner.best_trial.number
    assert tuner.best_trial.user_attrs["n_params"] == model.count_params() > 0
    assert len(KEPT[number]) == len(model.weights) == 8
    for kept, weight in zip(KEPT[number], model.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, weight)


FRESH = """
import sys
import numpy as np
from kerastune_optuna import OptunaTuner
from tests.support import forks
from tests.trial.test_variables import unbuilt_gan

tuner = OptunaTuner(unbuilt_gan, "total_loss", direction="minimize", n_trials=2, seed=0,
                    directory=sys.argv[1], study_name="test")
np.savez(sys.argv[1] + "/weights.npz", *tuner.best_model().get_weights())
"""


@pytest.mark.nightly
@of_tensorflow
def test_a_fresh_process_builds_the_parts_again(tmp_path):
    """Another process hands out the same weights."""
    tuner = searched(tmp_path, unbuilt_gan, y=None, objective="total_loss", direction="minimize")
    forks.run(
        [sys.executable, "-c", FRESH, str(tmp_path)],
        cwd=Path(__file__).parent.parent.parent,
        check=True,
    )
    with np.load(tmp_path / "weights.npz") as fresh:
        for kept, weight in zip(KEPT[tuner.best_trial.number], fresh.values(), strict=True):
            np.testing.assert_array_equal(kept, weight)


class Forgetful(layers.Layer):
    """Keep a variable out of every file."""

    def build(self, shape):
        """Make it."""
        self.scale = self.add_weight(shape=(), initializer="random_normal", name="scale")

    def call(self, x):
        """Scale."""
        return x * self.scale

    def save_own_variables(self, store):
        """Save nothing."""

    def load_own_variables(self, store):
        """Load nothing."""


@pytest.mark.slow
def test_weights_that_were_not_loaded_are_an_error(tmp_path):
    """A layer that loads nothing leaves no half trained model in the user's hands."""

    def build(trial):
        dense = layers.Dense(3, activation="softmax")
        return classifier(keras.Sequential([keras.Input((4,)), Forgetful(), dense]), trial)

    with pytest.raises(WeightsError, match=r"of trial \d could not all be loaded"):
        searched(tmp_path, build).best_model()


@of_tensorflow
def test_what_cannot_be_built_again_is_refused_before_training(tmp_path):
    """A model that only running its steps builds is an error of the first trial, in one line."""
    ran = []

    def build(trial):
        model = unbuilt_gan(trial)
        model.run_eagerly = True
        model.discriminator.call = lambda x: ran.append(float(ops.sum(x))) or x
        return model

    with pytest.raises(BuilderError, match=r"Call the model, or each of its parts, once") as came:
        searched(tmp_path, build, y=None, objective="total_loss", direction="minimize")
    assert len(str(came.value).splitlines()) == 1
    assert ran == []


@of_tensorflow
@pytest.mark.parametrize("build", mostly_nightly([vae, unbuilt_vae], "unbuilt_vae"))
def test_a_model_of_parts_goes_on_from_its_backup(build, tmp_path):
    """Its networks are made before the backup is loaded, and no epoch is lost."""
    ran = []

    def interrupt(epoch, logs):
        ran.append(epoch)
        if ran == [0, 1, 2]:
            raise KeyboardInterrupt

    def search():
        options = {"n_trials": 1, "seed": 0, "directory": tmp_path, "backup_every": 0}
        tuner = OptunaTuner(build, "total_loss", direction="minimize", **options)
        counting = keras.callbacks.LambdaCallback(on_epoch_end=interrupt)
        callbacks = [noting, lambda trial: counting]
        return tuner.search(X, epochs=4, verbose=0, callbacks=callbacks)

    with pytest.raises(KeyboardInterrupt):
        search()
    tuner = search()
    assert ran == [0, 1, 2, 2, 3]
    assert sorted(tuner.best_trial.intermediate_values) == [0, 1, 2, 3]
    assert tuner.best_model().count_params() == tuner.best_trial.user_attrs["n_params"]
