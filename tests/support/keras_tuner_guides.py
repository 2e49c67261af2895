"""Guides of KerasTuner and the tutorial of TensorFlow, written anew for small data.

Each function is a part of one, as https://keras.io/keras_tuner/guides and
https://www.tensorflow.org/tutorials/keras/keras_tuner have them. It takes the names of KerasTuner
from `kt`, which are those of this package in a second run, and returns what both runs must agree
on. Layers have seeds, and nothing is shuffled where the value counts, so that two trainings of one
configuration come to one value. Left out are parts that use nothing else than those here, what the
guide keras-tuner-recipes.md has in their place, and ready-made models, which are too large.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

FITS = []  # a number for each training since the list was last emptied


def _count():
    FITS.append(len(FITS))


class Sequential(keras.Sequential):
    """Count the trainings of a model."""

    def fit(self, *args, **kwargs):
        """Train as ever."""
        _count()
        return super().fit(*args, **kwargs)


class Model(keras.Model):
    """Count the trainings of a functional model."""

    def fit(self, *args, **kwargs):
        """Train as ever."""
        _count()
        return super().fit(*args, **kwargs)


def _images(n, size=4):
    rng = np.random.default_rng(n)
    x = rng.random((n, size, size, 1)).astype("float32")
    return x, (x.mean(axis=(1, 2, 3)) * 6).astype(int) % 3


X, Y = _images(32)
X_VAL, Y_VAL = _images(16)
ONE_HOT, ONE_HOT_VAL = (keras.utils.to_categorical(y, 3) for y in (Y, Y_VAL))
FIT = {"batch_size": 16, "shuffle": False, "verbose": 0}


def new(name):
    """Return where a search of that name begins anew, which the guides say in three arguments."""
    return {"overwrite": True, "directory": "my_dir", "project_name": name}


def dense(units, activation=None):
    """Return a layer that begins with the same weights each time."""
    start = keras.initializers.GlorotUniform(seed=units)
    return layers.Dense(units, activation, kernel_initializer=start)


def compiled(model, optimizer="adam", loss="categorical_crossentropy", metrics=("accuracy",)):
    """Compile a model without a graph, whose tracing would take most of a test's time."""
    model.compile(optimizer, loss, metrics=list(metrics), run_eagerly=True)
    return model


def first_search(kt):
    """Getting started: the architecture is tuned, and the best model trained again."""

    def build_model(hp):
        model = Sequential([layers.Flatten()])
        for i in range(hp.Int("num_layers", 1, 3)):
            units = hp.Int(f"units_{i}", min_value=4, max_value=32, step=4)
            model.add(dense(units, hp.Choice("activation", ["relu", "tanh"])))
        if hp.Boolean("dropout"):
            model.add(layers.Dropout(0.25, seed=1))
        model.add(dense(3, "softmax"))
        rate = hp.Float("lr", min_value=1e-4, max_value=1e-2, sampling="log")
        return compiled(model, keras.optimizers.Adam(learning_rate=rate))

    hp = kt.HyperParameters()
    build_model(hp)
    assert hp.Int("units", min_value=4, max_value=32, step=4) == 4
    tuner = kt.RandomSearch(
        build_model, objective="val_loss", max_trials=2, executions_per_trial=2, **new("helloworld")
    )
    tuner.search_space_summary()
    tuner.search(X, ONE_HOT, epochs=2, validation_data=(X_VAL, ONE_HOT_VAL), **FIT)
    models = tuner.get_best_models(num_models=2)
    losses = [model.evaluate(X_VAL, ONE_HOT_VAL, verbose=0)[0] for model in models]
    tuner.results_summary()
    best_hps = tuner.get_best_hyperparameters(2)
    model = build_model(best_hps[0])
    model.fit(np.concatenate((X, X_VAL)), np.concatenate((ONE_HOT, ONE_HOT_VAL)), epochs=1, **FIT)
    return [losses, [[hp.get("num_layers"), hp.get("units_0"), hp.get("lr")] for hp in best_hps]]


