"""One animal for each way in which Keras's documentation makes, compiles or trains a model."""

import tempfile
from functools import cache, partial

import keras
import numpy as np
from keras import layers as kl
from keras import ops, optimizers

from tests.zoo.animal import Animal, classifier, compiled, for_itself, on_targets, rate, sequential
from tests.zoo.layers import SERIES, images, series, table


class Subclassed(keras.Model):
    """Know its layers, and its inputs with the first batch."""

    def __init__(self):
        super().__init__()
        self.hidden = kl.Dense(8, activation="relu")
        self.dropout = kl.Dropout(0.3)
        self.outputs_of = kl.Dense(3, activation="softmax")

    def call(self, x, training=False):
        """Call one layer after the other."""
        return self.outputs_of(self.dropout(self.hidden(x), training=training))


class BuildSaysBuilt(Subclassed):
    """Have a `build` that does no more than say so."""

    def build(self, input_shape):
        """Say that all is built."""
        self.built = True


class OfParts(keras.Model):
    """Join what two layers see of a dict or of a list."""

    def __init__(self):
        super().__init__()
        self.one, self.other = kl.Dense(6, activation="relu"), kl.GRU(6, dropout=0.2)
        self.last = kl.Dense(3, activation="softmax")

    def call(self, inputs, training=False):
        """Call both."""
        one, other = inputs.values() if isinstance(inputs, dict) else inputs
        seen = self.one(one), self.other(other, training=training)
        return self.last(ops.concatenate(seen, axis=-1))


class Sampling(kl.Layer):
    """Draw a point from the normal distribution that an encoder describes."""

    def __init__(self, **options):
        super().__init__(**options)
        self.seeds = keras.random.SeedGenerator(11)

    def call(self, inputs):
        """Draw one point for each row."""
        mean, spread = inputs
        noise = keras.random.normal(ops.shape(mean), seed=self.seeds)
        return mean + ops.exp(0.5 * spread) * noise


