"""ensemble(): which models it chooses, the one model it makes of them, and what it prints."""

import subprocess
import sys
from functools import cache

import keras
import numpy as np
import pytest
from keras import layers

from kerastune_optuna import ArgumentError, ArgumentTypeError, WeightsError
from tests.support.models import build_eager, in_classes
from tests.support.untrained import Untrained, run, tuner_in
from tests.zoo.data import Batches

X, Y = in_classes(96)
HELD = X[72:], Y[72:]
TARGETS = {"classes": Y, "two": (Y > 0).astype("int64"), "value": X.sum(axis=1)}


def compiled(model, **given):
    """Compile a model that needs no graph: it would take longer to trace than to train."""
    model.compile("sgd", run_eagerly=keras.backend.backend() == "tensorflow", **given)
    return model


def hidden(trial, inputs):
    """Return the layer that all these models have, with a penalty in their loss."""
    units = trial.suggest_int("units", 2, 9)
    return layers.Dense(units, activation="tanh", kernel_regularizer="l2")(inputs)


def of_logits(trial):
    inputs = keras.Input((4,), name="numbers")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model = keras.Model(inputs, layers.Dense(3)(hidden(trial, inputs)))
    return compiled(model, loss=loss, metrics=["accuracy"])


def of_two_classes(trial):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.parts = [layers.Dense(trial.suggest_int("units", 2, 9)), layers.Dense(1)]

        def call(self, x):
            return self.parts[1](self.parts[0](x))

    metrics = [keras.metrics.AUC(from_logits=True)]
    return compiled(Own(), loss=keras.losses.BinaryCrossentropy(from_logits=True), metrics=metrics)


def of_values(trial):
    model = keras.Sequential([layers.Dense(trial.suggest_int("units", 2, 9)), layers.Dense(1)])
    return compiled(model, loss="mse", metrics=["mae"])


def of_two_outputs(trial):
    inputs = keras.Input((4,))
    x = hidden(trial, inputs)
    outputs = {"kind": layers.Dense(3, "softmax")(x), "size": layers.Dense(1)(x)}
    loss = {"kind": "sparse_categorical_crossentropy", "size": "mse"}
    return compiled(keras.Model(inputs, outputs), loss=loss, metrics={"kind": ["accuracy"]})


@cache
def base():
    """Return what all models share that are made on it."""
    return keras.Sequential([keras.Input((4,)), layers.Dense(5, "tanh")])


def on_a_base(trial):
    """Return a classifier on a base that stays frozen."""
    base().trainable = False
    own = layers.Dense(trial.suggest_int("units", 2, 9))
    model = keras.Sequential([keras.Input((4,)), base(), own, layers.Dense(3, "softmax")])
    return compiled(model, loss="sparse_categorical_crossentropy")


KINDS = {
    "classes": (build_eager, "val_accuracy", "classes", lambda p: p),
    "logits": (of_logits, "val_loss", "classes", keras.activations.softmax),
    "two classes": (of_two_classes, "val_auc", "two", keras.activations.sigmoid),
    "values": (of_values, "val_mae", "value", lambda p: p),
    "outputs": (of_two_outputs, "val_kind_accuracy", {"kind": "classes", "size": "value"}, None),
}


def part(targets, rows):
    return keras.tree.map_structure(lambda name: TARGETS[name][rows], targets)


def searched(search, build, objective, targets="classes", **options):
    x, y = X[:48], part(targets, slice(48))
    fit = {"x": x, "y": y, "validation_data": (X[48:72], part(targets, slice(48, 72)))}
    return search(build, objective, **{"n_trials": 3, "keep_best": 3, **options}, fit=fit)


SHARING = (on_a_base, "val_loss", "classes", None)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_model_is_the_weighted_mean_and_has_the_value_of_the_result(search, kind):
    """Probabilities or values are averaged, and it evaluates as told, no worse than a member."""
    build, objective, targets, scale = KINDS[kind]
    tuner = searched(search, build, objective, targets)
    y = part(targets, slice(72, None))
    found = tuner.ensemble(HELD[0], y)
    logs = found.model.evaluate(HELD[0], y, verbose=0, return_dict=True)
    watched = tuner._home.objectives.watched
    assert watched.find(f"val_{name}" for name in logs)
    assert found.value in [pytest.approx(value, abs=1e-6) for value in logs.values()]
    of_best = min(watched.cost(one.value) for one in found.members)
    assert watched.cost(found.value) <= of_best + 1e-6
    assert sum(one.weight for one in found.members) == pytest.approx(1)
    if scale is not None:
        mean = 0
        for one in found.members:
            predicted = tuner.best_model(one.trial.number).predict(HELD[0], verbose=0)
            mean = mean + one.weight * np.asarray(scale(predicted))
        averaged = np.asarray(scale(found.model.predict(HELD[0], verbose=0)))
        assert averaged == pytest.approx(mean, abs=1e-5)


