"""refit(): the best configuration trained anew, on whatever data."""

import keras
import numpy as np
import pytest
from keras import layers

from kerastune_optuna import ArgumentError, ArgumentTypeError, NoTrialsError
from tests.support import falling
from tests.support.marks import mostly_nightly
from tests.support.models import Spy, build_eager, build_model, history
from tests.zoo import ANIMALS
from tests.zoo.data import Batches

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(36, 5, 3)).astype("float32"), np.arange(36) % 3


def build_noisy(trial):
    """Return a model that is not built and draws by chance, and the size of its batches."""
    model = build_model(trial)
    noisy = keras.Sequential([keras.layers.Dropout(0.3), *model.layers])
    noisy.compile(model.optimizer, model.loss, metrics=["accuracy"])
    return noisy, {"batch_size": 16}


@pytest.mark.slow
def test_the_same_data_and_epochs_give_the_trial_again(search, data):
    """The history is that of the trial, and its best epoch has the weights that were kept."""
    tuner = search(build_noisy, n_trials=2, seed=4, fit={"epochs": 3})
    x, y, validation = data
    _, trained = tuner.refit(x, y, 3, validation_data=validation, verbose=0)
    recorded = history(tuner, tuner.best_trial.number)
    for name, values in trained.history.items():
        assert values == pytest.approx([float(row[name]) for row in recorded], abs=1e-6)
    if keras.backend.backend() != "torch":  # where validation draws from what shuffles
        model, _ = tuner.refit(x, y, verbose=0)
        for again, kept in zip(model.get_weights(), tuner.best_model().get_weights(), strict=True):
            assert again == pytest.approx(kept, abs=1e-6)


@pytest.mark.slow
def test_what_is_left_out_is_as_in_the_search(search, data):
    """The size of a batch and the weights of classes, with which the trial had its loss."""
    others = {"batch_size": 5, "class_weight": {0: 1.0, 1: 3.0, 2: 1.0}}
    tuner = search(n_trials=1, fit={"epochs": 2, **others})
    _, trained = tuner.refit(*data[:2], 2, verbose=0)
    losses = [float(row["loss"]) for row in history(tuner, 0)]
    assert trained.history["loss"] == losses
    _, trained = tuner.refit(*data[:2], 2, batch_size=24, verbose=0)
    assert trained.history["loss"] != losses


@pytest.mark.slow
def test_an_accuracy_of_flat_columns_is_one_everywhere(make_tuner):
    """What workers, refit() and confirm() call accuracy is the share of rows that a model gets."""
    animal = ANIMALS["flat_columns_to_classes_arrays"]
    tuner = make_tuner(animal.build).search(**animal.arguments, n_workers=2, verbose=0)
    x, y = animal.arguments["validation_data"]
    right = tuner.best_model().predict(x, verbose=0).argmax(-1) == y
    assert tuner.best_value == pytest.approx(right.mean())
    _, trained = tuner.refit(**animal.arguments, verbose=0)
    assert max(trained.history["val_accuracy"]) == pytest.approx(right.mean())
    found = tuner.confirm(1, 2, **animal.arguments, verbose=0)
    assert min(found.winner.values) > 0.2


def chancy(trial):
    """Return a classifier of layers whose training depends on chance or on a state."""
    recurrent = layers.SimpleRNN(4, dropout=0.2, recurrent_dropout=0.2)
    others = [layers.BatchNormalization(), layers.Dropout(0.3), layers.Dense(3, "softmax")]
    model = keras.Sequential([keras.Input((5, 3)), recurrent, *others])
    rate = trial.suggest_float("lr", 1e-3, 1e-2)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    return model


@pytest.mark.slow
def test_more_epochs_go_on_as_the_trial_went(make_tuner):
    """The first epochs of any trial's longer training are those on record, to the last digit."""
    halving = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    data = {"x": lambda: X, "y": lambda: Y, "validation_data": lambda: (X, Y)}
    data |= {"batch_size": 8, "callbacks": [halving], "verbose": 0}
    make_tuner(chancy, "val_loss").search(epochs=3, **data)
    tuner = make_tuner(chancy, "val_loss")
    for trial in tuner.study.trials:
        _, trained = tuner.refit(epochs=6, trial=trial.number, **data)
        for name, values in trained.history.items():
            recorded = [float(row[name]) for row in history(tuner, trial.number)]
            assert (values[:3], len(values)) == (recorded, 6)


SHUFFLES = {"no seed": (None, 1), "a seed": (3, 1), "no seed, two": (None, 2)}


@pytest.mark.parametrize(("seed", "n_workers"), mostly_nightly(SHUFFLES, "no seed"))
def test_a_dataset_that_shuffles_does_so_again(search, data, comes_again, seed, n_workers):
    """Whatever was trained on it before, and whether shuffle() has a seed or not."""
    import tensorflow as tf

    x, y, _ = data
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(48, seed=seed).batch(8)
    tuner = search(n_trials=2, fit={"x": dataset, "y": None, "n_workers": n_workers})
    assert comes_again(tuner, 1, x=dataset, y=None)


def test_what_a_fit_of_the_builders_own_returns_comes_back(search, data):
    """In the place of a History."""
    own = lambda trial: falling.build(trial)  # noqa: E731
    own.fit = lambda trial, model, **given: model.fit(**given).history["val_loss"][-1]
    tuner = search(own, "val_loss", n_trials=1)
    x, y, validation = data
    _, came = tuner.refit(x, y, 2, validation_data=validation, verbose=0)
    assert came == tuner.best_value


