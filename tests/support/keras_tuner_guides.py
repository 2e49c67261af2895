"""The guides of KerasTuner and the tutorial of TensorFlow, written anew for small data.

Each function is a guide, or a part of one, as https://keras.io/keras_tuner/guides and
https://www.tensorflow.org/tutorials/keras/keras_tuner have them. It takes the names of KerasTuner
from `kt`, which are those of this package in a second run, and returns what both runs must agree
on. Layers have seeds, and nothing is shuffled where the value counts, so that two trainings of one
configuration come to one value. The guides' ready-made models (HyperResNet, HyperXception) are too
large for a test, and its part on several processes is left out.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
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


def _numbers(n):
    rng = np.random.default_rng(n)
    x = rng.random((n, 5)).astype("float32")
    return x, x.sum(axis=1, keepdims=True)


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


def tuned_training(kt):
    """Getting started: a HyperModel's own fit hands on all arguments, and tunes one."""

    class MyHyperModel(kt.HyperModel):
        def build(self, hp):
            units = hp.Int("units", min_value=4, max_value=32, step=4)
            model = Sequential([layers.Flatten(), dense(units, "relu"), dense(3, "softmax")])
            return compiled(model)

        def fit(self, hp, model, *args, **kwargs):
            return model.fit(*args, shuffle=hp.Boolean("shuffle"), **kwargs)

    hp, hypermodel = kt.HyperParameters(), MyHyperModel()
    hypermodel.fit(hp, hypermodel.build(hp), X, ONE_HOT, verbose=0)
    tuner = kt.RandomSearch(MyHyperModel(), "val_loss", max_trials=2, **new("tune_training"))
    # One batch an epoch, since the order of the rows is tuned.
    tuner.search(
        X, ONE_HOT, batch_size=32, epochs=2, validation_data=(X_VAL, ONE_HOT_VAL), verbose=0
    )
    best_hp = tuner.get_best_hyperparameters()[0]
    return [best_hp.get("shuffle"), best_hp.get("units")]


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


def _regressor(hp, metrics=()):
    model = Sequential([dense(hp.Int("units", 4, 16, 4), "relu"), dense(1)])
    return compiled(model, loss="mean_squared_error", metrics=metrics)


def _search_numbers(tuner):
    x, y = _numbers(32)
    tuner.search(x=x, y=y, validation_data=_numbers(16), epochs=2, **FIT)
    tuner.results_summary()


