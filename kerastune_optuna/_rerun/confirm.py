"""Confirm a search: train its best configurations again to find out what was luck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC

import optuna
from optuna.trial import FrozenTrial

from kerastune_optuna import _check
from kerastune_optuna._data import Given
from kerastune_optuna._digest import digest
from kerastune_optuna._exceptions import (
    ArgumentError,
    ArgumentTypeError,
    NoTrialsError,
    TooManyFailuresError,
)
from kerastune_optuna._report import say
from kerastune_optuna._rerun.confirmation import Confirmation, confirmation_of
from kerastune_optuna._rerun.executions import (
    asked_for,
    best_of_each,
    executions,
    lay_out_missing,
    train_laid_out,
)
from kerastune_optuna._storage import MARK
from kerastune_optuna._study import Card, Home, Ranking, StudyRecord
from kerastune_optuna._trial import Recipe
from kerastune_optuna._workers import Run, card_of, warn_if_builder_changed


def _check_request(home: Home, top: object, count: object, *, has_data: bool) -> None:
    """Reject requests that confirm() cannot meet.

    Raises:
        ArgumentError: An argument is invalid; the message says what to pass instead.
    """
    _check.integer("top", top, least=1, instead="Pass how many configurations to train again.")
    instead = "Pass 2 or more: one value has no spread."
    _check.integer("executions", count, least=2, instead=instead)
    if not has_data:
        raise ArgumentTypeError(
            "x=None: confirm() trains again, but a study does not store data. Pass x=, y= and "
            "validation_data= as to search(), if possible with rows that the search did not see."
        )
    if home.objectives.are_several:
        raise ArgumentError(
            f"confirm() ranks configurations by one objective, but study {home.name!r} is to "
            f"{home.objectives.aim}. Train trials of its front again with refit(x, y, "
            f"trial=...), or search for objective={home.objectives.watched.name!r} alone, "
            "with limits like max_params= for the other objectives, and confirm that search."
        )


def _configurations(home: Home, top: int) -> list[FrozenTrial]:
    """Return one trial for each of the best `top` configurations.

    Raises:
        NoTrialsError: There are fewer.
    """
    chosen: list[FrozenTrial] = []
    for trial in Ranking.by(home.objectives.watched, home.existing.get_trials(deepcopy=False)):
        if len(chosen) < top and all(trial.params != one.params for one in chosen):
            chosen.append(trial)
    if not chosen:
        home.top(1)  # raises NoTrialsError, which says that no trial is COMPLETE
    if len(chosen) < top:
        raise NoTrialsError(
            f"Study {home.name!r} has {_check.count(len(chosen), 'COMPLETE configuration')}, "
            f"fewer than top={top}. Pass top={len(chosen)} at most, or continue the search."
        )
    return chosen


def confirm(run: Run, top: int, count: int) -> None:
    """Train the best configurations of a study again until each has its executions.

    Args:
        run: The run that trains, unchecked; its budget limits how many executions may fail in a
            row.
        top: The number of configurations.
        count: The number of executions of each configuration.

    Raises:
        ArgumentError: They cannot be confirmed; the message says what to pass instead.
        NoTrialsError: There are fewer configurations than `top`.
    """
    home, fit = run.home, run.fit
    _check_request(home, top, count, has_data=fit.x is not None or fit.is_free)
    chosen = _configurations(home, top)
    # Arguments of Model.fit that were not passed are as the best trial had them. If the study does
    # not know the epochs of its search, None stays, which is refused later.
    card = Card.of(home.study, chosen[0])
    fit = fit.completed(card.passed)
    if fit.epochs is None and (epochs := card.epochs or Card.latest(home.study).epochs):
        fit = replace(fit, epochs=fit.first_epoch + epochs)
    run = replace(run, fit=fit).prepared()
    with run.guarded("confirm()"):
        _train(run, fit, chosen, count)


def _train(run: Run, given: Given, chosen: Sequence[FrozenTrial], count: int) -> None:
    """Train configurations of a study again; `given`, not loaded, shows what was trained before."""
    home, recipe, card = run.home, run.recipe, card_of(run.recipe, run.fit)
    warn_if_builder_changed(home.study, card, run.fit)
    if changes := Card.of(home.study, chosen[0]).changes(card):
        _check.warn(
            f"confirm() trains otherwise than the search of study {home.name!r}: "
            f"{'; '.join(changes.values())}. What this changes would be taken for luck. If you do "
            "not mean it, pass what search() got."
        )
    study = _study_of_executions(home, given, recipe)
    keep_best = recipe.keeping(home.study, run.keep_best).most
    if keep_best:
        recipe.store.check()
    numbers = [trial.number for trial in chosen]
    link = {"study": study.study_name, "trials": numbers, "executions": count}
    StudyRecord(home.study).confirmation = link
    wanted = asked_for(chosen, count)
    lay_out_missing(study, wanted)
    there = executions(study)
    left = [key for key, one in there.items() if key in wanted and not one.state.is_finished()]
    size = len(left) + sum(one.state.is_finished() for one in there.values())
    # All executions keep their weights until the winner is known.
    keep_best = size if keep_best else 0
    if left:
        train_laid_out(run, study, card, keep_best, size, wanted)
    elif run.verbose:
        say(f"Study {study.study_name!r} has all of its {size} executions")
    objective = recipe.objectives.watched
    # The best execution of each configuration may still win.
    recipe.keeping(study, keep_best).tidy(
        lambda: {one.number for one in best_of_each(study, objective).values()}
    )


def _study_of_executions(home: Home, given: Given, recipe: Recipe) -> optuna.Study:
    """Open the study of executions for this data and these arguments, or create it."""
    parts = [given.x, given.y, given.epochs, given.validation_data, given.validation_split]
    others = sorted(given.others.items())
    first = home.study.get_trials(deepcopy=False)[0]
    began = first.datetime_start and first.datetime_start.astimezone(UTC)
    # Another study may have had the name before. If other code added the first trial, it has no
    # mark.
    search = str(first.system_attrs.get(MARK, began))
    return home.part(f"{home.name}-confirm-{digest(search, parts, others, recipe.callbacks)}")


def confirmation(home: Home) -> Confirmation:
    """Return the result of the last confirm() of a study.

    Raises:
        NoTrialsError: confirm() was not called, or has not ended.
        TooManyFailuresError: No configuration completed two executions.
    """
    found = confirmed(home)
    if found is None or found.missing:
        missing = found.missing if found else 0
        lack = f"{_check.count(missing, 'execution')} {'is' if missing == 1 else 'are'} missing"
        lack = lack if found else "Nothing is confirmed"
        raise NoTrialsError(f"{lack} in study {home.name!r}. Call confirm() with its data.")
    if not found.is_decided:
        raise TooManyFailuresError(
            f"No configuration completed two executions in study {found.study_name!r}. Look at "
            "the stop_reason of its trials, fix build_model, and call confirm() again."
        )
    return found


def confirmed(home: Home) -> Confirmation | None:
    """Return the result of confirm() so far; None if it never ran or its study was deleted."""
    link = StudyRecord(home.existing).confirmation
    study = StudyRecord(home.existing).parts.get(link["study"]) if link else None
    if link is None or study is None:
        return None
    trials = home.existing.get_trials(deepcopy=False)
    chosen = [trials[number] for number in link["trials"]]
    wanted = asked_for(chosen, link.get("executions", 0))
    return confirmation_of(study, chosen, wanted, home.objectives.watched)