class Losses(keras.Model):
    """Train on TensorFlow by losses of its own, whose means are its metrics."""

    def __init__(self, *names):
        super().__init__()
        self.means = [keras.metrics.Mean(name=name) for name in names]

    @property
    def metrics(self):
        """The means that an epoch begins anew."""
        return self.means

    def noted(self, losses):
        """Take the losses of a batch, and return the means so far."""
        for mean, loss in zip(self.means, losses, strict=True):
            mean.update_state(loss)
        return {mean.name: mean.result() for mean in self.means}

    def train_step(self, data):
        """Train on one batch by the first loss, as TensorFlow does."""
        import tensorflow as tf

        with tf.GradientTape() as tape:
            losses = self.losses_of(data[0] if isinstance(data, tuple) else data)
        gradients = tape.gradient(losses[0], self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        return self.noted(losses)


class VariationalAutoencoder(Losses):
    """Be trained by a step of its own, without a `call`, as keras.io's example is."""

    def __init__(self):
        super().__init__("loss", "reconstruction", "divergence")
        inputs, code = keras.Input((8,)), keras.Input((2,))
        mean, spread = encoded(inputs)
        self.encoder = keras.Model(inputs, [mean, spread, Sampling()([mean, spread])])
        self.decoder = keras.Model(code, kl.Dense(8)(kl.Dense(8, activation="relu")(code)))

    def losses_of(self, x):
        """Return the loss and its two parts."""
        mean, spread, code = self.encoder(x)
        error = ops.mean(ops.sum(ops.square(x - self.decoder(code)), axis=1))
        apart = ops.mean(ops.sum(divergence(mean, spread), axis=1))
        return error + apart, error, apart


class Denoiser(Losses):
    """Tell the noise in a row from the row and a time, which its steps draw, as diffusion does."""

    def __init__(self):
        super().__init__("loss")
        noisy, times = keras.Input((8,)), keras.Input((1,))
        seen = kl.Dense(8, activation="relu")(kl.Concatenate()([noisy, times]))
        self.network = keras.Model([noisy, times], kl.Dense(8)(seen))
        self.seeds = keras.random.SeedGenerator(17)

    def call(self, noisy, times):
        """Take rows with noise, which no data has."""
        return self.network([noisy, times])

    def losses_of(self, x):
        """Return the error of the noise that is told."""
        times = keras.random.uniform((ops.shape(x)[0], 1), seed=self.seeds)
        noise = keras.random.normal(ops.shape(x), seed=self.seeds)
        return (ops.mean(ops.square(noise - self.network([x + times * noise, times]))),)

    def test_step(self, data):
        """Look at one batch."""
        return self.noted(self.losses_of(data[0] if isinstance(data, tuple) else data))


class OwnLoss(keras.Model):
    """Compute its loss itself, which all backends train by."""

    def compute_loss(self, *arguments, **options):
        """Return twice the usual loss."""
        return 2 * super().compute_loss(*arguments, **options)


class OwnDense(kl.Layer):
    """Be a dense layer that a user wrote, with a penalty on what it gives."""

    def __init__(self, units):
        super().__init__()
        self.units = units

    def build(self, shape):
        """Make the weights."""
        self.kernel = self.add_weight(shape=(shape[-1], self.units), initializer="he_normal")

    def call(self, x):
        """Multiply, and add the penalty."""
        given = ops.relu(ops.matmul(x, self.kernel))
        self.add_loss(1e-3 * ops.mean(ops.square(given)))
        return given


class Penalty(kl.Layer):
    """Add the divergence of a code to the loss."""

    def call(self, inputs):
        """Return the mean as it came."""
        self.add_loss(ops.mean(divergence(*inputs)))
        return inputs[0]


class TwoPhases:
    """Train a head on a frozen base, and then both more slowly, in epochs that count on or anew."""

    def __init__(self, counts_on):
        self.counts_on = counts_on

    def __call__(self, trial):
        """Return the model with its base frozen."""
        return half_frozen(trial)

    def fit(self, trial, model, epochs, **keywords):
        """Train in two phases."""
        model.fit(epochs=epochs, **keywords)
        model.get_layer("base").trainable = True
        compiled(model, trial, optimizer=optimizers.Adam(rate(trial) / 10))
        begin = epochs if self.counts_on else 0
        return model.fit(initial_epoch=begin, epochs=begin + epochs, **keywords)


def divergence(mean, spread):
    """Return how far the code of each row is from the normal distribution."""
    return -0.5 * (1 + spread - ops.square(mean) - ops.exp(spread))


def encoded(inputs):
    """Return the mean and the spread of an encoder."""
    seen = kl.Dense(8, activation="relu")(inputs)
    return kl.Dense(2)(seen), kl.Dense(2)(seen)


def plain(trial, *loss, **options):
    """Return a small classifier of the table."""
    layers = [keras.Input((8,)), kl.Dense(8, activation="relu"), kl.Dense(3, activation="softmax")]
    return compiled(keras.Sequential(layers), trial, *loss, **options)


def of_kind(kind, *losses, **options):
    """Return a builder of a model that a function without arguments makes."""
    return lambda trial: compiled(kind(), trial, *losses, **options)


def said_to_be_built():
    model = Subclassed()
    model.built = True
    return model


def shaped(model):
    model.build((None, 8))
    return model


def with_optimizer(make):
    return lambda trial: plain(trial, optimizer=make(rate(trial)))


def two_inputs(trial):
    inputs = {"one": keras.Input((8,), name="one"), "other": keras.Input((12, 4), name="other")}
    one = kl.Dense(6, activation="relu")(inputs["one"])
    seen = kl.Concatenate()([one, kl.GRU(6)(inputs["other"])])
    kinds = kl.Dense(3, activation="softmax", name="kind")(seen)
    model = keras.Model(inputs, {"kind": kinds, "size": kl.Dense(1, name="size")(seen)})
    losses = {"kind": "sparse_categorical_crossentropy", "size": "mse"}
    return compiled(model, trial, losses, (), loss_weights={"kind": 1.0, "size": 0.5})


def beside(join):
    """Return the table and the series beside each other, as a function joins the two."""
    data, others = table(), series()
    x, y = data["validation_data"]
    held_out = join(x, others["validation_data"][0])
    return {"x": join(data["x"], others["x"]), "y": data["y"], "validation_data": (held_out, y)}


def in_dicts():
    return beside(lambda one, other: {"one": one, "other": other})


def with_sizes():
    return on_targets(lambda y: {"kind": y, "size": y.astype("float32") / 2}, in_dicts())


def autoencoder(trial):
    same = {"strides": 2, "padding": "same", "activation": "relu"}
    layers = [keras.Input((8, 8, 3)), kl.Conv2D(4, 3, **same), kl.Conv2DTranspose(4, 3, **same)]
    last = kl.Conv2D(3, 3, padding="same")
    return compiled(keras.Sequential([*layers, last]), trial, "mse", ())


def residual(trial):
    seen = inputs = keras.Input((8,))
    for name in ("first", "second"):
        layers = [keras.Input((8,)), kl.Dense(8), kl.BatchNormalization(), kl.ReLU()]
        seen = kl.Add()([seen, keras.Sequential(layers, name=name)(seen)])
    return classifier(trial, inputs, seen)


def siamese(trial):
    inputs = keras.Input((8,))
    shared = kl.Dense(8, activation="tanh")
    return classifier(trial, inputs, kl.Concatenate()([shared(inputs), shared(-inputs)]))


def half_frozen(trial):
    base = keras.Sequential([keras.Input((8,)), kl.Dense(8), kl.BatchNormalization()], name="base")
    base.trainable = False
    return sequential(lambda: [base], (8,))(trial)


def penalized(trial):
    """Return a variational autoencoder that all backends train."""
    inputs = keras.Input((8,))
    mean, spread = encoded(inputs)
    code = Sampling()([Penalty()([mean, spread]), spread])
    return compiled(keras.Model(inputs, kl.Dense(8)(code)), trial, "mse", ())


def low_ranks(trial):
    model = plain(trial)
    for layer in model.layers:
        layer.enable_lora(trial.suggest_int("rank", 1, 3))
    return compiled(model, trial)


@cache
def teacher():
    """Return a network that all trials learn from, and which is the same in each process."""
    drawn = keras.initializers.GlorotUniform(seed=3)
    layers = [kl.Dense(units, kernel_initializer=drawn) for units in (16, 3)]
    return keras.Sequential([keras.Input((8,)), *layers])


def distilled(trial):
    """Return a student and its frozen teacher, as Keras's guide trains them."""
    student = keras.Sequential([keras.Input((8,)), kl.Dense(8, activation="relu"), kl.Dense(3)])
    alike = keras.distillation.LogitsDistillation(temperature=3.0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return compiled(keras.distillation.Distiller(teacher(), student, alike), trial, loss)


@cache
def folder_of_checkpoints():
    return tempfile.mkdtemp()


def with_orbax(trial):
    """Return a model, and the callback that asks for the package orbax-checkpoint."""
    callback = keras.callbacks.OrbaxCheckpoint(folder_of_checkpoints())
    return plain(trial), {"callbacks": [callback]}


def two_optimizers(rate):
    """Return an optimizer that trains kernels with momentum, and biases by Adam."""
    kernels = {".*kernel": optimizers.SGD(rate, momentum=0.9)}
    return optimizers.MultiOptimizer(optimizers.OptimizerMap(optimizers.Adam(rate), kernels))


def own_loss(trial):
    inputs = keras.Input((8,))
    return classifier(trial, inputs, kl.Dense(8, activation="relu")(inputs), OwnLoss)


def own_functions(trial):
    def loss(y, predicted):
        return keras.losses.sparse_categorical_crossentropy(y, predicted) + 0.1

    def share(y, predicted):
        return ops.mean(predicted)

    return plain(trial, loss, metrics=(share,))


def many_metrics(trial):
    names = (keras.metrics.AUC(name="auc"), keras.metrics.F1Score("macro", name="f1"), "accuracy")
    return plain(trial, "categorical_crossentropy", metrics=names)


def weights_of_rows():
    data = table()
    held_out = (*data["validation_data"], np.linspace(0.5, 1.5, 32))
    return {**data, "sample_weight": np.linspace(0.2, 1.8, 64), "validation_data": held_out}


KINDS = {
    "subclassed": Subclassed,
    "subclassed_says_built": said_to_be_built,
    "subclassed_build_says_built": lambda: shaped(BuildSaysBuilt()),
    "subclassed_built_by_shape": lambda: shaped(Subclassed()),
}
OPTIMIZERS = {
    "ema": lambda rate: optimizers.Adam(rate, use_ema=True, ema_overwrite_frequency=2),
    "ema_apart": lambda rate: optimizers.Adam(rate, use_ema=True, ema_momentum=0.8),
    "schedule": lambda rate: optimizers.Adam(optimizers.schedules.CosineDecay(rate, 6)),
    "adamw_clipped": lambda rate: optimizers.AdamW(rate, clipnorm=0.5),
    "nesterov": lambda rate: optimizers.SGD(rate, momentum=0.9, nesterov=True),
    "accumulated": lambda rate: optimizers.Adam(rate, gradient_accumulation_steps=2),
    "loss_scaled": lambda rate: optimizers.LossScaleOptimizer(optimizers.Adam(rate)),
    "lion": lambda rate: optimizers.Lion(rate / 10),
    "rmsprop": lambda rate: optimizers.RMSprop(rate, centered=True),
}
LATER = {  # which Keras 3.10 does not have
    "muon": ("Muon", lambda rate: optimizers.Muon(rate)),
    "multi_optimizer": ("MultiOptimizer", two_optimizers),
    "schedule_free": ("ScheduleFreeAdamW", lambda rate: optimizers.ScheduleFreeAdamW(rate)),
}
OPTIMIZERS |= {name: make for name, (kind, make) in LATER.items() if hasattr(optimizers, kind)}
SWAPPING = {"callbacks": [keras.callbacks.SwapEMAWeights()]}
vae = of_kind(VariationalAutoencoder, None, ())
LONG = {"epochs": 30, "batch_size": 8}  # 240 steps, from which on one call makes many of them

ANIMALS = {
    **{name: Animal(of_kind(kind), table) for name, kind in KINDS.items()},
    **{name: Animal(with_optimizer(make), table) for name, make in OPTIMIZERS.items()},
    "two_inputs_two_outputs": Animal(two_inputs, with_sizes),
    "dict_subclassed": Animal(of_kind(OfParts), in_dicts),
    "list_subclassed": Animal(of_kind(OfParts), partial(beside, lambda *both: [*both])),
    "autoencoder": Animal(autoencoder, lambda: for_itself(images())),
    "residual_batch_norm": Animal(residual, table),
    "shared_layer": Animal(siamese, table),
    "half_frozen": Animal(half_frozen, table),
    "two_phases": Animal(TwoPhases(counts_on=True), table),
    "two_phases_counted_anew": Animal(TwoPhases(counts_on=False), table),
    "vae": Animal(vae, lambda: {"x": table()["x"]}, "loss", evaluates=False),
    "vae_add_loss": Animal(penalized, lambda: for_itself(table())),
    "diffusion": Animal(of_kind(Denoiser, None, ()), lambda: for_itself(table())),
    "diffusion_eagerly": Animal(
        of_kind(Denoiser, None, (), run_eagerly=True), lambda: for_itself(table())
    ),
    "lora": Animal(low_ranks, table),
    "distiller": Animal(distilled, table),
    "orbax_checkpoint": Animal(with_orbax, table),
    "swap_ema": Animal(with_optimizer(OPTIMIZERS["ema_apart"]), table, fit=SWAPPING),
    "own_compute_loss": Animal(own_loss, table),
    "own_layer_add_loss": Animal(sequential(lambda: [OwnDense(8)], (8,)), table),
    "own_loss_and_metric": Animal(own_functions, table),
    "auc_and_f1": Animal(many_metrics, lambda: on_targets(keras.utils.to_categorical, table())),
    "batch_size": Animal(
        lambda trial: (
            plain(trial),
            {"batch_size": trial.suggest_categorical("batch_size", [8, 16])},
        ),
        table,
    ),
    "run_eagerly": Animal(partial(plain, run_eagerly=True), table),
    "steps_per_execution": Animal(partial(plain, steps_per_execution=2), table),
    "jit_compile": Animal(partial(plain, jit_compile=True), table),
    "sample_weight": Animal(plain, weights_of_rows),
    "class_weight": Animal(plain, lambda: {**table(), "class_weight": {0: 1.0, 1: 2.0, 2: 0.5}}),
    "many_steps_a_call": Animal(residual, table, fit=LONG),
    "many_steps_dropout": Animal(of_kind(Subclassed), table, fit=LONG),
    "many_steps_lstm": Animal(sequential(SERIES["lstm_dropout"], (12, 4)), series, fit=LONG),
    "many_steps_sampling": Animal(
        penalized, lambda: for_itself(table()), fit=LONG, evaluates=False
    ),
}
