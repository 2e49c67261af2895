"""Digests tell data apart, and are the same in any process."""

import dataclasses
import functools
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerastune_optuna._digest import digest


def loader(split):
    """Return a function that would load a split."""
    return lambda: split


def loaders(number):
    """Return functions that differ in no more than a number, each in another place."""
    add = eval(f"lambda row: row + {number}")  # the same code, but for the number
    texts = ("lambda: (lambda row: row + {})", "lambda: [row + {} for row in range(3)]")
    texts += ("lambda one: one in {{7, {}}}", "lambda n={}: n", "lambda *, n={}: n")
    return {"held": lambda: add(0), **{text: eval(text.format(number)) for text in texts}}


def of_path(name):
    """Return functions that would load a file, whose path each holds in another place."""
    path = Path(name)
    given = lambda path=path: np.load(path)  # noqa: E731
    return given, lambda: np.load(path), functools.partial(np.load, path), Folder(path).load


@dataclasses.dataclass
class Folder:
    """Hold where files are."""

    path: Path

    def load(self):
        """Return one of them."""
        return np.load(self.path)


def dataset(factor):
    rows = np.arange(8.0) * factor
    return tf.data.Dataset.from_tensor_slices((rows, rows)).shuffle(8).batch(2)


DIFFERENT = [
    (np.zeros(4), np.ones(4)),
    (np.zeros(4), np.zeros((2, 2))),
    (np.zeros(4), np.zeros(4, "float32")),
    (np.array(["a", None], object), np.array(["b", None], object)),
    (dataset(1), dataset(2)),
    (loader("validation"), loader("test")),
    (functools.partial(loader, "validation"), functools.partial(loader, "test")),
    (keras.callbacks.EarlyStopping(patience=2), keras.callbacks.EarlyStopping(patience=3)),
    ({"batch_size": 8}, {"batch_size": 16}),
    *zip(loaders(1).values(), loaders(2).values(), strict=True),
    *zip(of_path("train.npy"), of_path("test.npy"), strict=True),
    (lambda: 1 + 2j, lambda: 1 + 3j),
    (functools.partial(len, Folder("train")), functools.partial(len, Folder("test"))),
    (functools.cache(loader("train")), functools.cache(loader("test"))),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_differs_has_another_digest(one, other):
    """Content, shape, type, code and what a function was given all tell data apart."""
    assert digest(one) == digest(one) != digest(other)


def test_a_digest_is_the_same_when_made_anew():
    """Data and functions that are made again, as in another process, are the same."""
    again = [functools.partial(lambda text: loaders(1)[text], text) for text in loaders(1)]
    for make in (lambda: dataset(1), lambda: loader("validation"), *again):
        assert digest(make()) == digest(make())
    assert digest(np.arange(4.0), 3, None, "a") == "1b3c750eec52"  # in any process


def test_a_function_that_is_not_bound_yet_has_a_digest():
    """A function may call one that its module or its function defines later."""

    def early():
        return late()

    before = digest(early)

    def late():
        return 1

    assert digest(early) != before
