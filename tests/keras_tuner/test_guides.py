"""Each guide of KerasTuner runs with this package as it is printed, but for a table of names."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.support import keras_tuner_guides as guides
from tests.support.keras_tuner_names import Ours, Theirs

# KerasTuner says so of each model that it loads.
pytestmark = pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")

OTHERS = [
    guides.tuned_training,
    guides.tuned_preprocessing,
    guides.custom_metric,
    guides.returned_number,
    guides.returned_dict,
    guides.any_function,
    guides.custom_training_loop,
    guides.tune_a_few,
    guides.fix_a_few,
    guides.compiled_otherwise,
    guides.visualized,
]
REPLAYED = [
    pytest.param(guides.first_search, marks=pytest.mark.slow),
    *(pytest.param(guide, marks=pytest.mark.nightly) for guide in OTHERS),
]
DRAWN = [guides.visualized]
GRIDS = [guides.failed_trials, guides.marked_as_failed]


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
    if isinstance(values, list | tuple):
        return [close(value) for value in values]
    is_text = values is None or isinstance(values, str | bool)
    return values if is_text else pytest.approx(values, rel=1e-4)


def plain(values):
    """Return values with lists for tuples."""
    if isinstance(values, list | tuple):
        return [plain(value) for value in values]
    return values


@pytest.mark.parametrize("guide", REPLAYED, ids=lambda guide: guide.__name__)
def test_a_guide_comes_to_the_same(guide, tmp_path, monkeypatch):
    """Given the configurations that KerasTuner drew: states, values, results and trainings."""
    theirs = run(guide, Theirs(), tmp_path / "theirs", monkeypatch)
    queues = [[values for _, values, _ in trials] for trials in theirs.trials]
    ours = run(guide, Ours(queues), tmp_path / "ours", monkeypatch)
    for here, there in zip(ours.trials, theirs.trials, strict=True):
        assert [agreeing(*pair) for pair in zip(here, there, strict=True)] == here
    assert plain(ours.returned) == close(theirs.returned)
    assert ours.trainings == theirs.trainings


def agreeing(here, there):
    """Return KerasTuner's trial, with those values that ours asked for: it has others as well."""
    return there[0], close({name: there[1][name] for name in here[1]}), close(there[2])


@pytest.mark.nightly
@pytest.mark.parametrize("guide", DRAWN, ids=lambda guide: guide.__name__)
def test_a_guide_draws_configurations_of_its_own(guide, tmp_path, monkeypatch):
    """All of its trials are complete."""
    ours = run(guide, Ours(), tmp_path / "ours", monkeypatch)
    assert [state for (trials,) in [ours.trials] for state, *_ in trials] == ["COMPLETE"] * 2


@pytest.mark.nightly
@pytest.mark.parametrize("guide", GRIDS, ids=lambda guide: guide.__name__)
def test_a_grid_comes_to_the_same(guide, tmp_path, monkeypatch):
    """The same configurations fail, and the others have the same values, in any order."""
    theirs = run(guide, Theirs(), tmp_path / "theirs", monkeypatch)
    ours = run(guide, Ours(), tmp_path / "ours", monkeypatch)
    assert by_values(ours) == [(*one, close(value)) for *one, value in by_values(theirs)]
    assert ours.trainings == theirs.trainings


def by_values(came):
    """Return the trials of the one tuner in the order of their configurations."""
    (trials,) = came.trials
    return sorted((sorted(values.items()), state, value) for state, values, value in trials)


@pytest.mark.nightly
def test_a_fatal_error_ends_both(tmp_path, monkeypatch):
    """The grids are in another order."""
    for names in (Theirs(), Ours()):
        came = run(guides.terminated, names, tmp_path / type(names).__name__, monkeypatch)
        (trials,) = came.trials
        assert came.returned[0].startswith("Model too large! It contains ")
        assert "FAIL" not in [state for state, *_ in trials[:-1]]


@pytest.mark.nightly
def test_hyperband_runs(tmp_path, monkeypatch):
    """Its brackets are others; each trial is trained once, and none fails."""
    for names in (Theirs(), Ours()):
        folder = tmp_path / type(names).__name__
        came = run(guides.hyperband_tutorial, names, folder, monkeypatch)
        (trials,) = came.trials
        assert {state for state, *_ in trials} <= {"COMPLETE", "PRUNED"}
        assert came.trainings - came.returned[0] == len(trials) > 0
