"""Configurations that come again: the earlier result is taken over, without a training."""

from __future__ import annotations

import math
from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _optuna
from kerastune_optuna._search import space
from kerastune_optuna._study import Card, TrialRecord

_LATEST = 50  # trials that we look at to tell whether repeats are likely
_COPIED = (
    *(TrialRecord.best_value, TrialRecord.best_epoch, TrialRecord.epochs, TrialRecord.n_params),
    *(TrialRecord.flops, TrialRecord.seed, TrialRecord.fits),
    *(TrialRecord.values, TrialRecord.std, TrialRecord.seeds, TrialRecord.best_epochs),
)


def find_earlier(study: optuna.Study, trial: optuna.Trial) -> FrozenTrial | None:
    """Return an earlier trial that was trained with the same parameters as a new trial, if any.

    For a retry, only trials before its first try count as earlier.
    """
    distributions, params = trial.distributions, trial.params
    if not params:
        return None
    asked = space.places(distributions, params)
    trials = _optuna.known_trials(study)
    trials = trials[: TrialRecord(_optuna.as_known(trial)).first_try(trials).number]
    # A quick first check: most of thousands of trials differ in a parameter without steps.
    endless = (name for name in asked if math.isinf(space.size(distributions[name])))
    if (name := next(endless, None)) is not None:
        trials = [one for one in trials if one.params.get(name) == params[name]]
    same = [
        one
        for one in trials
        if one.distributions == distributions and space.places(distributions, one.params) == asked
        if (record := TrialRecord(one)).seed is not None and record.ending.is_own_result
        # What broke a constraint may be allowed now; if not, the new trial ends before it trains.
        if not record.breaks_constraint
    ]
    same = Card.like(study, TrialRecord(trial).card, same, surely=True)
    # COMPLETE trials are preferred to PRUNED ones, and earlier trials to later ones.
    return min(same, key=lambda one: one.state is not TrialState.COMPLETE, default=None)


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


def count_if_all(study: optuna.Study, card: str | None) -> int | None:
    """Return how many configurations a builder has if trials that ended tried them all.

    Return None if a configuration is left to try, or may be. `card` is the key of the search's
    card: what other searches of the study tried with other data does not count.
    """
    # Not from the cache: Optuna clears it in Study.tell(), which a process that only leads workers
    # never calls. Such a process comes here once, when its workers have ended.
    trials = study.get_trials(deepcopy=False)
    ended = [one for one in trials if TrialRecord(one).ending.is_final]
    ended = Card.like(study, card, ended)
    if not all(map(space.is_finite, ended)):
        return None
    tree = space.tried(ended)
    return tree.leaves() if tree.is_closed else None


def is_more_left(
    study: optuna.Study, card: str | None, before: float | None = None, *, waits: bool = False
) -> bool:
    """Whether a configuration may be left that no trial has or will get.

    Args:
        study: The study.
        card: The key of the search's card.
        before: The number of a trial: earlier ones that still ask for parameters may each get a
            configuration. With None (default), only configurations that trials have got count.
        waits: Whether to suppose that there is only one configuration while no builder has asked.
    """
    begun = _begun(study, card)
    if before is None:
        begun = [one for one in begun if not _is_building(one)]
    else:
        begun = [one for one in begun if one.number < before]
    if not all(map(space.is_finite, begun)):
        return True
    tree = space.tried(begun)
    if before is None:
        return not tree.is_closed
    left = 1 if waits and not tree.children else tree.left()
    return left > len(_asking(begun, tree))


def asking(study: optuna.Study) -> list[FrozenTrial]:
    """Return the running trials of our workers that may still ask for parameters."""
    begun = _begun(study, None)
    return _asking(begun, space.tried(begun))


def _asking(begun: Sequence[FrozenTrial], tree: space.Node) -> list[FrozenTrial]:
    # A builder's own fit may ask for more parameters after the model is built.
    running = filter(_is_running, begun)
    return [one for one in running if _is_building(one) or tree.goes_on_after(one)]


def _is_running(trial: FrozenTrial) -> bool:
    return trial.state is TrialState.RUNNING and not TrialRecord(trial).is_foreign


def _is_building(trial: FrozenTrial) -> bool:
    return _is_running(trial) and TrialRecord(trial).epochs is None


def may_come_again(study: optuna.Study, card: str | None) -> list[FrozenTrial]:
    """Return the trials whose parameters all have steps or choices, running ones too."""
    trials = _begun(study, card)
    # If none of the latest trials has only such parameters, repeats are rare, and training one
    # costs less than looking at thousands of trials each time.
    if not any(one.distributions and space.is_finite(one) for one in trials[-_LATEST:]):
        return []
    return list(filter(space.is_finite, trials))


def _begun(study: optuna.Study, card: str | None) -> list[FrozenTrial]:
    """Return the trials that have begun and may have had the data, arguments and code of a card.

    For one that was cut off, its retry tries the same.
    """
    begun = [one for one in _optuna.known_trials(study) if TrialRecord(one).has_begun]
    return begun if card is None else Card.like(study, card, begun)
