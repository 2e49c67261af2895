"""What each training begins with: PyDatasets and generators as the search got them."""

import random
import threading

import keras
import numpy as np
import pytest
from optuna.trial import FixedTrial

from kerastune_optuna._data import Given, skip_datasets
from kerastune_optuna._data.anew import Beginning
from tests.benchmarks import zoo
from tests.support.faults import interrupt_after
from tests.support.models import build_eager, history
from tests.zoo.data import Batches
from tests.zoo.stateful import ANIMALS, Shuffled


@pytest.mark.slow
@pytest.mark.parametrize("name", ANIMALS)
def test_no_trial_depends_on_those_before_it(name, monkeypatch, tmp_path):
    """The second trial is plain Model.fit with its seed, too, whatever the first one changed."""
    monkeypatch.setattr(zoo, "N_TRIALS", 2)
    came = [step([name], 1, tmp_path)[name] for step in (zoo.searched, zoo.compared)]
    assert zoo.verdict(*came) == (zoo.EQUAL, "")


@pytest.mark.slow
def test_a_resumed_training_reads_the_rows_in_the_order_of_an_unbroken_one(search, data):
    """The epochs before are told to the dataset, which shuffles as it did in the first try."""
    x, y, _ = data
    options = {"n_trials": 1, "backup_every": 0}

    def given(*callbacks):
        return {"x": Shuffled(x, y), "y": None, "epochs": 4, "callbacks": callbacks}

    whole = search(build_eager, fit=given(), study_name="whole", **options)
    with pytest.raises(KeyboardInterrupt):
        search(build_eager, fit=given(interrupt_after(3, [])), **options)
    resumed = search(build_eager, fit=given(), **options)
    assert [one.state.name for one in resumed.study.trials] == ["FAIL", "COMPLETE"]
    assert history(resumed, 1) == history(whole, 0)


def beginning_with(**attributes):
    """Return a dataset with such attributes, and its beginning."""
    dataset = Shuffled(np.zeros((64, 1)), np.zeros(64))
    vars(dataset).update(attributes)
    return dataset, Beginning({"x": dataset})


class Thing:
    """Hold an array, as an object of the user's."""

    def __init__(self, rows):
        self.rows = rows


HOLDERS = {
    "itself": lambda one: one,
    "a tuple": lambda one: (one,),
    "a dict of lists": lambda one: {"a": [one]},
    "an object": Thing,
}


@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS)
def test_a_dataset_is_set_back_before_and_after_a_training(hold):
    """It stays the same object; Python's generators are not drawn from; large arrays are shared."""
    large, layer = np.zeros(9_000_000), keras.layers.Dropout(0.5)
    dataset, beginning = beginning_with(large=large, layer=layer, held=hold(large))
    before, chance = dataset.order.tolist(), random.getstate()
    dataset.on_epoch_end()
    for _ in range(2):
        with beginning.of_training():
            assert dataset.order.tolist() == before
            dataset.on_epoch_end()
            dataset.seen = True
    assert dataset.order.tolist() == before
    assert not hasattr(dataset, "seen")
    assert dataset.large is large
    assert getattr(dataset.held, "rows", large) is large
    assert random.getstate() == chance


@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS)
def test_generators_of_keras_draw_the_same_again(hold):
    """Those that a dataset holds, wherever they lie."""
    chance = keras.random.SeedGenerator(0)
    _, beginning = beginning_with(held=hold(chance))
    drawn = []
    for _ in range(2):
        with beginning.of_training():
            drawn.append(keras.ops.convert_to_numpy(chance.next()).tolist())
    assert drawn[0] == drawn[1]


def test_a_long_list_is_put_in_order_again():
    """Without a copy of each of its items."""
    files = [(f"{number}.png", number % 3) for number in range(20_000)]
    dataset, beginning = beginning_with(files=files.copy())
    with beginning.of_training():
        dataset.files.reverse()
    assert dataset.files == files
    assert dataset.files[0] is files[0]


def test_no_more_is_copied_than_a_limit():
    """In all: of ten arrays of 8 MB two are shared, whose change is told of."""
    dataset, beginning = beginning_with(arrays=tuple(np.zeros(1_000_000) for _ in range(10)))
    with pytest.warns(UserWarning, match="large array"), beginning.of_training():
        dataset.arrays = [np.add(array, 1, out=array) for array in dataset.arrays]
    assert [array[0] for array in dataset.arrays] == [0.0] * 7 + [1.0] * 3


def test_a_dataset_that_cannot_be_copied_is_told_of():
    """One line names the argument, and the function that cures it."""
    with pytest.warns(UserWarning, match=r"x is a Shuffled.*lock.*x=lambda trial: Shuffled\("):
        dataset, beginning = beginning_with(lock=threading.Lock())
    with beginning.of_training():
        assert dataset.lock is not None


def test_one_that_cannot_be_copied_is_named_alone():
    """The other dataset is set back as ever."""
    one, other = (Shuffled(np.zeros((64, 1)), np.zeros(64)) for _ in range(2))
    other.lock, before = threading.Lock(), one.order.tolist()
    with pytest.warns(UserWarning, match="^validation_data is a Shuffled") as got:
        beginning = Beginning({"x": one, "validation_data": other})
    assert len(got) == 1
    with beginning.of_training():
        one.on_epoch_end()
    assert one.order.tolist() == before


def test_a_large_array_that_a_training_changed_is_told_of():
    """Once, with the function that cures it, since it is not set back."""
    dataset, beginning = beginning_with(rows=np.arange(9_000_000.0))
    with (
        pytest.warns(UserWarning, match=r"x is a Shuffled.*large array.*x=lambda trial") as got,
        beginning.of_training(),
    ):
        dataset.rows[:] = dataset.rows[::-1]
    with beginning.of_training():
        dataset.rows[:] = dataset.rows[::-1]
    assert len(got) == 1


@pytest.mark.parametrize("frequency", [1, 2, [1]])
def test_epochs_that_are_skipped_call_what_keras_calls(data, frequency):
    """Validation data is told more than training data, and only where it is evaluated."""
    x, y, _ = data
    (one, other), (again, evaluated) = ([Noting(x, y) for _ in range(2)] for _ in range(2))
    fit = {"validation_data": other, "epochs": 2, "validation_freq": frequency}
    build_eager(FixedTrial({"units": 4, "lr": 0.1})).fit(one, **fit, verbose=0)
    again.on_epoch_end()  # with which Keras begins
    others = {"validation_freq": frequency}
    skip_datasets(Given(again, None, 2, evaluated, 0.0, others).loaded(), 2)
    assert (again.calls, evaluated.calls) == (one.calls, other.calls)


class Noting(Batches):
    """Note which of its methods are called."""

    def __init__(self, x, y):
        super().__init__(x, y)
        self.calls = []

    def on_epoch_begin(self):
        """Note it."""
        self.calls.append("begin")

    def on_epoch_end(self):
        """Note it."""
        self.calls.append("end")
