"""Rebuild kept models: those of the best trials, and that of the winner of confirm()."""

from __future__ import annotations

import copy

import keras
import optuna
from optuna.trial import FrozenTrial

from kerastune_optuna import _check
from kerastune_optuna._exceptions import ArgumentError, WeightsError
from kerastune_optuna._generators import borrowed
from kerastune_optuna._report import say
from kerastune_optuna._rerun.confirm import confirmed
from kerastune_optuna._rerun.confirmation import Confirmation
from kerastune_optuna._rerun.executions import best_of_each
from kerastune_optuna._study import Home, parts_of
from kerastune_optuna._trial import Builder, MissingWeightsError, keeps, rebuild
from kerastune_optuna._workers import card


def best_model(
    home: Home, build_model: Builder, keep_best: int | str, trial: int | FrozenTrial | None
) -> keras.Model:
    """Return a trial's model; for None, that of confirm()'s winner or else of the best trial."""
    chosen = home.best(trial)
    if trial is None:
        if not keeps(home.existing, keep_best):
            return best_models(home, build_model, keep_best, 1)[0]  # raises: no weights are kept
        found = confirmed(home)
        if found is not None and _is_up_to_date(home, found):
            return _model_of_winner(home, build_model, found)
    return rebuilt(home, build_model, home.existing, chosen)


def best_models(
    home: Home, build_model: Builder, keep_best: int | str, n: int
) -> list[keras.Model]:
    """Return the models of the best `n` trials, or as many as are kept, the best first."""
    _check.integer("n", n, least=1, instead="Pass how many models to rebuild.")
    count = keeps(home.existing, keep_best)
    trials = home.top(min(n, max(count, 1)))
    if not count:
        raise ArgumentError(
            f"n={n} is more than keep_best=0, the number of trials that keep their weights. Pass "
            f"keep_best={n} to the tuner before it searches."
        )
    models: dict[int, keras.Model] = {}
    for trial in trials:
        try:
            models[trial.number] = rebuilt(home, build_model, home.existing, trial)
        except MissingWeightsError:
            if not models:
                raise  # otherwise the list would begin with the model of a worse trial
    if len(models) < n:
        are = "1 is" if len(models) == 1 else f"{len(models)} are"
        numbers = ", ".join(map(str, models))
        say(f"{n} models were asked for, and {are} kept: best first, those of trials {numbers}.")
    return list(models.values())


def _is_up_to_date(home: Home, found: Confirmation) -> bool:
    """Whether there is a winner, and the search has found no better trial since."""
    numbers = [row.number for row in found.ranking]
    return not found.missing and found.is_decided and home.best(None).number in numbers


def _model_of_winner(home: Home, build_model: Builder, found: Confirmation) -> keras.Model:
    """Return the model of the winner's best execution, and print its value."""
    number = found.winner.number
    study = parts_of(home.existing)[found.study_name]
    execution = best_of_each(study, home.objectives.watched)[number]
    try:
        model = rebuilt(home, build_model, study, execution)
    except WeightsError as error:
        raise WeightsError(
            f"{error} This is an execution of trial {number}, which won confirm(). "
            "best_models(1) gives the best model of the search."
        ) from error.__cause__
    say(
        f"The best model is the best execution of trial {number}, which won confirm(), with "
        f"{home.objectives.watched.name} {execution.values[0]:.6g}"
    )
    return model


def rebuilt(
    home: Home, build_model: Builder, study: optuna.Study, trial: FrozenTrial
) -> keras.Model:
    """Return the model of a trial; warn if it may differ from the model that was trained."""
    # The builder gets a copy, so that changes to its trial do not reach Optuna's cache.
    with borrowed(build_model, of_keras=False):
        model = rebuild(build_model, home.store, home.storage, copy.deepcopy(trial))
    card.warn_where_code_decides(study, trial, build_model, model)
    return model