def tuned_preprocessing(kt):
    """Getting started: fit crops the images as large as build() asked for."""

    class MyHyperModel(kt.HyperModel):
        def build(self, hp):
            size = hp.Int("image_size", 2, 4)
            inputs = keras.Input(shape=(size, size, 1))
            hidden = dense(hp.Int("units", min_value=4, max_value=16, step=4), "relu")
            outputs = dense(3, "softmax")(hidden(layers.Flatten()(inputs)))
            return compiled(Model(inputs, outputs))

        def fit(self, hp, model, x, y, validation_data=None, **kwargs):
            if hp.Boolean("normalize"):
                x = x * 2 - 1
            size = hp.get("image_size")
            if validation_data:
                x_val, y_val = validation_data
                validation_data = (x_val[:, :size, :size, :], y_val)
            cropped = x[:, :size, :size, :]
            return model.fit(cropped, y, validation_data=validation_data, **kwargs)

    tuner = kt.RandomSearch(
        MyHyperModel(), objective="val_loss", max_trials=2, **new("tune_hypermodel")
    )
    tuner.search(X, ONE_HOT, epochs=2, validation_data=(X_VAL, ONE_HOT_VAL), **FIT)
    hypermodel, best_hp = MyHyperModel(), tuner.get_best_hyperparameters()[0]
    hypermodel.fit(best_hp, hypermodel.build(best_hp), X, ONE_HOT, epochs=1, **FIT)
    return [best_hp.values]


def marked_as_failed(kt):
    """Failed trials: FailedTrialError marks a trial as failed."""

    def build_model(hp):
        units = hp.Int("units_1", 2, 6, step=4), hp.Int("units_2", 2, 4, step=2)
        model = Sequential([keras.Input((20,)), *map(dense, units), dense(1)])
        compiled(model, loss="mse", metrics=())
        n_params = model.count_params()
        if n_params > 150:
            raise kt.errors.FailedTrialError(f"Model too large! It contains {n_params} params.")
        return model

    tuner = kt.GridSearch(
        hypermodel=build_model,
        objective="val_loss",
        max_retries_per_trial=1,
        max_consecutive_failed_trials=8,
        **new("failures"),
    )
    rng = np.random.default_rng(0)
    x, y = rng.random((48, 20)), rng.random((48, 1))
    tuner.search(x=x[:32], y=y[:32], validation_data=(x[32:], y[32:]), epochs=2, **FIT)
    tuner.results_summary()


def hyperband_tutorial(kt):
    """TensorFlow's tutorial: Hyperband, then the best epoch of the best configuration."""

    def model_builder(hp):
        model = Sequential([keras.Input((4, 4, 1)), layers.Flatten()])
        model.add(dense(hp.Int("units", min_value=4, max_value=32, step=4), "relu"))
        model.add(dense(3))
        rate = hp.Choice("learning_rate", values=[1e-2, 1e-3, 1e-4])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return compiled(model, keras.optimizers.Adam(learning_rate=rate), loss)

    tuner = kt.Hyperband(
        model_builder,
        objective="val_accuracy",
        max_epochs=2,
        factor=2,
        directory="my_dir",
        project_name="intro_to_kt",
    )
    stop_early = keras.callbacks.EarlyStopping(monitor="val_loss", patience=5)
    tuner.search(X, Y, epochs=2, validation_split=0.25, callbacks=[stop_early], **FIT)
    best_hps = tuner.get_best_hyperparameters(num_trials=1)[0]
    assert best_hps.get("units") in range(4, 33, 4)
    model = tuner.hypermodel.build(best_hps)
    history = model.fit(X, Y, epochs=2, validation_split=0.25, **FIT).history["val_accuracy"]
    best_epoch = history.index(max(history)) + 1
    hypermodel = tuner.hypermodel.build(best_hps)
    hypermodel.fit(X, Y, epochs=best_epoch, validation_split=0.25, **FIT)
    hypermodel.evaluate(X_VAL, Y_VAL, verbose=0)
    return [2]  # trainings after the search
