"""Variables made before the training save a trace, and change nothing else."""

import keras
import numpy as np
import optuna
import pytest
import tensorflow as tf

from kerastune_optuna._data import FitArguments
from kerastune_optuna._trial.fast import ASSIGNING, rehearse
from kerastune_optuna._trial.ready import names_of_metrics
from tests.support.noise import Noise
from tests.zoo import ANIMALS

# A rehearsal saves a trace of TensorFlow's: with other backends there is none to save.
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="only TensorFlow's trainings are rehearsed"
)


def specify(x, y=None):
    return FitArguments(x, y, epochs=1, validation_data=None, validation_split=0.0).specification()


X, Y = np.random.default_rng(0).normal(size=(96, 8)).astype("float32"), np.arange(96) % 3
BATCH = specify(X, Y)
BUILT, UNBUILT = (keras.Input((8,)),), ()
FREE = keras.optimizers.ScheduleFreeAdamW


class OwnStep(keras.Sequential):
    """Be evaluated in a way of one's own."""

    def test_step(self, data):
        """Evaluate."""
        return super().test_step(data)


class Subclassed(keras.Sequential):
    """Be of a kind of which only a call tells what it makes."""


def compiled(*between, kind=keras.Sequential, first=BUILT, optimizer=keras.optimizers.Adam):
    keras.utils.set_random_seed(0)
    softmax = keras.layers.Dense(3, activation="softmax")
    model = kind([*first, keras.layers.Dense(8, activation="relu"), *between, softmax])
    model.compile(optimizer(), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def fit(model):
    options = {"validation_data": (X, Y), "epochs": 2, "shuffle": False, "verbose": 0}
    return model.fit(X, Y, **options).history


def traced(model):
    """Return how often training traces the model's loss, and the losses."""
    seen, compute = [], model.compute_loss

    def count(*arguments, training=True, **options):
        seen.append(training)
        return compute(*arguments, training=training, **options)

    model.compute_loss = count
    losses = fit(model)
    return seen.count(True), losses


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "options"),
    [
        (Noise, {}),
        (keras.layers.BatchNormalization, {"first": UNBUILT}),
        (keras.layers.Dropout, {"optimizer": FREE}),
    ],
)
def test_a_rehearsal_saves_a_trace_and_changes_no_training(layer, options):
    """Layers and optimizers with seeds or states of their own train as without it, traced once."""
    made = {"rate": 0.3} if layer is keras.layers.Dropout else {}
    rehearsed, plain = (compiled(layer(**made), **options) for _ in range(2))
    rehearse(rehearsed, BATCH)
    assert rehearsed.optimizer.built
    (once, losses), (twice, expected) = traced(rehearsed), traced(plain)
    assert (once, twice) == (1, 2)
    assert losses == expected


def made_by(kind, *, in_a_trace, **options):
    """Return what an optimizer's variables hold after it was built."""
    optimizer, weight = kind(**options), keras.Variable([[1.0, 2.0], [3.0, 4.0]])

    def build():
        optimizer.build([weight])

    (tf.function(build).get_concrete_function if in_a_trace else build)()
    return [variable.numpy().tolist() for variable in optimizer.variables]


@pytest.mark.parametrize("options", [{}, {"use_ema": True, "gradient_accumulation_steps": 2}])
def test_only_the_named_optimizers_assign_to_a_variable_when_they_are_built(options):
    """All others are built at once, since their variables are then those that fit() makes."""
    kinds = {
        name: kind
        for name, kind in vars(keras.optimizers).items()
        if isinstance(kind, type) and issubclass(kind, keras.optimizers.Optimizer)
    }
    free, *holders = ASSIGNING
    assert kinds.keys() >= {*ASSIGNING, "Adam", "SGD", "Nadam"}
    differ = set()
    for name in kinds.keys() - {*holders, "Optimizer"}:
        built, traced = (made_by(kinds[name], in_a_trace=at, **options) for at in (False, True))
        differ |= {name} if built != traced else set()
    assert differ == {free}


@pytest.mark.parametrize(
    "name", ["flat_columns_to_classes", "flat_and_wide_to_class_column", "flat_to_binary"]
)
def test_a_name_of_a_metric_means_what_it_means_in_fit(name):
    """Keras chooses the metric "accuracy" by shapes, after a model has given columns their rank."""
    animal, logs = ANIMALS[f"{name}_arrays"], []
    train = animal.data()
    for is_rehearsed in (True, False):
        keras.utils.set_random_seed(0)
        model = animal.build(optuna.trial.FixedTrial({"lr": 0.01}))
        if is_rehearsed:
            rehearse(model, specify(train["x"], train["y"]))
            assert model._compile_metrics.built
        logs.append(model.fit(train["x"], train["y"], verbose=0).history)
    assert logs[0] == logs[1]


def test_names_of_metrics_leave_the_optimizer_to_fit():
    """Without a rehearsal, as for a subclass that was not called yet, the check builds none."""
    model = compiled(kind=Subclassed, first=UNBUILT)
    fit = FitArguments(X, Y, epochs=1, validation_data=None, validation_split=0.0)
    assert names_of_metrics(model, fit) == {"accuracy", "loss"}
    assert not model.optimizer.built


def mirrored():
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        return compiled()


@pytest.mark.parametrize(
    "make",
    [lambda: compiled(kind=OwnStep), lambda: compiled(kind=Subclassed, first=UNBUILT), mirrored],
    ids=["an own step", "a subclass without inputs", "a strategy"],
)
def test_what_could_show_is_left_alone(make):
    """A model with a step of its own, that only a call builds, or of a strategy stays as it is."""
    model = make()
    rehearse(model, BATCH)
    assert not model.optimizer.built
    assert not model._compile_metrics.built


@pytest.mark.parametrize("batch_size", [None, 32])
def test_a_dataset_tells_its_batches(batch_size):
    """Arrays and datasets of them are specified alike; batches of one size keep it."""
    dataset = tf.data.Dataset.from_tensor_slices((X, Y)).batch(32, drop_remainder=bool(batch_size))
    x, y = specify(dataset, None)
    assert (x.shape, x.dtype) == ((batch_size, 8), "float32")
    assert (y.shape, y.dtype) == ((batch_size,), "int64")
    assert [leaf.shape for leaf in BATCH] == [(None, 8), (None,)]


def test_other_data_tells_nothing():
    """Batches that only reading would show are not specified."""
    assert specify(tf.data.Dataset.range(3)) is None  # of single rows
    assert specify(tf.ragged.constant([[1], [1, 2]]), Y[:2]) is None
    assert specify([[1.0], [2.0]], [0, 1]) is None
