"""The digests of a builder's code and of what it reads."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

import pytest

from kerastune_optuna._source import changed, digests, fingerprint

UNITS = 4
CONFIG = {"layers": [1, 2], "name": "net"}
SEEN: list[int] = []
BESIDE = 5


def helper(x):
    """Return what depends on a global of its own."""
    return x * BESIDE


def reading(trial, rate=0.5):
    """Read globals, also in a function within, and through another function."""

    def inner():
        return CONFIG["layers"]

    return UNITS, inner(), helper(rate)


def counting(trial):
    """Fill a list that is around it, as a builder does that notes its calls."""
    SEEN.append(trial)


DOUBLE = lambda x: x * 2  # noqa: E731 - two functions of one name
HALF = lambda x: x / 2  # noqa: E731


def scaling(trial):
    """Call two functions that have one name."""
    return DOUBLE(HALF(UNITS))


class Builder:
    """Be a builder that is no function."""

    def __call__(self, trial):
        """Read a global."""
        return UNITS


BUILDERS = (reading, scaling, Builder())


def closing(units):
    """Return a builder that reads what is around it."""

    def build(trial):
        return units

    return build


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("UNITS", 5, "UNITS in reading"),
        ("CONFIG", {"layers": [1, 3], "name": "net"}, "CONFIG in reading"),
        ("BESIDE", 6, "BESIDE in helper"),
        ("helper", closing(1), "the code of build"),
    ],
)
def test_what_a_builder_reads_belongs_to_it(monkeypatch, name, value, told):
    """Globals, also of a function within it, and what it calls of its own module."""
    before = digests(reading)
    monkeypatch.setattr(sys.modules[__name__], name, value)
    assert told in changed(before, digests(reading))


def test_closures_defaults_and_partials_belong_to_it(monkeypatch):
    """Values that no source shows."""
    assert changed(digests(closing(3)), digests(closing(4))) == ["units in build"]
    before = digests(reading)
    monkeypatch.setattr(reading, "__defaults__", (0.6,))
    assert changed(before, digests(reading)) == ["rate in reading"]
    one, other = (functools.partial(reading, rate=rate) for rate in (0.1, 0.2))
    assert changed(digests(one), digests(other)) == ["rate= of functools.partial"]


def test_an_object_that_builds_is_read_too(monkeypatch):
    """By the functions of its class."""
    before = digests(Builder())
    monkeypatch.setattr(sys.modules[__name__], "UNITS", 5)
    assert changed(before, digests(Builder())) == ["UNITS in Builder"]


def test_a_list_that_a_builder_fills_does_not_belong_to_it():
    """Or each search after the first would be told that the builder had changed."""
    before = digests(counting)
    counting(None)
    assert digests(counting) == before


@pytest.mark.parametrize("hashes", ["1", "2"])
def test_another_process_comes_to_the_same(hashes):
    """No digest holds an address or an order of chance, as that of a set of texts is."""
    script = "from tests.test_source import *; print(*map(fingerprint, map(digests, BUILDERS)))"
    run = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": hashes},
    )
    assert run.stdout.split() == list(map(fingerprint, map(digests, BUILDERS)))


def test_functions_of_one_name_are_told_apart(monkeypatch):
    """Lambdas have one name, and each of them belongs to the builder."""
    before = digests(scaling)
    monkeypatch.setattr(sys.modules[__name__], "HALF", lambda x: x / 4)
    assert changed(before, digests(scaling)) == ["the code of <lambda> #2"]


def test_without_source_nothing_is_told():
    """Code that was made of a text has none."""
    made: dict = {}
    exec("def build(trial): return 1", made)
    assert digests(made["build"]) == {}
    assert fingerprint({}) is None
