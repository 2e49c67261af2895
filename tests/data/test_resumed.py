"""Where the data of a resumed training begins, if steps_per_epoch= ends the epochs."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerastune_optuna._trial.backup import _tell_once
from tests.data.test_checks import endless
from tests.support.faults import interrupt_after
from tests.support.marks import mostly_nightly
from tests.support.models import history
from tests.trial.test_backup import dropping

ROWS = np.random.default_rng(0).normal(size=(96, 4)).astype("float32")
CLASSES = np.random.default_rng(1).integers(0, 3, 96)
PAIR = ROWS, CLASSES
BATCHES = 6  # of 16 rows
ON = keras.backend.backend()


def dataset():
    """Return a tf.data.Dataset of batches that shuffles."""
    return tf.data.Dataset.from_tensor_slices(PAIR).shuffle(96, seed=1).batch(16)


def plain():
    """Return one that keeps the order."""
    return tf.data.Dataset.from_tensor_slices(PAIR).batch(16)


class Rows(keras.utils.PyDataset):
    """Give the rows in their order."""

    @property
    def num_batches(self):
        """The number of batches."""
        return BATCHES

    def __getitem__(self, index):
        place = slice(16 * index, 16 * (index + 1))
        return ROWS[place], CLASSES[place]


# Of each, what makes the data, how many steps an epoch has, and whether a training of it goes on
# where it was interrupted.
DATA = {
    "endless": (lambda: dataset().repeat(), 4, ON == "tensorflow"),
    "endless, by whole readings": (lambda: dataset().repeat(), BATCHES, ON == "tensorflow"),
    "endless, unshuffled": (lambda: plain().repeat(), 4, True),
    "all batches": (dataset, BATCHES, True),
    "a part": (dataset, 2, False),
    "a generator": (lambda: endless(*PAIR), 4, True),
    "all arrays": (None, BATCHES, True),
    "a part of arrays": (None, 3, False),
    "a part of a PyDataset": (Rows, 3, False),
}


@pytest.mark.parametrize(
    ("make", "steps", "goes_on"),
    mostly_nightly(DATA, "endless", "endless, by whole readings", "all batches", "a part"),
)
def test_a_resumed_training_gets_the_batches_of_an_unbroken_one(
    search, capsys, make, steps, goes_on
):
    """It goes on with the batch after the last one, or begins anew where Keras cannot read that."""
    _tell_once.cache_clear()
    ended, validation = [], dataset()
    x, y = PAIR if make is None else (make(), None)
    given = {"x": x, "y": y, "epochs": 4, "steps_per_epoch": steps, "batch_size": 16}
    given |= {"validation_data": validation, "validation_steps": 2}
    if make is not None:
        del given["batch_size"]
    options = {"objective": "val_loss", "n_trials": 1, "backup_every": 0, "seed": 5}
    with pytest.raises(KeyboardInterrupt):
        search(dropping, **options, fit={**given, "callbacks": [interrupt_after(2, ended)]})
    told = capsys.readouterr().err.count("A training that is interrupted begins anew: with steps_")
    tuner = search(dropping, **options, fit={**given, "callbacks": [interrupt_after(0, ended)]})
    is_resumed = goes_on and ON != "torch"
    assert ended == [0, 1, *([1, 2, 3] if is_resumed else [0, 1, 2, 3])]
    assert told == (not is_resumed)
    unbroken = search(dropping, study_name="unbroken", **options, fit=given)
    assert history(tuner, 1) == history(unbroken, 0)


def comes_to_the_same(search, **data):
    """Whether a training that was interrupted and resumed has the history of an unbroken one."""
    options = {"objective": "val_loss", "n_trials": 1, "backup_every": 0, "seed": 5}
    given = {"y": None, "epochs": 4, **data}
    with pytest.raises(KeyboardInterrupt):
        search(dropping, **options, fit={**given, "callbacks": [interrupt_after(2, [])]})
    tuner = search(dropping, **options, fit=given)
    unbroken = search(dropping, study_name="unbroken", **options, fit=given)
    return history(tuner, 1) == history(unbroken, 0)


def test_finite_data_that_shuffles_keeps_its_orders(search):
    """Each epoch and each evaluation of a resumed training has the order of an unbroken one."""
    assert comes_to_the_same(search, x=dataset(), validation_data=dataset())


class Alike(Rows):
    """Shuffle by a generator that all of its instances share, at both ends of an epoch."""

    chance = np.random.default_rng(7)

    def __init__(self):
        super().__init__()
        self.order, self.noise = np.arange(96), 0

    def on_epoch_begin(self):
        """Draw what the epoch adds."""
        self.noise = self.chance.normal(size=(96, 4))

    def on_epoch_end(self):
        """Draw the order of the next one."""
        self.chance.shuffle(self.order)

    def __getitem__(self, index):
        place = self.order[16 * index : 16 * (index + 1)]
        return (ROWS + self.noise)[place], CLASSES[place]


@pytest.mark.slow
def test_pydatasets_that_share_a_generator_draw_in_the_order_of_keras(search):
    """What an earlier process has trained draws after Keras has begun the training."""
    assert comes_to_the_same(search, x=Alike(), validation_data=Alike())
