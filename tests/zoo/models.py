"""One animal for each way in which Keras's documentation makes, compiles or trains a model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import layers as kl
from keras import ops

from tests.zoo.animal import Animal, compiled, for_itself, on_targets, rate
from tests.zoo.layers import images, series, table


class Subclassed(keras.Model):
    """Know its layers, and its inputs with the first batch."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = kl.Dense(8, activation="relu")
        self.dropout = kl.Dropout(0.3)
        self.outputs_of = kl.Dense(3, activation="softmax")

    def call(self, x: Any, training: bool = False) -> Any:
        """Call one layer after the other."""
        return self.outputs_of(self.dropout(self.hidden(x), training=training))


class SaysBuilt(Subclassed):
    """Say that it is built before its layers are."""

    def __init__(self) -> None:
        super().__init__()
        self.built = True


class BuildSaysBuilt(Subclassed):
    """Have a `build` that does no more than say so."""

    def build(self, input_shape: Any) -> None:
        """Say that all is built."""
        self.built = True


class Sampling(kl.Layer):
    """Draw a point from the normal distribution that an encoder describes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.seeds = keras.random.SeedGenerator(11)

    def call(self, inputs: Any) -> Any:
        """Draw one point for each row."""
        mean, spread = inputs
        noise = keras.random.normal(ops.shape(mean), seed=self.seeds)
        return mean + ops.exp(0.5 * spread) * noise


def encoder_and_decoder() -> tuple[keras.Model, keras.Model]:
    """Return the two halves of an autoencoder of a table."""
    inputs = keras.Input((8,))
    seen = kl.Dense(8, activation="relu")(inputs)
    mean, spread = kl.Dense(2)(seen), kl.Dense(2)(seen)
    encoder = keras.Model(inputs, [mean, spread, Sampling()([mean, spread])])
    code = keras.Input((2,))
    return encoder, keras.Model(code, kl.Dense(8)(kl.Dense(8, activation="relu")(code)))


class Losses(keras.Model):
    """Have losses of its own, whose means are its metrics, and train on TensorFlow."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.means = [keras.metrics.Mean(name=name) for name in names]

    @property
    def metrics(self) -> list[Any]:
        """The means that an epoch begins anew."""
        return self.means

    def noted(self, *losses: Any) -> dict[str, Any]:
        """Take the losses of a batch, and return the means so far."""
        for mean, loss in zip(self.means, losses, strict=True):
            mean.update_state(loss)
        return {mean.name: mean.result() for mean in self.means}


class VariationalAutoencoder(Losses):
    """Be trained by a step of its own, without a `call`, as keras.io's example is."""

    def __init__(self, encoder: keras.Model, decoder: keras.Model) -> None:
        super().__init__("loss", "reconstruction", "divergence")
        self.encoder, self.decoder = encoder, decoder

    def train_step(self, data: Any) -> dict[str, Any]:
        """Train on one batch, as TensorFlow does."""
        import tensorflow as tf

        x = data[0] if isinstance(data, tuple) else data
        with tf.GradientTape() as tape:
            mean, spread, code = self.encoder(x)
            error = ops.mean(ops.sum(ops.square(x - self.decoder(code)), axis=1))
            apart = 1 + spread - ops.square(mean) - ops.exp(spread)
            divergence = ops.mean(ops.sum(-0.5 * apart, axis=1))
            loss = error + divergence
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        return self.noted(loss, error, divergence)


class Denoiser(Losses):
    """Tell the noise in a row from the row and a time, which its steps draw, as diffusion does."""

    def __init__(self) -> None:
        super().__init__("loss")
        noisy, times = keras.Input((8,)), keras.Input((1,))
        seen = kl.Dense(8, activation="relu")(kl.Concatenate()([noisy, times]))
        self.network = keras.Model([noisy, times], kl.Dense(8)(seen))
        self.seeds = keras.random.SeedGenerator(17)

    def call(self, noisy: Any, times: Any) -> Any:
        """Take rows with noise, which no data has."""
        return self.network([noisy, times])

    def _error(self, data: Any) -> Any:
        x = data[0] if isinstance(data, tuple) else data
        times = keras.random.uniform((ops.shape(x)[0], 1), seed=self.seeds)
        noise = keras.random.normal(ops.shape(x), seed=self.seeds)
        return ops.mean(ops.square(noise - self.network([x + times * noise, times])))

    def train_step(self, data: Any) -> dict[str, Any]:
        """Train on one batch, as TensorFlow does."""
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = self._error(data)
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        return self.noted(loss)

    def test_step(self, data: Any) -> dict[str, Any]:
        """Look at one batch."""
        return self.noted(self._error(data))