def constant(trial):
    """Return a model that always predicts the value that its training is made up to reach."""
    return Untrained(1, [{"val_mae": trial.suggest_float("level", 0, 1)}], columns=1)


def constants(folder, *levels, **options):
    options = {"n_trials": len(levels), "pruner": "none", "keep_best": 5, **options}
    tuner = tuner_in(folder, constant, "val_mae", **options)
    for level in levels:
        tuner.enqueue({"level": level})
    return run(tuner, epochs=1)


def test_the_weights_are_those_that_suit_the_rows(tmp_path):
    """Of 0.2, 0.4 and 0.95, a quarter of the second and three quarters of the last make 0.8125."""
    found = constants(tmp_path, 0.2, 0.4, 0.95).ensemble(np.zeros((4, 1)), np.full(4, 0.8125))
    assert found.value == pytest.approx(0, abs=1e-6)
    assert {one.trial.number: one.weight for one in found.members} == {2: 0.75, 1: 0.25}
    assert [one.value for one in found.members] == pytest.approx([0.1375, 0.4125])


@pytest.mark.slow
def test_kept_models_alone_take_part(tmp_path):
    """A trial that lost its weights before keep_best= was raised is left out, and top= counts."""
    constants(tmp_path, 0.4, 0.2, keep_best=1)
    tuner = constants(tmp_path, 0.3, 0.9, 0.6, n_trials=5)
    rows = np.zeros((4, 1)), np.full(4, 0.7)
    assert tuner.ensemble(*rows).tried == 4
    assert tuner.ensemble(*rows, top=3).tried == 2, "one of the best three has no weights"


def batches():
    """Return the held-out rows in batches that come in another order each time."""
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices(HELD).shuffle(24).batch(7)


@pytest.mark.slow
def test_batches_give_what_arrays_give(search):
    """Whatever brings the rows, and in whatever order, the weights and the value are the same."""
    tuner = searched(search, build_eager, "val_loss")
    of_arrays, *others = (tuner.ensemble(*data) for data in (HELD, [batches()], [Batches(*HELD)]))
    for found in others:
        assert [one.weight for one in found.members] == [one.weight for one in of_arrays.members]
        assert found.value == pytest.approx(of_arrays.value, abs=1e-6)


def test_the_result_prints_as_one_table(tmp_path):
    """It has the value of the ensemble, and the weight, value and parameters of each member."""
    found = constants(tmp_path, 0.2, 0.4, 0.95).ensemble(np.zeros((4, 1)), np.full(4, 0.8125))
    rows = [line.split() for line in str(found).splitlines() if line.strip()]
    assert rows[1] == ["trial", "weight", "val_mae", "parameters"]
    assert [row[:2] for row in rows[3:6]] == [["ensemble", "1.00"], ["2", "0.75"], ["1", "0.25"]]
    assert [row[2:] for row in rows[4:6]] == [["0.1375", "level=0.95"], ["0.4125", "level=0.4"]]
    assert "Chosen by these rows from 3 kept models, so the value is optimistic." in str(found)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [KINDS["logits"], KINDS["outputs"], SHARING])
def test_the_saved_file_needs_only_keras(search, tmp_path, kind):
    """A process without this package loads it and predicts the same, also if members share."""
    build, objective, targets, _ = kind
    found = searched(search, build, objective, targets).ensemble(
        X[72:], part(targets, slice(72, None))
    )
    found.model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", HELD[0])
    code = "import sys, keras, numpy; folder = sys.argv[1]\n"
    code += "model = keras.models.load_model(f'{folder}/model.keras')\n"
    code += "predicted = model.predict(numpy.load(f'{folder}/x.npy'), verbose=0)\n"
    code += "numpy.savez(f'{folder}/out.npz', *keras.tree.flatten(predicted))\n"
    code += "assert 'kerastune_optuna' not in sys.modules"
    subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", code, tmp_path], check=True)
    own = keras.tree.flatten(found.model.predict(HELD[0], verbose=0))
    loaded = np.load(tmp_path / "out.npz")
    for place, one in enumerate(own):
        assert loaded[f"arr_{place}"] == pytest.approx(one, abs=1e-6)


