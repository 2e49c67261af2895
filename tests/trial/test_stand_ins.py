"""A model that is trained in the trace of another one trains as plain Model.fit does."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from kerastune_optuna import OptunaTuner
from kerastune_optuna._backend import Memory, set_all
from kerastune_optuna._data import FitArguments
from kerastune_optuna._trial import stand_ins
from kerastune_optuna._trial.batches import batched
from kerastune_optuna._trial.rehearsal import rehearse

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="TensorFlow alone traces a training"
)
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(50, 8)).astype("float32"), np.arange(50) % 3
SERIES, IMAGES = X.reshape(50, 4, 2), RNG.normal(size=(50, 6, 6, 1)).astype("float32")
WORDS = RNG.integers(0, 9, size=(50, 5))


@dataclass
class Lesson:
    """Hold what stand_ins.fit reads of a lesson."""

    x: Any = None
    callbacks: list[Any] = field(default_factory=list)

    @property
    def fit(self):
        """The arguments of Model.fit, which specify a batch."""
        x = X if self.x is None else self.x
        return FitArguments(x, Y, 3, None, 0.0)


def dense(rate=0.01, activation="relu", momentum=0.9, **options):
    """Return a compiled classifier with chance and state."""
    parts = [layers.Dense(6, activation, **options), layers.Dropout(0.3)]
    parts += [layers.BatchNormalization(momentum=momentum), layers.Dense(3, "softmax")]
    return compiled(keras.Sequential([keras.Input((8,)), *parts]), keras.optimizers.Adam(rate))


def compiled(model, optimizer="adam", loss="sparse_categorical_crossentropy", **options):
    """Compile a classifier."""
    model.compile(optimizer, loss, metrics=["accuracy"], **options)
    return model


def recurrent(rate):
    """Return a network of recurrent layers that draw."""
    parts = [layers.GRU(4, dropout=0.2, return_sequences=True), layers.LSTM(3, dropout=0.2)]
    model = keras.Sequential([*parts, layers.GaussianNoise(0.1), layers.Dense(3, "softmax")])
    return compiled(model, keras.optimizers.RMSprop(rate))


def convolutional(rate):
    """Return a network for images, with regularization and an average of its weights."""
    parts = [layers.Conv2D(4, 3, kernel_regularizer="l2"), layers.ReLU(), layers.MaxPooling2D()]
    model = keras.Sequential([*parts, layers.Flatten(), layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.SGD(rate, momentum=0.9, use_ema=True, clipnorm=1.0)
    return compiled(model, optimizer, loss)


def functional(rate):
    """Return a functional model with a skip."""
    into = keras.Input((8,))
    first = layers.Dense(8, "gelu", activity_regularizer="l1")(into)
    out = layers.Dense(3, "softmax")(layers.LayerNormalization()(layers.Add()([into, first])))
    return compiled(keras.Model(into, out), keras.optimizers.Nadam(rate))


def of_words(rate):
    """Return a network for rows of words."""
    parts = [layers.Embedding(9, 4, mask_zero=True), layers.SpatialDropout1D(0.2), layers.LSTM(3)]
    return compiled(
        keras.Sequential([*parts, layers.Dense(3, "softmax")]), keras.optimizers.Adam(rate)
    )


KINDS = {
    "dense": (dense, X),
    "recurrent": (recurrent, SERIES),
    "convolutional": (convolutional, IMAGES),
    "functional": (functional, X),
    "words": (of_words, WORDS),
}


def trained(build, rate, seed, x=X, kept=None, **given):
    """Return what a model learns and logs, by plain fit or in the traces that are kept."""
    set_all(seed)
    model, lesson = build(rate), Lesson(x, given.pop("callbacks", []))
    keywords = {"x": x, "y": Y, "epochs": 3, "verbose": 0, "callbacks": [*lesson.callbacks]}
    keywords |= {"validation_data": (x[:20], Y[:20]), **given}
    if kept is None:
        model.fit(**keywords)
    else:
        rehearse(model, lesson.fit.specification())
        stand_ins.fit(kept, lesson, model, batched(model, keywords), is_repeated=False)
    variables = [*model.variables, *model.optimizer.variables]
    return model.history.history, [np.asarray(one) for one in variables]


@pytest.fixture
def traces(monkeypatch):
    """Give the models whose training steps are traced."""
    traced, step = [], keras.Model.train_step

    def train_step(model, data):
        traced.append(model)
        return step(model, data)

    monkeypatch.setattr(keras.Model, "train_step", train_step)
    return traced


def assert_equal(one, other):
    """Assert that two trainings came to the same, to the last digit."""
    assert one[0] == other[0]
    for mine, its in zip(one[1], other[1], strict=True):
        np.testing.assert_array_equal(mine, its)


@pytest.mark.parametrize("kind", KINDS)
def test_each_training_is_that_of_plain_fit(kind, traces):
    """A third training, which needs no trace, learns what plain fit learns, as all before it."""
    build, x = KINDS[kind]
    kept, counts = {}, []
    for seed, rate in enumerate((0.01, 0.03, 0.001)):
        traces.clear()
        own = trained(build, rate, seed, x, kept)
        counts.append(len(traces))
        assert_equal(own, trained(build, rate, seed, x))
    assert counts == [1, 1, 0]


def test_callbacks_of_keras_see_a_model_of_their_training():
    """A rate that one training lowered, and a training that was stopped, change no later one."""
    kept = {}
    for seed in range(4):
        slow = keras.callbacks.ReduceLROnPlateau("loss", factor=0.1, patience=0, min_delta=9)
        stop = keras.callbacks.EarlyStopping("loss", patience=0, min_delta=9)
        callbacks = [slow, stop] if seed == 1 else []
        plain, own = (
            trained(dense, 0.01, seed, X, kept=where, callbacks=[*callbacks])
            for where in (None, kept)
        )
        assert_equal(own, plain)


def key_of(model, x=X, callbacks=(), **given):
    """Return by what a model is known that would be trained."""
    set_all(0)  # else the order of rows differs in each epoch, and batches are not made once
    lesson = Lesson(x, list(callbacks))
    rehearse(model, lesson.fit.specification())
    return stand_ins._key(lesson, model, batched(model, {"x": x, "y": Y, **given}))


def test_only_values_of_variables_may_differ():
    """Seeds, rates and names do not matter; all else tells models apart."""
    assert key_of(dense(0.1)) == key_of(dense(0.2)) is not None
    others = [
        dense(),
        dense(activation="tanh"),
        dense(momentum=0.8),
        dense(use_bias=False),
        dense(kernel_regularizer="l2"),
        dense(kernel_regularizer="l1"),
        dense(kernel_constraint="non_neg"),
        dense(dtype="bfloat16"),
        compiled(dense(), keras.optimizers.Adam(beta_1=0.8)),
        compiled(dense(), keras.optimizers.Adam(global_clipnorm=1.0)),
        compiled(dense(), "sgd"),
        compiled(dense(), loss="kl_divergence"),
        compiled(dense(), loss=keras.losses.SparseCategoricalCrossentropy()),
        compiled(dense(), loss=keras.losses.SparseCategoricalCrossentropy(axis=0)),
        compiled(dense(), loss=keras.losses.SparseCategoricalCrossentropy(dtype="float64")),
        compiled(dense(), steps_per_execution=2),
        compiled(dense(), weighted_metrics=["mse"]),
        compiled(dense(), loss_weights=0.5),
        dense(dtype="mixed_bfloat16"),
        of_policy("mixed_bfloat16"),
        changed(dense(), lambda model: setattr(model.layers[1], "supports_masking", False)),
        changed(dense(), lambda model: setattr(model, "optimizer", CLIPPED)),
        dense(dtype="mixed_bfloat16", autocast=False),
        changed(dense(), lambda model: setattr(model.layers[0].kernel, "regularizer", L2)),
        changed(dense(), lambda model: setattr(model.layers[0].kernel, "constraint", NORM)),
        changed(dense(), lambda model: setattr(model.layers[1], "activity_regularizer", L2)),
    ]
    keys = list(map(key_of, others))
    assert None not in keys
    assert len(set(keys)) == len(others)


def test_data_of_another_form_has_another_trace():
    """Batches of one size, weights, and validation data tell trainings apart."""
    keys = [
        key_of(dense()),
        key_of(dense(), batch_size=25),
        key_of(dense(), sample_weight=np.ones(50)),
        key_of(dense(), validation_data=(X, Y)),
        key_of(dense(), X.astype("int32")),
    ]
    assert None not in keys
    assert len(set(keys)) == len(keys)


def a_patched_layer():
    """Return a model with a layer whose call was replaced."""
    model = dense()
    model.layers[0].call = lambda inputs: inputs[:, :6]
    return model


def a_patched_cell():
    """Return a model with a recurrent layer whose cell's call was replaced."""
    cell = (model := recurrent(0.1)).layers[0].cell
    cell.call = lambda inputs, states, training=False: (states[0], states)
    return model