class OwnLoss(keras.Model):
    """Compute its loss itself, which all backends train by."""

    def compute_loss(self, *arguments: Any, **options: Any) -> Any:
        """Return twice the usual loss."""
        return 2 * super().compute_loss(*arguments, **options)


class OwnDense(kl.Layer):
    """Be a dense layer that a user wrote, with a penalty on what it gives."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.units = units

    def build(self, shape: Any) -> None:
        """Make the weights."""
        self.kernel = self.add_weight(shape=(shape[-1], self.units), initializer="he_normal")

    def call(self, x: Any) -> Any:
        """Multiply, and add the penalty."""
        given = ops.relu(ops.matmul(x, self.kernel))
        self.add_loss(1e-3 * ops.mean(ops.square(given)))
        return given


def plain(trial: Any, loss: Any = "sparse_categorical_crossentropy", **options: Any) -> keras.Model:
    """Return a small classifier of the table."""
    layers = [keras.Input((8,)), kl.Dense(8, activation="relu"), kl.Dense(3, activation="softmax")]
    return compiled(keras.Sequential(layers), trial, loss, **options)


def of_kind(kind: Callable[[], keras.Model]) -> Callable[[Any], keras.Model]:
    """Return a builder of a model that a function without arguments makes."""
    return lambda trial: compiled(kind(), trial)


def built_by_shape(kind: Callable[[], keras.Model]) -> Callable[[], keras.Model]:
    """Return a maker of a model whose `build` is called with a shape alone."""

    def make() -> keras.Model:
        model = kind()
        model.build((None, 8))
        return model

    return make


def with_optimizer(make: Callable[[Any], Any]) -> Callable[[Any], keras.Model]:
    """Return a builder with an optimizer that is made from the trial's learning rate."""
    return lambda trial: plain(trial, optimizer=make(rate(trial)))


def two_inputs(trial: Any) -> keras.Model:
    """Return a model with two inputs and two outputs, each with a loss of its own."""
    one, other = keras.Input((8,), name="one"), keras.Input((12, 4), name="other")
    seen = kl.Concatenate()([kl.Dense(6, activation="relu")(one), kl.GRU(6)(other)])
    kinds = kl.Dense(3, activation="softmax", name="kind")(seen)
    sizes = kl.Dense(1, name="size")(seen)
    losses = {"kind": "sparse_categorical_crossentropy", "size": "mse"}
    model = keras.Model({"one": one, "other": other}, {"kind": kinds, "size": sizes})
    weights = {"kind": 1.0, "size": 0.5}
    model.compile(keras.optimizers.Adam(rate(trial)), losses, loss_weights=weights)
    return model


def both() -> dict[str, Any]:
    """Return tables and series beside each other, with a class and a size for each row."""
    parts, others = table(), series()
    inputs = {"one": parts["x"], "other": others["x"]}
    held_out = {"one": parts["validation_data"][0], "other": others["validation_data"][0]}

    def targets(y: Any) -> dict[str, Any]:
        return {"kind": y, "size": y.astype("float32") / 2}

    return {
        "x": inputs,
        "y": targets(parts["y"]),
        "validation_data": (held_out, targets(parts["validation_data"][1])),
    }


def of_two_inputs_subclassed(trial: Any) -> keras.Model:
    """Return a subclassed model that takes a dict."""

    class Both(keras.Model):
        """Join what two layers see."""

        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = kl.Dense(6, activation="relu"), kl.GRU(6, dropout=0.2)
            self.last = kl.Dense(3, activation="softmax")

        def call(self, inputs: Any, training: bool = False) -> Any:
            """Call both."""
            others = self.other(inputs["other"], training=training)
            return self.last(ops.concatenate([self.one(inputs["one"]), others], axis=-1))

    return compiled(Both(), trial)


def both_with_one_target() -> dict[str, Any]:
    """Return tables and series beside each other, with a class for each row."""
    return on_targets(lambda targets: targets["kind"], both())


def autoencoder(trial: Any) -> keras.Model:
    """Return a convolutional autoencoder."""
    layers = [
        keras.Input((8, 8, 3)),
        kl.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
        kl.Conv2DTranspose(4, 3, strides=2, padding="same", activation="relu"),
        kl.Conv2D(3, 3, padding="same"),
    ]
    return compiled(keras.Sequential(layers), trial, "mse", ())


def residual(trial: Any) -> keras.Model:
    """Return a model with two nested ones, with batch normalization in each."""

    def block(name: str) -> keras.Model:
        layers = [kl.Dense(8), kl.BatchNormalization(), kl.ReLU()]
        return keras.Sequential([keras.Input((8,)), *layers], name=name)

    inputs = keras.Input((8,))
    seen = inputs
    for name in ("first", "second"):
        seen = kl.Add()([seen, block(name)(seen)])
    return compiled(keras.Model(inputs, kl.Dense(3, activation="softmax")(seen)), trial)


