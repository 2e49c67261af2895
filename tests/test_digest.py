"""Digests tell data and builders apart, and are the same in any process."""

import dataclasses
import functools
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerastune_optuna._digest import changed, digest, digests


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


UNITS = 4
CONFIG = {"layers": [1, 2], "name": "net"}
SEEN: list[int] = []
BESIDE = 5


def helper(x):
    return x * BESIDE


def reading(trial, rate=0.5):
    def inner():
        return CONFIG["layers"]

    return UNITS, inner(), helper(rate)


def counting(trial):
    SEEN.append(trial)


DOUBLE = lambda x: x * 2  # noqa: E731 - two functions of one name
HALF = lambda x: x / 2  # noqa: E731


def scaling(trial):
    return DOUBLE(HALF(UNITS))


class Builder:
    """Be a builder that is no function."""

    def __call__(self, trial):
        """Read a global."""
        return UNITS


BUILDERS = (reading, scaling, Builder())


def closing(units):
    def build(trial):
        return units

    return build


@pytest.mark.parametrize(
    ("build", "name", "value", "told"),
    [
        (reading, "UNITS", 5, "UNITS in reading"),
        (reading, "CONFIG", {"layers": [1, 3], "name": "net"}, "CONFIG in reading"),
        (reading, "BESIDE", 6, "BESIDE in helper"),
        (reading, "helper", closing(1), "the code of build"),
        (Builder(), "UNITS", 5, "UNITS in Builder"),
        (scaling, "HALF", lambda x: x / 4, "the code of <lambda> #2"),
    ],
)
def test_what_a_builder_reads_belongs_to_it(monkeypatch, build, name, value, told):
    """Globals, also of a function within it, and each function of its module that it calls."""
    before = digests(build)
    monkeypatch.setattr(sys.modules[__name__], name, value)
    assert changed(before, digests(build))[0] == told


def test_closures_defaults_and_partials_belong_to_it(monkeypatch):
    """Values that no source shows."""
    assert changed(digests(closing(3)), digests(closing(4))) == ["units in build"]
    before = digests(reading)
    monkeypatch.setattr(reading, "__defaults__", (0.6,))
    assert changed(before, digests(reading)) == ["rate in reading"]
    one, other = (functools.partial(reading, rate=rate) for rate in (0.1, 0.2))
    assert changed(digests(one), digests(other)) == ["rate= of functools.partial"]


def test_a_list_that_a_builder_fills_does_not_belong_to_it():
    """Or each search after the first would be told that the builder had changed."""
    before = digests(counting)
    counting(None)
    assert digests(counting) == before


@pytest.mark.parametrize("hashes", ["1", "2"])
def test_another_process_comes_to_the_same(hashes):
    """No digest holds an address or an order of chance, as that of a set of texts is."""
    script = "from tests.test_digest import *; print(digest(*map(digests, BUILDERS)))"
    command, env = [sys.executable, "-c", script], {**os.environ, "PYTHONHASHSEED": hashes}
    told = subprocess.check_output(command, text=True, env=env)
    assert told.strip() == digest(*map(digests, BUILDERS))


def made_of(text):
    """Return a builder whose code is in no file."""
    made: dict = {}
    exec(text, made)
    return made["build"]


def test_what_code_does_counts_and_not_how_it_is_written():
    """Also of code that is in no file; a comment or another line changes nothing."""
    build = "def build(trial): return trial.number {} 1"
    plus, minus = (made_of(build.format(sign)) for sign in "+-")
    assert changed(digests(plus), digests(minus)) == ["the code of build"]
    commented = made_of("# It builds.\n" + build.format("+ \\\n"))
    assert changed(digests(plus), digests(commented)) == []


def test_methods_and_attributes_of_a_class_belong_to_it():
    """Properties, too: whatever a builder that is an object may read."""
    of = "class Build:\n  units = {}\n  @property\n  def rate(self): return {}\nbuild = Build()"
    one, units, rate = (made_of(of.format(*values)) for values in ((1, 1), (2, 1), (1, 2)))
    assert changed(digests(one), digests(units)) == ["units in Build"]
    assert changed(digests(one), digests(rate)) == ["the code of Build"]


def test_code_that_another_python_compiled_is_not_compared():
    """Each version makes other instructions of the same code."""
    one, other = (digests(closing(units)) for units in (3, 4))
    assert changed({**one, "Python": "cpython-27"}, other) == []
