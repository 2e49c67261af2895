"""What each training begins with: PyDatasets and generators as the search got them."""

import random
import threading

import keras
import numpy as np
import pytest

from kerastune_optuna._data.anew import Beginning
from tests.benchmarks import zoo
from tests.support.faults import interrupt_after
from tests.support.models import build_eager, history
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


def test_a_dataset_is_set_back_before_and_after_a_training():
    """It stays the same object; Python's generators are not drawn from; large arrays are shared."""
    dataset = Shuffled(np.zeros((64, 1)), np.zeros(64))
    dataset.large, before = np.zeros(9_000_000), dataset.order.tolist()
    dataset.layer = keras.layers.Dropout(0.5)
    large, beginning, chance = dataset.large, Beginning({"x": dataset}), random.getstate()
    dataset.on_epoch_end()
    with beginning.of_training():
        assert dataset.order.tolist() == before
        dataset.on_epoch_end()
        dataset.seen = True
    assert dataset.order.tolist() == before
    assert not hasattr(dataset, "seen")
    assert dataset.large is large
    assert random.getstate() == chance


def test_a_dataset_that_cannot_be_copied_is_told_of():
    """One line names the argument, and the function that cures it."""
    dataset = Shuffled(np.zeros((64, 1)), np.zeros(64))
    dataset.lock = threading.Lock()
    with pytest.warns(
        UserWarning, match=r"x is a Shuffled.*lock.*x=lambda trial: Shuffled\("
    ) as got:
        beginning = Beginning({"x": dataset})
    assert len(got) == 1
    with beginning.of_training():
        assert dataset.lock is not None