@pytest.mark.slow
def test_it_trains_to_the_best_epoch_without_validation(search, data):
    """By default for as many epochs as led to the best one, and neither split nor data is asked."""
    tuner = search(n_trials=3, fit={"epochs": 4})
    x, y, _ = data
    for trial in tuner.study.trials:
        _, trained = tuner.refit(x, y, trial=trial.number, verbose=0)
        assert trained.epoch == list(range(trial.user_attrs["best_epoch"] + 1))
        assert set(trained.history) == {"accuracy", "loss"}


@pytest.mark.parametrize("first", [0, 3])
def test_it_trains_as_many_epochs_as_the_trial_from_any_number(search, data, first):
    """What counts is how many epochs led to the best one, and not which number Keras gives it."""
    fit = {"initial_epoch": 3, "epochs": 6}
    tuner = search(falling.build, "val_loss", n_trials=1, fit=fit)
    assert tuner.best_trial.user_attrs["best_epoch"] == 2
    _, trained = tuner.refit(*data[:2], initial_epoch=first, verbose=0)
    assert trained.epoch == [first, first + 1, first + 2]


def test_epochs_that_are_asked_for_are_all_trained(search, data):
    """The first epoch of the search counts for the epochs of the search alone."""
    tuner = search(falling.build, "val_loss", n_trials=1, fit={"initial_epoch": 4, "epochs": 6})
    _, trained = tuner.refit(*data[:2], 3, verbose=0)
    assert trained.epoch == [0, 1, 2]


MAKERS = {
    "batches": lambda x, y: lambda: Batches(x, y),
    "generator": lambda x, y: lambda: iter(Batches(x, y)),
    "of the trial": lambda x, y: lambda trial: Batches(x, y),
}


@pytest.mark.parametrize("made", MAKERS.values(), ids=MAKERS)
def test_a_function_that_makes_batches_gets_no_arguments_of_arrays(search, data, made):
    """What nobody passed is left out where the data that the function returns refuses it."""
    x, y, _ = data
    others = {"batch_size": 16, "class_weight": {0: 1.0, 1: 3.0, 2: 1.0}}
    tuner = search(falling.build, "val_loss", n_trials=1, fit=others)
    _, trained = tuner.refit(made(x, y), epochs=2, steps_per_epoch=3, verbose=0)
    assert trained.epoch == [0, 1]


def test_weights_of_rows_stand_for_those_of_classes(search, data):
    """Keras takes only one of them, so those that were passed count."""
    tuner = search(build_eager, n_trials=1, fit={"class_weight": {0: 1.0, 1: 3.0, 2: 1.0}})
    _, trained = tuner.refit(*data[:2], 1, sample_weight=np.zeros(48), verbose=0)
    assert trained.history["loss"] == [0]


def test_the_arguments_of_the_builder_apply(search, data):
    """But for its epochs, which are those that were asked for."""

    class Noting(falling.Falling):
        def fit(self, *given, batch_size, **others):
            seen.append(batch_size)
            return super().fit(*given, **others)

    def build(trial):
        return Noting(), {"batch_size": 24, "epochs": 3, "callbacks": [Spy(seen)]}

    seen = []
    tuner = search(build, n_trials=1)
    seen.clear()
    x, y, _ = data
    tuner.refit(lambda: x, lambda: y, epochs=2, verbose=0)
    assert seen == [24, "begin", 0, 1, "end"]


def test_callbacks_are_taken_as_they_are(search, data):
    """No copy is trained with, and functions are called with the trial."""
    mine, numbers = keras.callbacks.History(), []
    tuner = search(falling.build, "val_loss", n_trials=2)

    def make(trial):
        numbers.append(trial.number)
        return keras.callbacks.TerminateOnNaN()

    tuner.refit(*data[:2], 1, trial=1, callbacks=[mine, make], verbose=0)
    assert mine.epoch == [0]
    assert numbers == [1]


def test_the_study_does_not_change(search, data):
    """Neither trials nor attributes are written, and no file of the trial is overwritten."""
    tuner = search(falling.build, "val_loss", n_trials=1)
    before = tuner.study.trials, tuner.study.user_attrs
    tuner.refit(*data[:2], verbose=0)
    assert (tuner.study.trials, tuner.study.user_attrs) == before


def test_what_cannot_work_is_an_error(search, data):
    """Before anything is trained."""
    x, y, _ = data
    tuner = search(falling.build, "val_loss", n_trials=1)
    with pytest.raises(NoTrialsError, match=r"trial=3 is not a COMPLETE trial. Pass one of: 0"):
        tuner.refit(x, y, trial=3)
    with pytest.raises(ArgumentTypeError, match=r"refit\(\) got 'epoch'.*mean 'epochs'"):
        tuner.refit(x, y, epoch=3)
    with pytest.raises(ArgumentTypeError, match="x=None is no training data"):
        tuner.refit(None)
    with pytest.raises(ArgumentError, match="epochs=0 is less than 1"):
        tuner.refit(x, y, 0)
    with pytest.raises(ArgumentTypeError, match="callbacks holds 'csv'"):
        tuner.refit(x, y, callbacks=["csv"])
