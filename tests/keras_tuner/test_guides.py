"""Guides of KerasTuner run with this package as they are printed, but for a table of names."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.support import keras_tuner_guides as guides
from tests.support.keras_tuner_names import Ours, Theirs
from tests.support.marks import mostly_nightly

# KerasTuner says so of each model that it loads.
pytestmark = pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")

REPLAYED = [guides.first_search, guides.tuned_preprocessing]


class Came(NamedTuple):
    """Hold what a guide returned, its trials, and how often it trained."""

    returned: list
    trials: list
    trainings: int


def run(guide, names, folder, monkeypatch):
    """Return what a guide comes to in a folder of its own."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    guides.FITS.clear()
    returned = guide(names)
    return Came(returned, names.trials(), len(guides.FITS))


def close(values):
    """Return values that others may differ from by the rounding of float32."""
    if isinstance(values, dict):
        return {name: close(value) for name, value in values.items()}
    if isinstance(values, list):
        return [close(value) for value in values]
    is_text = values is None or isinstance(values, str | bool)
    return values if is_text else pytest.approx(values, rel=1e-4)


@pytest.mark.parametrize("guide", mostly_nightly(REPLAYED, "first_search"))
def test_a_guide_comes_to_the_same(guide, tmp_path, monkeypatch):
    """Given the configurations that KerasTuner drew: states, values, results and trainings."""
    theirs = run(guide, Theirs(), tmp_path / "theirs", monkeypatch)
    queue = [values for _, values, _ in theirs.trials]
    ours = run(guide, Ours(queue), tmp_path / "ours", monkeypatch)
    pairs = zip(ours.trials, theirs.trials, strict=True)
    assert [agreeing(*pair) for pair in pairs] == ours.trials
    assert ours.returned == close(theirs.returned)
    assert ours.trainings == theirs.trainings


def agreeing(here, there):
    """Return KerasTuner's trial, with those values that ours asked for: it has others as well."""
    return there[0], close({name: there[1][name] for name in here[1]}), close(there[2])


@pytest.mark.nightly
def test_a_grid_comes_to_the_same(tmp_path, monkeypatch):
    """The same configurations fail, and the others have the same values, in any order."""
    theirs = run(guides.marked_as_failed, Theirs(), tmp_path / "theirs", monkeypatch)
    ours = run(guides.marked_as_failed, Ours(), tmp_path / "ours", monkeypatch)
    assert by_values(ours) == [(*one, close(value)) for *one, value in by_values(theirs)]
    assert ours.trainings == theirs.trainings


def by_values(came):
    """Return the trials in the order of their configurations."""
    return sorted((sorted(values.items()), state, value) for state, values, value in came.trials)


@pytest.mark.nightly
def test_hyperband_runs(tmp_path, monkeypatch):
    """Its brackets are others; each trial is trained once, and none fails."""
    for names in (Theirs(), Ours()):
        folder = tmp_path / type(names).__name__
        came = run(guides.hyperband_tutorial, names, folder, monkeypatch)
        assert {state for state, *_ in came.trials} <= {"COMPLETE", "PRUNED"}
        assert came.trainings - came.returned[0] == len(came.trials) > 0