def siamese(trial: Any) -> keras.Model:
    """Return a model that uses one layer twice."""
    inputs = keras.Input((8,))
    shared = kl.Dense(8, activation="tanh")
    seen = kl.Concatenate()([shared(inputs), shared(-inputs)])
    return compiled(keras.Model(inputs, kl.Dense(3, activation="softmax")(seen)), trial)


def half_frozen(trial: Any) -> keras.Model:
    """Return a model whose lower half stays as it was made."""
    base = keras.Sequential([keras.Input((8,)), kl.Dense(8), kl.BatchNormalization()], name="base")
    base.trainable = False
    layers = [keras.Input((8,)), base, kl.Dense(3, activation="softmax")]
    return compiled(keras.Sequential(layers), trial)


class TwoPhases:
    """Train a head on a frozen base, and then both more slowly."""

    def __call__(self, trial: Any) -> keras.Model:
        """Return the model with its base frozen."""
        return half_frozen(trial)

    def fit(self, trial: Any, model: keras.Model, epochs: int, **keywords: Any) -> Any:
        """Train in two phases, whose epochs are numbered on."""
        model.fit(epochs=epochs, **keywords)
        model.get_layer("base").trainable = True
        compiled(model, trial, optimizer=keras.optimizers.Adam(rate(trial) / 10))
        return model.fit(initial_epoch=epochs, epochs=2 * epochs, **keywords)


class TwoPhasesCountedAnew(TwoPhases):
    """Train in two phases that both count their epochs from 0."""

    def fit(self, trial: Any, model: keras.Model, **keywords: Any) -> Any:
        """Train twice."""
        model.fit(**keywords)
        model.get_layer("base").trainable = True
        compiled(model, trial, optimizer=keras.optimizers.Adam(rate(trial) / 10))
        return model.fit(**keywords)


def autoencoder_of_chance(trial: Any) -> keras.Model:
    """Return keras.io's variational autoencoder, for a table."""
    model = VariationalAutoencoder(*encoder_and_decoder())
    model.compile(optimizer=keras.optimizers.Adam(rate(trial)))
    return model


def autoencoder_of_chance_with_penalties(trial: Any) -> keras.Model:
    """Return a variational autoencoder that all backends train."""

    class Penalty(kl.Layer):
        """Add the divergence to the loss."""

        def call(self, inputs: Any) -> Any:
            """Return the mean as it came."""
            mean, spread = inputs
            apart = 1 + spread - ops.square(mean) - ops.exp(spread)
            self.add_loss(-0.5 * ops.mean(apart))
            return mean

    inputs = keras.Input((8,))
    seen = kl.Dense(8, activation="relu")(inputs)
    mean, spread = kl.Dense(2)(seen), kl.Dense(2)(seen)
    code = Sampling()([Penalty()([mean, spread]), spread])
    return compiled(keras.Model(inputs, kl.Dense(8)(code)), trial, "mse", ())


def denoiser(trial: Any) -> keras.Model:
    """Return a model of diffusion, for a table."""
    model = Denoiser()
    model.compile(keras.optimizers.Adam(rate(trial)))
    return model


def low_ranks(trial: Any) -> keras.Model:
    """Return a model of which low ranks alone are trained, as in fine-tuning."""
    model = plain(trial)
    for layer in model.layers:
        layer.enable_lora(trial.suggest_int("rank", 1, 3))
    return compiled(model, trial)


def rows_alone() -> dict[str, Any]:
    """Return the rows of the table, which are all that a generating model needs."""
    return {"x": table()["x"]}


def rows_for_themselves() -> dict[str, Any]:
    """Return the rows of the table as inputs and targets."""
    return for_itself(table())


def own_loss(trial: Any) -> keras.Model:
    """Return a functional model with a loss of its own."""
    inputs = keras.Input((8,))
    outputs = kl.Dense(3, activation="softmax")(kl.Dense(8, activation="relu")(inputs))
    return compiled(OwnLoss(inputs, outputs), trial)


def own_layer(trial: Any) -> keras.Model:
    """Return a model with a layer that a user wrote."""
    layers = [keras.Input((8,)), OwnDense(8), kl.Dense(3, activation="softmax")]
    return compiled(keras.Sequential(layers), trial)


def own_functions(trial: Any) -> keras.Model:
    """Return a model whose loss and metric are a user's functions."""

    def loss(y: Any, predicted: Any) -> Any:
        return keras.losses.sparse_categorical_crossentropy(y, predicted) + 0.1

    def share(y: Any, predicted: Any) -> Any:
        return ops.mean(predicted)

    return plain(trial, loss, metrics=(share,))


