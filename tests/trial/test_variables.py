"""Models that come without all of their variables: kept, rebuilt and loaded, or refused.

The zoo of .ci/nightly has more kinds of them, and opens their studies in other processes.
"""

from contextlib import nullcontext

import keras
import numpy as np
import pytest
from keras import layers, ops

from kerastune_optuna import BuilderError, WeightsError
from kerastune_optuna._trial.variables import check_untracked
from tests.support.falling import Falling

of_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="these steps are written for TensorFlow"
)
X = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")


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


@pytest.mark.slow
def test_a_layer_that_keras_never_builds_is_no_hindrance(search):
    """best_model() evaluates to the best value."""

    def build(trial):
        model, rate = Task(), trial.suggest_float("lr", 0.01, 0.1)
        model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
        return model

    x, y = np.array([f"0.{row}" for row in range(24)], object), np.arange(24) % 3
    tuner = search(build, "val_loss", fit={"x": x, "y": y, "validation_data": (x, y), "epochs": 1})
    loss = tuner.best_model().evaluate(x, y, verbose=0)
    assert loss == pytest.approx(tuner.best_value, abs=1e-6)


class Part(keras.Model):
    """Be a network within another, with two layers and no inputs told."""

    def __init__(self, units):
        super().__init__()
        self.first, self.last = layers.Dense(8, activation="relu"), layers.Dense(units)

    def call(self, x):
        """Apply both layers."""
        return self.last(self.first(x))


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
def test_a_model_that_its_steps_never_call_is_counted_after_each_training(search):
    """Keras counts no parameters of a model that it does not take for built."""

    def build(trial):
        model = gan(trial)
        model.discriminator(X), model.generator(X[:, :2])
        return model

    several = {"objective": ["total_loss", "n_params"], "direction": ["minimize", "auto"]}
    fit = {**OF_ROWS, "epochs": 1}
    tuner = search(build, **several, executions_per_trial=2, n_trials=1, fit=fit)
    assert tuner.best_trials[0].values[1] == tuner.best_trials[0].user_attrs["n_params"] > 0


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


class Scaled(layers.Layer):
    """Divide by a number in a variable of TensorFlow itself, as code of Keras 2 does."""

    def __init__(self, grows, is_apart):
        super().__init__()
        self.grows, self.is_apart = grows, is_apart

    def build(self, shape):
        """Make the variable, in a module of TensorFlow if it is apart."""
        import tensorflow as tf

        self.module = tf.Module()
        (self.module if self.is_apart else self).scale = tf.Variable(2.0, trainable=False)

    def call(self, x, training=False):
        """Divide, and let the number grow if it should."""
        scale = (self.module if self.is_apart else self).scale
        if training and self.grows:
            scale.assign_add(1.0)
        return x / scale


@of_tensorflow
@pytest.mark.parametrize("is_apart", [False, True])
@pytest.mark.parametrize("grows", [True, False])
def test_a_variable_that_keras_does_not_save_is_refused_if_it_changes(search, grows, is_apart):
    """The search says so once the first model is kept; a constant is no hindrance."""

    def build(trial):
        hidden = layers.Dense(trial.suggest_int("units", 2, 4))
        scaled = Scaled(grows, is_apart)
        model = keras.Sequential([keras.Input((4,)), hidden, scaled, layers.Dense(3)])
        model.compile("sgd", "mse", run_eagerly=True)
        return model

    fit = {"x": X, "y": X[:, :3], "validation_data": (X, X[:, :3]), "epochs": 1, "batch_size": 24}
    refused = pytest.raises(WeightsError, match=r"tf.Variable of layer 'scaled.*add_weight")
    with refused if grows else nullcontext():
        search(build, "val_loss", fit=fit, n_trials=1)


def holding(number):
    """Return a model with a layer that holds a number in a variable of TensorFlow itself."""
    import tensorflow as tf

    layer = layers.Layer(name="holding")
    layer.number = tf.Variable(number)
    return keras.Sequential([layer])


@of_tensorflow
def test_a_count_that_keras_does_not_save_ends_no_search():
    """It may be of steps, which no output depends on: a warning says that it begins anew."""
    with pytest.warns(UserWarning, match=r"layer 'holding' is not .* as it was after training"):
        check_untracked(holding(3), holding(0))


@of_tensorflow
def test_a_number_that_is_none_is_the_same_in_a_rebuilt_model():
    """NaN is unlike itself for Python, and yet has not changed."""
    check_untracked(holding(np.nan), holding(np.nan))
