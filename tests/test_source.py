"""The digests of a builder's code and of what it reads."""

import functools
import os
import subprocess
import sys

import pytest

from kerastune_optuna._digest import digest
from kerastune_optuna._source import changed, digests

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
    script = "from tests.test_source import *; print(digest(*map(digests, BUILDERS)))"
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
