"""A trial is plain Model.fit with its seed, digit by digit, in short and long trainings.

`python -m tests.benchmarks.zoo`, which .ci/nightly runs, trains models of all kinds so.
"""

import keras
import numpy as np
import pytest
from optuna.trial import FixedTrial

from tests.benchmarks import zoo

OF_LAYERS = ["conv_batch_norm", "augmentation", "attention", "unbuilt_batch_norm", "mixed_float16"]
OF_MODELS = ["swap_ema", "adamw_clipped", "batch_size", "vae_add_loss", "diffusion"]
OF_MODELS += ["subclassed_says_built", "dict_subclassed", "schedule_free", "muon"]
OF_MODELS += ["multi_optimizer", "distiller"]
OF_DATA = ["text_objects", "tf_data_of_trial", "generator_function", "grain_map", "grain_iter"]
OF_DATA += ["grain_loader", "grain_endless", "grain_function"]
OF_DATA += ["list_of_four_arrays", "list_of_dict_and_array"]
OF_SHAPES = ["flat_columns_to_classes_tf_data", "two_ids_to_classes_arrays"]
LONG = ["many_steps_a_call", "many_steps_dropout", "many_steps_lstm", "many_steps_sampling"]
LONG += ["grain_many_steps"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # of Keras, of some data
@pytest.mark.parametrize("name", [*OF_LAYERS, *OF_MODELS, *OF_DATA, *OF_SHAPES, *LONG])
def test_a_trial_is_plain_fit(name, monkeypatch, tmp_path):
    """Its epochs are those of Model.fit, and its best model has their weights and its value."""
    monkeypatch.setattr(zoo, "N_TRIALS", 1)
    came = [step([name], 1, tmp_path)[name] for step in (zoo.searched, zoo.compared)]
    assert zoo.verdict(*came) == (zoo.EQUAL, "")


ROWS = {"x": np.ones((12, 1)), "y": np.arange(12.0), "batch_size": 1, "epochs": 2, "verbose": 0}


class Order(keras.callbacks.Callback):
    """Note the rows of batches of one row, whose losses are the row's number."""

    def __init__(self, rows):
        super().__init__()
        self.rows, self.total = rows, 0.0

    def on_epoch_begin(self, epoch, logs=None):
        """Begin to count, as Keras does."""
        self.total = 0.0

    def on_train_batch_end(self, batch, logs=None):
        """Take the loss of the batch from the mean of the epoch so far."""
        total = float(logs["loss"]) * (batch + 1)
        self.rows.append(round(total - self.total))
        self.total = total


def that_gives_zero(trial):
    """Return a model that learns nothing, so that its error is the target."""
    trial.suggest_float("unused", 0, 1)  # so that no trial repeats another
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(keras.optimizers.SGD(0.0), "mae")
    return model


def order_of(trial):
    """Return the rows in the order of a plain training of a trial."""
    rows = []
    keras.utils.set_random_seed(trial.user_attrs["seed"])
    that_gives_zero(FixedTrial(trial.params)).fit(**ROWS, callbacks=[Order(rows)])
    return rows


@pytest.mark.slow
def test_two_seeds_read_the_rows_in_two_orders(search):
    """Each is that of plain fit; from Keras 3.16 on, seeds do not decide it, and guides say so."""
    orders = {}
    noted = {"callbacks": [lambda trial: Order(orders.setdefault(trial.number, []))]}
    tuner = search(that_gives_zero, "loss", fit={**ROWS, "validation_data": None, **noted})
    first, second = tuner.study.trials
    assert first.user_attrs["seed"] != second.user_attrs["seed"]
    assert orders == {0: order_of(first), 1: order_of(second)}
    assert [sorted(rows) for rows in orders.values()] == [sorted([*range(12)] * 2)] * 2
    version = tuple(map(int, keras.version().split(".")[:2]))
    assert (orders[0] == orders[1]) == (version >= (3, 16))