def a_layer_twice():
    """Return a model that calls one layer twice."""
    into, layer = keras.Input((8,)), layers.Dense(8)
    return compiled(keras.Model(into, layers.Dense(3)(layer(layer(into)))))


def of_two_outputs():
    """Return a model of two outputs."""
    into = keras.Input((8,))
    return compiled(keras.Model(into, [layers.Dense(3)(into), layers.Dense(3)(into)]))


class Own(layers.Dense):
    """A layer of the user's."""


CLIPPED = keras.optimizers.Adam(clipnorm=0.01)
L2, NORM = keras.regularizers.L2(0.1), keras.constraints.MaxNorm(0.1)


def changed(model, change):
    """Return a model after a change that its config may not tell."""
    change(model)
    return model


def of_policy(policy):
    """Return a model whose activation alone has another policy."""
    into = keras.Input((8,))
    return compiled(keras.Model(into, layers.Activation("relu", dtype=policy)(into)))


class OwnRegularizer(keras.regularizers.L2):
    """A regularizer of the user's."""


class OwnCallback(keras.callbacks.Callback):
    """A callback of the user's, which may keep the model."""


SCHEDULE = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
REFUSED = {
    "a schedule": lambda: compiled(dense(), keras.optimizers.Adam(SCHEDULE)),
    "a decay": lambda: compiled(dense(), keras.optimizers.AdamW(0.1)),
    "a decay of Adam": lambda: compiled(dense(), keras.optimizers.Adam(0.1, weight_decay=0.1)),
    "Huber": lambda: compiled(dense(), loss=keras.losses.Huber(2.0)),
    "an own loss": lambda: compiled(dense(), loss=lambda y, p: keras.ops.mean(p)),
    "an own metric": lambda: compiled(dense(), weighted_metrics=[keras.metrics.AUC()]),
    "an own activation": lambda: dense(activation=lambda x: x),
    "an own layer": lambda: compiled(keras.Sequential([keras.Input((8,)), Own(3)])),
    "a regularizer of its own": lambda: dense(kernel_regularizer=OwnRegularizer()),
    "a function that regularizes": lambda: dense(kernel_regularizer=lambda w: keras.ops.sum(w)),
    "a Lambda": lambda: compiled(
        keras.Sequential([keras.Input((8,)), layers.Lambda(lambda x: x), layers.Dense(3)])
    ),
    "a model within": lambda: compiled(keras.Sequential([keras.Input((8,)), dense()])),
    "a wrapper": lambda: compiled(
        keras.Sequential([keras.Input((8,)), layers.SpectralNormalization(layers.Dense(3))])
    ),
    "a patched layer": a_patched_layer,
    "a patched cell": a_patched_cell,
    "two outputs": of_two_outputs,
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_a_config_may_not_tell_has_a_trace_of_its_own(kind):
    """A model with a part that is not on our lists is trained by itself."""
    assert key_of(REFUSED[kind](), SERIES if kind == "a patched cell" else X) is None


def test_functions_of_one_name_are_told_apart():
    """Keras has two functions that configs call gelu, which round differently."""
    keys = [key_of(dense(activation=one)) for one in (keras.activations.gelu, keras.ops.gelu)]
    assert keys[0] != keys[1]


def test_a_layer_that_is_called_twice_is_no_two_layers():
    """A model that calls a layer twice differs from one that calls it once."""
    into = keras.Input((8,))
    once = compiled(keras.Model(into, layers.Dense(3)(layers.Dense(8)(into))))
    assert key_of(a_layer_twice()) != key_of(once)


def test_callbacks_of_the_user_have_a_trace_of_their_own():
    """A callback of the user's may keep the model that it sees."""
    assert key_of(dense(), callbacks=[OwnCallback()]) is None
    stop = keras.callbacks.EarlyStopping()
    assert key_of(dense(), callbacks=[stop]) is not None
    stop.on_train_end = lambda logs=None: None
    assert key_of(dense(), callbacks=[stop]) is None


def test_names_of_the_user_have_a_trace_of_their_own():
    """A name may stand for a function of the user's while one is registered."""
    with keras.saving.custom_object_scope({"mine": lambda y, p: keras.ops.mean(p)}):
        assert key_of(compiled(dense(), loss="mine")) is None


def test_a_training_that_broke_off_leaves_no_stand_in():
    """A stand-in may hold what belongs to the training that raised."""
    kept = {}
    for seed in (1, 2):
        trained(dense, 0.1, seed, X, kept)
    [key] = kept
    assert kept[key] is not None
    with pytest.raises(ValueError, match="unknown"):
        trained(dense, 0.1, 3, X, kept, validation_freq="unknown")
    assert key not in kept


class Breaks(keras.callbacks.Callback):
    """Break off in the second epoch."""

    def on_epoch_end(self, epoch, logs=None):
        """Act as Ctrl-C."""
        if epoch:
            raise KeyboardInterrupt


def test_a_model_has_learnt_what_a_training_that_broke_off_came_to():
    """Where fit raises, the builder's model has the weights and the history so far."""
    kept, found = {}, []
    for seed in (1, 2):
        trained(dense, 0.1, seed, X, kept)
    for plain in (False, True):
        set_all(3)
        model, lesson = dense(), Lesson(X)
        rehearse(model, lesson.fit.specification())
        keywords = {"x": X, "y": Y, "epochs": 3, "verbose": 0, "callbacks": [Breaks()]}
        keywords["validation_data"] = (X[:20], Y[:20])
        fit = partial(stand_ins.fit, kept, lesson, model, is_repeated=False)
        with pytest.raises(KeyboardInterrupt):
            model.fit(**keywords) if plain else fit(batched(model, keywords))
        variables = [*model.variables, *model.optimizer.variables]
        found.append((model.history.history, [np.asarray(one) for one in variables]))
    assert_equal(*found)


@pytest.mark.parametrize("name", ["b", "c"])
def test_inputs_are_found_by_their_names(name):
    """A model that takes another column of the data has a trace of its own."""

    def build(rate, column=name):
        into = keras.Input((8,), name=column)
        return compiled(keras.Model(into, layers.Dense(3, "softmax")(into)))

    data = {"b": X, "c": X[::-1].copy()}
    other = "c" if name == "b" else "b"
    assert key_of(build(0.1), data) != key_of(build(0.1, other), data)


def test_a_layer_that_was_changed_is_not_cloned():
    """A regularizer that came too late for plain Keras comes too late for a stand-in."""

    def build(rate):
        model = dense(rate)
        model.layers[0].kernel_regularizer = L2
        return model

    kept = {}
    for seed in range(3):
        assert_equal(trained(build, 0.01, seed, X, kept), trained(build, 0.01, seed, X))


def test_what_a_training_shows_afterwards_is_the_models_own():
    """Metrics, the wish to stop, the history's and the callbacks' model are as after plain fit."""
    kept = {}
    for seed in range(3):
        stop = keras.callbacks.EarlyStopping("loss", patience=0, min_delta=9)
        set_all(seed)
        model, lesson = dense(), Lesson(X, [stop])
        rehearse(model, lesson.fit.specification())
        keywords = {"x": X, "y": Y, "epochs": 3, "verbose": 0, "callbacks": [stop]}
        stand_ins.fit(kept, lesson, model, batched(model, keywords), is_repeated=True)
        assert model.stop_training
        assert model.history.model is stop.model is model
        assert model.get_metrics_result()["loss"] == model.history.history["loss"][-1]


def test_few_stand_ins_are_kept():
    """The oldest stand-ins go where there are many architectures."""
    kept = {}
    for units in range(10):
        for _ in range(2):
            set_all(0)
            model = compiled(keras.Sequential([keras.Input((8,)), layers.Dense(3 + units)]))
            rehearse(model, Lesson().fit.specification())
            keywords = batched(model, {"x": X, "y": Y, "verbose": 0})
            stand_ins.fit(kept, Lesson(), model, keywords, is_repeated=False)
    assert [one is None for one in kept.values()] == [True] * 2 + [False] * 8


def test_memory_lets_stand_ins_go():
    """A trial that ran out of memory finds none of earlier trials."""
    memory = Memory()
    memory.traced["one"] = dense()
    memory.empty()
    assert not memory.traced


def searched(folder, **options):
    """Return the models that a builder made, and the study of its search."""
    made = []

    def build_model(trial):
        made.append(dense(trial.suggest_float("rate", 1e-3, 1e-1)))
        return made[-1]

    tuner = OptunaTuner(build_model, "val_loss", seed=0, directory=folder, **options)
    tuner.search(X, Y, validation_data=(X[:20], Y[:20]), epochs=3, verbose=0)
    return made, tuner


def test_models_that_a_builder_keeps_are_trained(tmp_path):
    """A builder's own list of models holds what each of them learnt, and nothing later."""
    made, tuner = searched(tmp_path, n_trials=4, pruner="none")
    for model, trial in zip(made, tuner.study.trials, strict=False):
        curve = [trial.intermediate_values[epoch] for epoch in sorted(trial.intermediate_values)]
        assert model.evaluate(X[:20], Y[:20], verbose=0)[0] == pytest.approx(curve[-1], rel=1e-5)


def test_executions_share_a_trace(tmp_path, traces, monkeypatch):
    """The trainings of a trial are traced once, and come to what each comes to alone."""
    options = {"n_trials": 2, "executions_per_trial": 3, "pruner": "none"}
    _, shared = searched(tmp_path / "shared", **options)
    assert len(traces) == 1
    monkeypatch.setattr(stand_ins, "_key", lambda *_: None)
    _, alone = searched(tmp_path / "alone", **options)
    assert [one.values for one in shared.study.trials] == [one.values for one in alone.study.trials]
    assert len(traces) == 1 + 6