class CustomMetric(keras.metrics.Metric):
    """Compute a mean squared error, as if Keras had none."""

    def __init__(self, **kwargs):
        super().__init__(name="custom_metric", **kwargs)
        self.sum = self.add_weight(name="sum", initializer="zeros")
        self.count = self.add_weight(name="count", initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Add up a batch."""
        self.sum.assign_add(keras.ops.sum(keras.ops.square(y_pred - y_true)))
        self.count.assign_add(keras.ops.cast(keras.ops.shape(y_true)[0], "float32"))

    def result(self):
        """Return the mean."""
        return self.sum / self.count

    def reset_state(self):
        """Begin anew."""
        self.sum.assign(0.0)
        self.count.assign(0.0)


def custom_metric(kt):
    """Getting started: the objective is a metric of the user's own."""
    tuner = kt.RandomSearch(
        lambda hp: _regressor(hp, [CustomMetric()]),
        objective=kt.Objective("val_custom_metric", direction="min"),
        max_trials=2,
        **new("custom_metrics"),
    )
    _search_numbers(tuner)


def _hyper_regressor(kt, result):
    class HyperRegressor(kt.HyperModel):
        def build(self, hp):
            return _regressor(hp)

        def fit(self, hp, model, x, y, validation_data, **kwargs):
            model.fit(x, y, **kwargs)
            x_val, y_val = validation_data
            return result(model.predict(x_val, verbose=0) - y_val)

    return HyperRegressor()


def returned_number(kt):
    """Getting started: fit returns the number to minimize, and the tuner has no objective."""
    tuner = kt.RandomSearch(
        _hyper_regressor(kt, lambda error: np.mean(np.abs(error))),
        max_trials=2,
        **new("custom_eval"),
    )
    _search_numbers(tuner)


def returned_dict(kt):
    """Getting started: fit returns several metrics, of which one is the objective."""

    def metrics(error):
        return {"metric_a": -np.mean(np.abs(error)), "metric_b": np.mean(np.square(error))}

    tuner = kt.RandomSearch(
        _hyper_regressor(kt, metrics),
        objective=kt.Objective("metric_a", "max"),
        max_trials=2,
        **new("custom_eval_dict"),
    )
    _search_numbers(tuner)


def any_function(kt):
    """Getting started: a trial is a function, without data or model."""

    def squared(hp):
        x = hp.Float("x", min_value=-1.0, max_value=1.0)
        return x * x + 1

    tuner = kt.black_box(squared, max_trials=3, **new("tune_anything"))
    tuner.search()
    return [tuner.get_best_hyperparameters()[0].get("x")]


def custom_training_loop(kt):
    """Custom training loop: the model is not compiled, and fit does all by itself."""

    class MyHyperModel(kt.HyperModel):
        def build(self, hp):
            inputs = keras.Input(shape=(4, 4, 1))
            x = dense(hp.Choice("units", [4, 8, 16]), "relu")(layers.Flatten()(inputs))
            return keras.Model(inputs=inputs, outputs=dense(3)(x))

        def fit(self, hp, model, x, y, validation_data, callbacks=None, **kwargs):
            _count()
            batch_size = hp.Int("batch_size", 8, 32, step=8, default=16)
            batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size)
            validation = tf.data.Dataset.from_tensor_slices(validation_data).batch(batch_size)
            rate = hp.Float("learning_rate", 1e-4, 1e-2, sampling="log", default=1e-3)
            optimizer = keras.optimizers.Adam(rate)
            loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            epoch_loss_metric = keras.metrics.Mean()
            for callback in callbacks:
                callback.set_model(model)
            best_epoch_loss = float("inf")
            for epoch in range(2):
                for images, labels in batches:
                    with tf.GradientTape() as tape:
                        loss = loss_fn(labels, model(images))
                    gradients = tape.gradient(loss, model.trainable_variables)
                    optimizer.apply_gradients(
                        zip(gradients, model.trainable_variables, strict=True)
                    )
                for images, labels in validation:
                    epoch_loss_metric.update_state(loss_fn(labels, model(images)))
                epoch_loss = float(epoch_loss_metric.result().numpy())
                for callback in callbacks:
                    callback.on_epoch_end(epoch, logs={"my_metric": epoch_loss})
                epoch_loss_metric.reset_state()
                best_epoch_loss = min(best_epoch_loss, epoch_loss)
            return best_epoch_loss

    tuner = kt.RandomSearch(
        objective=kt.Objective("my_metric", "min"),
        max_trials=2,
        hypermodel=MyHyperModel(),
        **new("custom_training"),
    )
    tuner.search(x=X, y=Y, validation_data=(X_VAL, Y_VAL))
    best_hps = tuner.get_best_hyperparameters()[0]
    best_model = tuner.get_best_models()[0]
    best_model.summary()
    loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return [best_hps.values, float(loss_fn(Y_VAL, best_model(X_VAL)))]


def _search_grid(kt, too_large):
    def build_model(hp):
        units = hp.Int("units_1", 2, 6, step=4), hp.Int("units_2", 2, 4, step=2)
        model = Sequential([keras.Input((20,)), *map(dense, units), dense(1)])
        compiled(model, loss="mse", metrics=())
        n_params = model.count_params()
        if n_params > 150:
            raise too_large(f"Model too large! It contains {n_params} params.")
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


def failed_trials(kt):
    """Failed trials: a builder may raise anything."""
    _search_grid(kt, ValueError)


