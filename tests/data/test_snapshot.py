"""Objects are set back to what they were, in place, with all that they hold."""

import collections
import itertools
import random
import types

import keras
import numpy as np
import pandas as pd
import pytest

from kerastune_optuna._data.snapshot import Snapshot


class Thing:
    """Hold attributes, as an object of the user's."""

    def __init__(self, **attributes):
        vars(self).update(attributes)


def snapshot_of(**attributes):
    """Return an object with such attributes, and what notes its state."""
    one, snapshot = Thing(**attributes), Snapshot()
    assert snapshot.note("x", one) == []
    return one, snapshot


def reverse(one):
    one.reverse()


HELD = {
    "an array": (lambda: np.array([2, 1]), lambda one: one.sort(), np.ndarray.tolist),
    "a list": (lambda: [2, 1, 3], list.sort, list),
    "a long list": (lambda: list(range(100_000)), reverse, list),
    "a dict": (lambda: {"b": 1, "a": 2}, lambda one: one.pop("b"), lambda one: list(one.items())),
    "a set": (lambda: {1, 2}, lambda one: one.add(3), set),
    "a deque": (lambda: collections.deque([1, 2], 2), lambda one: one.append(3), list),
    "an object": (
        lambda: Thing(level=0),
        lambda one: vars(one).update(level=5, seen=True),
        vars,
    ),
    "a generator of NumPy": (
        lambda: np.random.default_rng(0),
        lambda one: one.random(),
        lambda one: one.bit_generator.state,
    ),
    "an old generator of NumPy": (
        lambda: np.random.RandomState(0),
        lambda one: one.random(),
        lambda one: repr(one.get_state()),
    ),
    "a generator of Python": (
        lambda: random.Random(0),
        lambda one: one.random(),
        lambda one: one.getstate(),
    ),
    "a generator of Keras": (
        lambda: keras.random.SeedGenerator(0),
        lambda one: one.next(),
        lambda one: one.state.numpy().tolist(),
    ),
}
HOLDERS = {
    "itself": lambda one: one,
    "a tuple": lambda one: (one,),
    "a dict of lists": lambda one: {"a": [one]},
    "an object": lambda one: Thing(one=one),
    "a method": lambda one: types.MethodType(len, Thing(one=one)),
}


@pytest.mark.parametrize(("make", "change", "state"), HELD.values(), ids=HELD)
@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS)
def test_what_an_object_holds_is_set_back_in_place(hold, make, change, state):
    """However deep it lies, and again and again."""
    held = make()
    before = state(held)
    before = dict(before) if isinstance(before, dict) else before
    _, snapshot = snapshot_of(held=hold(held))
    for _ in range(2):
        change(held)
        assert state(held) != before
        assert snapshot.restore() == []
        assert state(held) == before


def test_what_can_only_be_copied_is_replaced():
    """An iterator begins where it was, and a table has its values."""
    one, snapshot = snapshot_of(
        turns=[itertools.cycle("abc")], table=pd.DataFrame({"a": [1, 2]}), frozen=frozenset("ab")
    )
    for _ in range(2):
        assert next(one.turns[0]) == "a"
        assert one.table["a"].tolist() == [1, 2]
        one.table.iloc[0] = 7
        snapshot.restore()


def test_a_circle_is_set_back():
    """An object may hold itself."""
    one, snapshot = snapshot_of(parts=[], level=0)
    one.parts.append(one)
    one, snapshot = snapshot_of(**vars(one))
    one.parts.clear()
    snapshot.restore()
    assert len(one.parts) == 1


def test_arrays_are_copied_only_up_to_a_size_in_all():
    """Wherever they lie; of further ones it is told that they have changed."""
    arrays = [np.zeros(1_000_000) for _ in range(10)]  # of 8 MB
    _, snapshot = snapshot_of(arrays=tuple(arrays))
    for array in arrays:
        array += 1
    assert snapshot.restore() == ["x"]
    assert [array[0] for array in arrays] == [0.0] * 8 + [1.0] * 2
