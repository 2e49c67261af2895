"""Configurations that come again: a result that is known is taken over, and costs no training."""

from __future__ import annotations

import math
from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _optuna
from kerastune_optuna._search import finished_trials, space
from kerastune_optuna._study import StudyRecord, TrialRecord, opening

_LATEST = 50  # trials by which to tell whether repeats are likely
_COPIED = (
    *(TrialRecord.best_value, TrialRecord.best_epoch, TrialRecord.epochs, TrialRecord.n_params),
    *(TrialRecord.seed, TrialRecord.fits),
    *(TrialRecord.values, TrialRecord.std, TrialRecord.seeds, TrialRecord.best_epochs),
)


def find_earlier(study: optuna.Study, trial: optuna.Trial) -> FrozenTrial | None:
    """Return an earlier trial that was trained with the parameters of a new one, if any.

    A retry has gone on since its first try began: a trial that is later than that is none.
    """
    distributions, params = trial.distributions, trial.params
    asked = space.places(distributions, params)
    trials = _optuna.known_trials(study) if asked else []
    begun = finished_trials.first_try(_optuna.as_known(trial), trials).number if asked else 0
    # Most of thousands of trials differ in a parameter without steps.
    endless = [name for name in asked if math.isinf(space.size(distributions[name]))]
    for name in endless[:1]:
        trials = finished_trials.with_value(study, trials, name, params[name])
    same = [
        one
        for one in trials
        if one.number < begun and one.state in opening.DONE and _was_trained(one)
        if one.distributions == distributions
        if space.places(distributions, one.params) == asked
    ]
    first = StudyRecord(study).epochs_since if same else None
    same = [one for one in same if one.number >= (first or 0)]
    # COMPLETE trials go before PRUNED ones, and earlier ones before later ones.
    return min(same, key=lambda one: one.state is not TrialState.COMPLETE, default=None)


def _was_trained(trial: FrozenTrial) -> bool:
    """Whether a trial's result came from a training of ours.

    A trial that broke a constraint does not count: the constraint may have changed, and where it
    has not, the new trial ends before training.
    """
    is_ours = TrialRecord(trial).seed is not None and TrialRecord(trial).repeat_of is None
    return is_ours and not TrialRecord(trial).breaks_constraint


def take_over(trial: optuna.Trial, earlier: FrozenTrial) -> None:
    """Give a trial the reports and the attributes of an earlier one."""
    for step, value in sorted(earlier.intermediate_values.items()):
        trial.report(value, step)
    for key in _COPIED:
        if key in earlier.user_attrs:
            trial.set_user_attr(key, earlier.user_attrs[key])
    own = TrialRecord(trial)
    own.epochs_run, own.stop_reason = 0, f"repeats trial {earlier.number}"
    own.repeat_of = earlier.number


def count_if_all(study: optuna.Study) -> int | None:
    """Return how many configurations a builder has, if trials have ended that tried all.

    It is None where a configuration is left to try, or may be.
    """
    # Fresh: Optuna drops its cache in Study.tell(), which a process that only leads workers never
    # calls. It asks once, when its workers have ended.
    tree = _tree(study, study.get_trials(deepcopy=False), running=False)
    return tree.leaves() if tree is not None and tree.is_closed else None


def is_more_left(study: optuna.Study, unasked: int) -> bool:
    """Whether more configurations may be left than some trials are about to ask for.

    Args:
        study: The study.
        unasked: How many trials are about to ask for their parameters.
    """
    tree = _tree(study, _optuna.known_trials(study), running=True)
    return tree is None or (not tree.is_closed and (unasked == 0 or tree.left() > unasked))


def _tree(
    study: optuna.Study, trials: Sequence[FrozenTrial], *, running: bool
) -> space.Node | None:
    """Return the tree of what trials asked for; None where the values of one have no end."""
    if not all(map(space.is_finite, trials)):
        return None
    return space.tried(_of_these_epochs(study, trials, running=running))


def may_come_again(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials whose parameters all have steps or choices, running ones too."""
    trials = _optuna.known_trials(study)
    # Where none of the latest trials has only such parameters, repeats are rare, and training one
    # costs less than to look at thousands of trials each time.
    if not any(one.distributions and space.is_finite(one) for one in trials[-_LATEST:]):
        return []
    finite = [one for one in trials if space.is_finite(one)]
    return _of_these_epochs(study, finite, running=True)


def _of_these_epochs(
    study: optuna.Study, trials: Sequence[FrozenTrial], *, running: bool
) -> list[FrozenTrial]:
    """Return the ended trials of this search's epochs, and, where `running`, those that run."""
    first = (StudyRecord(study).epochs_since if trials else None) or 0
    return [
        one
        for one in trials
        if one.number >= first
        and (finished_trials.by_itself(one) or (running and one.state is TrialState.RUNNING))
    ]