def marked_as_failed(kt):
    """Failed trials: FailedTrialError marks a trial as failed."""
    _search_grid(kt, kt.errors.FailedTrialError)


def terminated(kt):
    """Failed trials: FatalError ends the search."""
    try:
        _search_grid(kt, kt.errors.FatalError)
    except kt.errors.FatalError as error:
        return [str(error)]
    return ["The search went on"]


def _tunable(hp):
    model = Sequential([layers.Flatten()])
    model.add(dense(hp.Int("units", min_value=4, max_value=16, step=4, default=8), "relu"))
    if hp.Boolean("dropout"):
        model.add(layers.Dropout(0.25, seed=1))
    model.add(dense(3, "softmax"))
    rate = hp.Choice("learning_rate", values=[1e-2, 1e-3, 1e-4])
    return compiled(model, keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")


def _search_images(tuner):
    tuner.search(X, Y[:, None], epochs=1, validation_data=(X_VAL, Y_VAL[:, None]), **FIT)
    tuner.search_space_summary()


def tune_a_few(kt):
    """Tailoring: one range is another, and all else has its default."""
    tuner = kt.RandomSearch(
        hypermodel=_tunable,
        tailor=lambda hp: hp.Float("learning_rate", min_value=1e-4, max_value=1e-2, sampling="log"),
        tune_new_entries=False,
        objective="val_loss",
        max_trials=2,
        **new("search_a_few"),
    )
    _search_images(tuner)


def fix_a_few(kt):
    """Tailoring: one value is fixed, and all else is tuned."""
    tuner = kt.RandomSearch(
        _tunable,
        tailor=lambda hp: hp.Fixed("learning_rate", value=1e-4),
        tune_new_entries=True,
        objective="val_loss",
        max_trials=2,
        **new("fix_a_few"),
    )
    _search_images(tuner)


def compiled_otherwise(kt):
    """Tailoring: optimizer, loss and metrics of the builder are overridden."""
    tuner = kt.RandomSearch(
        _tunable,
        optimizer=keras.optimizers.Adam(1e-3),
        loss="mse",
        metrics=["sparse_categorical_crossentropy"],
        objective="val_loss",
        max_trials=2,
        **new("override_compile"),
    )
    _search_images(tuner)
    return [tuner.get_best_models()[0].loss]


def visualized(kt):
    """Visualizing: TensorBoard's callback writes a folder for each trial."""

    def build_model(hp):
        inputs = keras.Input(shape=(4, 4, 1))
        model_type, x = hp.Choice("model_type", ["mlp", "cnn"]), inputs
        if model_type == "mlp":
            x = layers.Flatten()(x)
            for i in range(hp.Int("mlp_layers", 1, 3)):
                x = dense(hp.Int(f"units_{i}", 4, 16, step=4), "relu")(x)
        else:
            for i in range(hp.Int("cnn_layers", 1, 2)):
                start = keras.initializers.GlorotUniform(seed=i)
                filters = hp.Int(f"filters_{i}", 4, 16, step=4)
                x = layers.Conv2D(filters, 2, padding="same", kernel_initializer=start)(x)
                x = layers.MaxPooling2D(pool_size=(2, 2))(x)
            x = layers.Flatten()(x)
        if hp.Boolean("dropout"):
            x = layers.Dropout(0.5, seed=1)(x)
        model = Model(inputs, dense(3, "softmax")(x))
        return compiled(model, loss="sparse_categorical_crossentropy")

    hp = kt.HyperParameters()
    for kind in ("cnn", "mlp"):
        hp.values["model_type"] = kind
        model = build_model(hp)
        model(X[:4])
        model.summary()
    tuner = kt.RandomSearch(build_model, max_trials=2, objective="val_loss", **new("untitled"))
    callbacks = [keras.callbacks.TensorBoard("tb_logs")]
    tuner.search(X, Y, validation_split=0.25, epochs=2, callbacks=callbacks, **FIT)
    return [len(list(Path("tb_logs").rglob("train")))]


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