ARGUMENTS = [
    ({"top": 1}, ArgumentError, "top=1 is less than 2"),
    ({"x": None}, ArgumentTypeError, "x of type NoneType is not data that can be evaluated"),
    ({"x": iter(())}, ArgumentTypeError, "evaluated more than once. Pass arrays"),
    ({"y": None}, ArgumentError, "no targets to compare predictions with"),
    ({"y": Y[:3]}, ArgumentError, "x has 96 rows and y has 3"),
    ({"x": X[:0], "y": Y[:0]}, ArgumentError, "x is empty. Pass"),
]


@pytest.mark.parametrize(("given", "kind", "told"), ARGUMENTS)
def test_wrong_data_is_refused_at_once(make_tuner, given, kind, told):
    """The error comes before anything is read from the study, which does not exist here."""
    with pytest.raises(kind, match=told):
        make_tuner().ensemble(**{"x": X, "y": Y, **given})


def test_one_model_is_no_ensemble(tmp_path):
    """The error says what to pass before the search; several objectives have no best models."""
    for keep_best, told in ((0, "keeps 0 models"), (1, "keeps 1 model, and")):
        tuner = constants(tmp_path, 0.2, 0.4, study_name=f"keeps {keep_best}", keep_best=keep_best)
        with pytest.raises(WeightsError, match=f"{told}.* Pass keep_best=5 to the tuner before it"):
            tuner.ensemble(X, Y)
    several = tuner_in(tmp_path, constant, ["val_mae", "n_params"], study_name="several")
    with pytest.raises(ArgumentError, match=r"to minimize val_mae, minimize n_params\. Search for"):
        several.ensemble(X, Y)


def test_models_that_cannot_be_joined_are_named(search):
    """A tuned length of a window, or a metric that no model has, is told before anything is."""

    def windowed(trial):
        wide = trial.suggest_categorical("columns", [2, 4])
        return Untrained(1, [{"val_mae": 0.1, "val_own": 0.1}], columns=wide)

    options = {"sampler": "grid", "n_trials": 2, "keep_best": 2}
    tuner = search(windowed, "val_mae", **options)
    told = r"trials 0 and 1, which take different shapes: \(\d,\) and \(\d,\)\. A parameter"
    with pytest.raises(ArgumentError, match=told):
        tuner.ensemble(X, Y)

    def by_callback(trial):
        return Untrained(trial.suggest_int("units", 1, 2), [{"val_own": 0.1}], columns=4)

    options |= {"direction": "minimize", "study_name": "own"}
    fit = {"callbacks": [keras.callbacks.LambdaCallback()]}  # which may add metrics
    tuner = search(by_callback, "val_own", **options, fit=fit)
    with pytest.raises(ArgumentError, match=r"'val_own' is not among .*: loss, mae\. Add it to"):
        tuner.ensemble(X, Y)


def test_models_without_a_loss_are_refused(search):
    """A train_step of their own makes one from more than predictions, as a distillation does."""

    def distilled(trial):
        model = Untrained(trial.suggest_int("units", 1, 9), [{"val_mae": 0.1}], columns=4)
        model.compile("sgd")
        return model

    tuner = search(distilled, "val_mae", n_trials=2, keep_best=2)
    with pytest.raises(ArgumentError, match=r"without a loss, .* Pass loss= to compile\(\)"):
        tuner.ensemble(X, Y)


def test_a_model_that_is_not_compiled_is_refused(search):
    """Nothing says what its predictions are worth: it has no loss either."""

    def own(trial):
        return keras.Sequential([keras.Input((4,)), layers.Dense(trial.suggest_int("n", 1, 9))])

    def fit(trial, model, **_):
        model.layers[0].bias.assign_add(np.ones(trial.params["n"]))
        return float(model.count_params())

    own.fit = fit
    options = {"direction": "maximize", "n_trials": 2, "keep_best": 2}
    tuner = search(own, "score", **options)
    with pytest.raises(ArgumentError, match=r"without a loss, .* Pass loss= to compile\(\)"):
        tuner.ensemble(X, Y)