def many_metrics(trial: Any) -> keras.Model:
    """Return a model with metrics that hold states of their own."""
    names = (keras.metrics.AUC(name="auc"), keras.metrics.F1Score("macro", name="f1"), "accuracy")
    return plain(trial, "categorical_crossentropy", metrics=names)


def in_one_hot() -> dict[str, Any]:
    """Return the table with a column for each class."""
    return on_targets(lambda y: keras.utils.to_categorical(y, 3), table())


def with_batch_size(trial: Any) -> tuple[keras.Model, dict[str, Any]]:
    """Return a model and its batch size."""
    sizes = {"batch_size": trial.suggest_categorical("batch_size", [8, 16])}
    return plain(trial), sizes


def weights_of_rows() -> dict[str, Any]:
    """Return the table with a weight for each row, in validation too."""
    data = table()
    held_out = (*data["validation_data"], np.linspace(0.5, 1.5, 32))
    return {**data, "sample_weight": np.linspace(0.2, 1.8, 64), "validation_data": held_out}


def weights_of_classes() -> dict[str, Any]:
    """Return the table with a weight for each class."""
    return {**table(), "class_weight": {0: 1.0, 1: 2.0, 2: 0.5}}


def a_fraction() -> dict[str, Any]:
    """Return the table, of which `fit` holds out a fraction."""
    data = table()
    return {"x": data["x"], "y": data["y"], "validation_split": 0.25}


def schedule(rate: float) -> Any:
    """Return an optimizer whose rate falls along a cosine."""
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, 6))


KINDS: dict[str, Callable[[], keras.Model]] = {
    "subclassed": Subclassed,
    "subclassed_says_built": SaysBuilt,
    "subclassed_build_says_built": built_by_shape(BuildSaysBuilt),
    "subclassed_built_by_shape": built_by_shape(Subclassed),
}
OPTIMIZERS: dict[str, Callable[[float], Any]] = {
    "ema": lambda rate: keras.optimizers.Adam(rate, use_ema=True, ema_overwrite_frequency=2),
    "schedule": schedule,
    "adamw_clipped": lambda rate: keras.optimizers.AdamW(rate, clipnorm=0.5),
    "nesterov": lambda rate: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
    "accumulated": lambda rate: keras.optimizers.Adam(rate, gradient_accumulation_steps=2),
    "loss_scaled": lambda rate: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(rate)),
    "lion": lambda rate: keras.optimizers.Lion(rate / 10),
    "rmsprop": lambda rate: keras.optimizers.RMSprop(rate, centered=True),
}

ANIMALS: dict[str, Animal] = {
    **{name: Animal(of_kind(kind), table) for name, kind in KINDS.items()},
    **{name: Animal(with_optimizer(make), table) for name, make in OPTIMIZERS.items()},
    "two_inputs_two_outputs": Animal(two_inputs, both),
    "dict_subclassed": Animal(of_two_inputs_subclassed, both_with_one_target),
    "autoencoder": Animal(autoencoder, lambda: for_itself(images())),
    "residual_batch_norm": Animal(residual, table),
    "shared_layer": Animal(siamese, table),
    "half_frozen": Animal(half_frozen, table),
    "two_phases": Animal(TwoPhases(), table),
    "two_phases_counted_anew": Animal(TwoPhasesCountedAnew(), table),
    "vae": Animal(autoencoder_of_chance, rows_alone, "loss", evaluates=False),
    "vae_add_loss": Animal(autoencoder_of_chance_with_penalties, rows_for_themselves),
    "diffusion": Animal(denoiser, rows_for_themselves),
    "lora": Animal(low_ranks, table),
    "swap_ema": Animal(
        with_optimizer(OPTIMIZERS["ema"]),
        table,
        fit={"callbacks": [keras.callbacks.SwapEMAWeights()]},
    ),
    "own_compute_loss": Animal(own_loss, table),
    "own_layer_add_loss": Animal(own_layer, table),
    "own_loss_and_metric": Animal(own_functions, table),
    "auc_and_f1": Animal(many_metrics, in_one_hot),
    "batch_size": Animal(with_batch_size, table),
    "run_eagerly": Animal(partial(plain, run_eagerly=True), table),
    "steps_per_execution": Animal(partial(plain, steps_per_execution=2), table),
    "jit_compile": Animal(partial(plain, jit_compile=True), table),
    "sample_weight": Animal(plain, weights_of_rows),
    "class_weight": Animal(plain, weights_of_classes),
    "validation_split": Animal(plain, a_fraction, evaluates=False),
    # 240 steps, from which on one call makes many of them.
    "many_steps_a_call": Animal(residual, table, fit={"epochs": 30, "batch_size": 8}),
    "many_steps_dropout": Animal(of_kind(Subclassed), table, fit={"epochs": 30, "batch_size": 8}),
}
