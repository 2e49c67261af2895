"""The slots of a study: the trials that count towards its size, and those that may be taken.

A WAITING slot is free, and the worker that sets it to RUNNING has it: that step is atomic in
Optuna's databases and journals, and `take` makes it so elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from kerastune_optuna import _optuna
from kerastune_optuna._check import count
from kerastune_optuna._search import finished_trials
from kerastune_optuna._search import points as _points
from kerastune_optuna._search.grid import Grid, is_grid
from kerastune_optuna._storage import database
from kerastune_optuna._study import TrialRecord, liveness, retry, take


def of(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that count towards the size of the study, by their numbers."""
    trials = _optuna.known_trials(study, anew=True)
    others = finished_trials.unusual(study, trials)  # a usual trial counts
    left_out = {one.number for one in others if not counts(study, one)} | _points.doubles(others)
    left_out |= {one.number for one in _left_running(study, others)}
    left_out |= retry.idle_retries(trials, finished_trials.not_ended(study, trials))
    return [one for one in trials if one.number not in left_out] if left_out else trials


def counts(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Whether a trial counts: a failed one only where its point of a grid would fail again."""
    if trial.state is TrialState.FAIL:
        return is_grid(study.sampler) and not TrialRecord(trial).was_cut_off
    # A grid has no use for the slot that a search with another sampler left behind.
    is_left = trial.state is TrialState.WAITING and _points.order(trial) == _points.FREE
    return not (is_left and isinstance(study.sampler, Grid))


def _left_running(study: optuna.Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the RUNNING trials of other code of which nothing says that it lives."""
    running = (one for one in trials if one.state is TrialState.RUNNING)
    if not (foreign := list(filter(liveness.is_foreign, running))):
        return foreign  # without a query
    held = database.held(_optuna.storage_of(study), set(map(_optuna.id_of, foreign)))
    return [one for one in foreign if _optuna.id_of(one) not in held]


def told_of_left(study: optuna.Study) -> str | None:
    """Return the line on trials that other code left RUNNING; None where there are none."""
    left = _left_running(study, study.get_trials(deepcopy=False))
    numbers = ", ".join(str(one.number) for one in left)
    what = count(len(left), "RUNNING trial")
    return f"Not counted: {what} of other code without a heartbeat ({numbers})" if left else None


def is_free(trial: FrozenTrial) -> bool:
    """Whether a trial waits, and nobody is about to take it."""
    return trial.state is TrialState.WAITING and not TrialRecord(trial).is_claimed


def free(study: optuna.Study, slots: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the slots that may be taken, in the order in which workers are to take them."""
    return sorted(filter(is_free, finished_trials.not_ended(study, slots)), key=_points.order)


def is_taken(trial: FrozenTrial) -> bool:
    """Whether a worker runs a trial, or is about to."""
    return trial.state is TrialState.RUNNING or TrialRecord(trial).is_claimed


def has_asked(trial: FrozenTrial) -> bool:
    """Whether a trial's builder has asked for parameters, or for none."""
    return bool(trial.params) or trial.state.is_finished()


def unasked(study: optuna.Study, slots: Sequence[FrozenTrial]) -> int:
    """Return how many slots have a builder that may still ask for parameters."""
    open_ones = finished_trials.not_ended(study, slots)
    return sum(
        not one.state.is_finished() and TrialRecord(one).n_params is None for one in open_ones
    )


def take_one(
    study: optuna.Study,
    free: Sequence[FrozenTrial],
    then: Callable[[optuna.Study, FrozenTrial], object],
) -> Trial | None:
    """Set one of the free slots to RUNNING; None where other workers were first.

    Args:
        study: The study.
        free: Its free slots.
        then: Called with the slot before its sampler draws, which may take long.
    """
    for slot in free:
        with suppress(UpdateFinishedTrialError):  # another worker has had it, and it has ended
            if take(study, slot):
                then(study, slot)
                return _begin(study, _optuna.id_of(slot))
    return None


def _begin(study: optuna.Study, trial_id: int) -> Trial:
    """Return the running trial, for which its sampler has begun to draw."""
    with ExitStack() as undo:
        # Trial() asks the sampler, which may raise, or think for so long that others take this
        # process for dead.
        undo.callback(liveness.leave, study, trial_id)
        trial = Trial(study, trial_id)
        undo.pop_all()
    return trial
