"""Each guide of KerasTuner runs with this package as it is printed, but for a table of names."""

from __future__ import annotations

import pytest

from tests.keras_tuner import guides
from tests.keras_tuner.names import Ours, Theirs

pytestmark = pytest.mark.slow

REPLAYED = [
    guides.first_search,
    guides.tuned_training,
    guides.tuned_preprocessing,
    guides.built_in_metric,
    guides.custom_metric,
    guides.returned_number,
    guides.returned_dict,
    guides.any_function,
    guides.code_kept_apart,
    guides.custom_training_loop,
    guides.tune_a_few,
    guides.fix_a_few,
    guides.compiled_otherwise,
    guides.visualized,
]
GRIDS = [guides.failed_trials, guides.marked_as_failed, guides.terminated]
HYPERBANDS = [guides.distributed, guides.hyperband_tutorial]


def run(guide, names, folder, monkeypatch):
    """Return what a guide returns, its trials, and how often it trained."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    guides.FITS.clear()
    returned = guide(names)
    return returned, names.trials(), len(guides.FITS)


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
    queues = [[values for _, values, _ in trials] for trials in theirs[1]]
    ours = run(guide, Ours(queues), tmp_path / "ours", monkeypatch)
    assert plain(ours[1]) == close(theirs[1])
    assert plain(ours[0]) == close(theirs[0])
    assert ours[2] == theirs[2]


@pytest.mark.parametrize("guide", REPLAYED, ids=lambda guide: guide.__name__)
def test_a_guide_draws_configurations_of_its_own(guide, tmp_path, monkeypatch):
    """As many trials and trainings, all complete, with values for the same hyperparameters."""
    ours = run(guide, Ours(), tmp_path / "ours", monkeypatch)
    assert all(state == "COMPLETE" for trials in ours[1] for state, _, _ in trials)


@pytest.mark.parametrize("guide", GRIDS, ids=lambda guide: guide.__name__)
def test_a_grid_comes_to_the_same(guide, tmp_path, monkeypatch):
    """The same configurations fail, and the others have the same values, in any order."""
    theirs = run(guide, Theirs(), tmp_path / "theirs", monkeypatch)
    ours = run(guide, Ours(), tmp_path / "ours", monkeypatch)
    order = sorted
    assert order(map(repr, _keys(ours))) == order(map(repr, _keys(theirs)))
    assert [value for *_, value in _sorted(ours)] == close([one for *_, one in _sorted(theirs)])
    assert (ours[0], ours[2]) == (theirs[0], theirs[2])


def _keys(came):
    return [(state, sorted(values.items())) for state, values, _ in came[1][0]]


def _sorted(came):
    return sorted(came[1][0], key=lambda trial: sorted(trial[1].items()))


@pytest.mark.parametrize("guide", HYPERBANDS, ids=lambda guide: guide.__name__)
def test_hyperband_runs(guide, tmp_path, monkeypatch):
    """Its brackets are others; each trial is trained once, and none fails."""
    for names in (Theirs(), Ours()):
        _, (trials,), trainings = run(guide, names, tmp_path / type(names).__name__, monkeypatch)
        assert {state for state, _, _ in trials} <= {"COMPLETE", "PRUNED"}
        assert trainings >= len(trials) > 0
