"""The constructor's arguments: each is checked before a study is opened."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import keras
from optuna.samplers import CmaEsSampler

from kerastune_optuna import _check
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError
from kerastune_optuna._search import Ending, check_pruner, check_sampler
from kerastune_optuna._storage import database
from kerastune_optuna._study import (
    Constraints,
    Objectives,
    check_constraints,
    opening,
    parse_objectives,
)


class Arguments(Protocol):
    """Describe a tuner by the arguments that it was given."""

    build_model: Any
    objective: Any
    direction: Any
    n_trials: Any
    timeout: Any
    sampler: Any
    pruner: Any
    terminator: Any
    train_repeats: Any
    seed: Any
    directory: Any
    study_name: Any
    storage: Any
    artifact_store: Any
    executions_per_trial: Any
    keep_best: Any
    max_params: Any
    max_seconds_per_trial: Any
    constraints: Any
    max_failed_trials: Any
    backup_every: Any
    overwrite: Any


# KerasTuner's names for arguments of ours, which its users may pass.
_ALSO_CALLED = {
    "max_trials": "n_trials",
    "project_name": "study_name",
    "max_consecutive_failed_trials": "max_failed_trials",
}


# Arguments of KerasTuner that have no counterpart, and why.
_NOT_HERE = {
    "max_retries_per_trial": "A trial that fails would fail again from the same parameters and "
    "seed; one whose process died is run again by itself. max_failed_trials= says how many may "
    "fail in a row.",
}


def check_names(names: Iterable[str], known: Callable[..., Any]) -> None:
    """Refuse arguments that the tuner does not have.

    Raises:
        ArgumentTypeError: Names the argument, and the one that is meant or near.
    """
    for name in names:
        own = list(inspect.signature(known).parameters)
        also = _ALSO_CALLED.get(name)
        hint = f" It is called {also} here." if also else _check.nearest(name, own)
        hint = f" {_NOT_HERE[name]}" if name in _NOT_HERE else hint
        raise ArgumentTypeError(
            f"OptunaTuner got {name!r}, which it does not take.{hint} It takes "
            f"{', '.join(one for one in own if one != 'others')}."
        )


def check_tuner(tuner: Arguments) -> None:
    """Refuse arguments of the tuner that cannot work.

    Raises:
        ArgumentError: One line: what came, why it cannot work, what to pass.
    """
    _check_builder(tuner.build_model)
    objectives = parse_objectives(tuner.objective, tuner.direction)
    _warn_of_directions(objectives)
    limits = Constraints(tuner.max_params, tuner.max_seconds_per_trial, tuner.constraints)
    check_constraints(limits)
    check_limits(tuner.n_trials, tuner.timeout)
    check_sampler(tuner.sampler)
    check_pruner(tuner.pruner)
    Ending(tuner.terminator, tuner.train_repeats).check(are_several=objectives.are_several)
    _check_seed(tuner.seed)
    _check_directory(tuner.directory)
    opening.check_name(tuner.study_name)
    database.check_storage(tuner.storage)
    _check_store(tuner.artifact_store)
    instead = "Pass how often each configuration is trained."
    _check.integer("executions_per_trial", tuner.executions_per_trial, least=1, instead=instead)
    if tuner.keep_best is not None:
        instead = "Pass how many trials keep their weights, or None for as many as before."
        _check.integer("keep_best", tuner.keep_best, least=0, instead=instead)
    if objectives.are_several:
        _check_for_several(tuner)
    _check.integer(
        "max_failed_trials", tuner.max_failed_trials, least=1, instead="Pass 1 or more trials."
    )
    if tuner.backup_every is not None:
        instead = "Pass how long a backup may be ago, 0 for one at each epoch, or None for none."
        _check.seconds("backup_every", tuner.backup_every, instead=instead)
    _check.one_of("overwrite", tuner.overwrite, (True, False))


def _warn_of_directions(objectives: Objectives) -> None:
    for one in objectives.each:
        if one.looks_for_the_worst:
            _check.warn(
                f"direction={one.direction!r} looks for the worst {one.name!r} there is. Pass "
                'direction="auto" for the best.'
            )


def check_limits(n_trials: object, timeout: object) -> None:
    """Refuse a size or a time in which no trial could run."""
    if n_trials is not None:
        instead = "Pass 1 or more trials, or None for no limit."
        _check.integer("n_trials", n_trials, least=1, instead=instead)
    _check.timeout(timeout)


def _check_builder(build_model: object) -> None:
    instead = "Pass a function that takes an Optuna trial and returns a compiled keras.Model."
    if isinstance(build_model, keras.Model):
        raise ArgumentTypeError(
            f"build_model is the model {build_model.name!r}, not a function. {instead}"
        )
    if not callable(build_model):
        raise ArgumentTypeError(f"build_model={build_model!r} cannot be called. {instead}")
    try:
        inspect.signature(build_model).bind(object())
    except TypeError as error:
        raise ArgumentTypeError(
            f"build_model cannot be called with a trial alone ({error}). {instead}"
        ) from error
    except ValueError:
        return  # a builtin without a signature


def _check_for_several(tuner: Arguments) -> None:
    """Refuse what cannot work where there are several objectives."""
    if tuner.keep_best is not None and tuner.keep_best > 1:
        raise ArgumentError(
            f"keep_best={tuner.keep_best} cannot choose among trials of which none is better than "
            "the others. Pass keep_best=None (default), and all trials on the front keep their "
            "weights, or keep_best=0, and none does."
        )
    if tuner.sampler == "cmaes" or isinstance(tuner.sampler, CmaEsSampler):
        raise ArgumentError(
            f"sampler={tuner.sampler!r} is for one objective: CMA-ES has none for several. Pass "
            "'tpe', 'gp', 'random', 'qmc' or 'grid', optuna.samplers.NSGAIISampler(), or None for "
            "TPE."
        )


def _check_seed(seed: object) -> None:
    if seed is None:
        return
    instead = "Pass a whole number from 0, or None for seeds that are drawn."
    _check.integer("seed", seed, least=0, instead=instead)


def _check_directory(directory: object) -> None:
    if not isinstance(directory, str | os.PathLike) or not str(directory):
        raise ArgumentTypeError(f"directory={directory!r} is no path. Pass the name of a folder.")


def _check_store(store: object) -> None:
    if store is None or callable(store):
        return
    lacking = [name for name in ("open_reader", "write", "remove") if not hasattr(store, name)]
    if lacking:
        raise ArgumentError(
            f"artifact_store={store!r} has no {', '.join(lacking)}. Pass a store from "
            "optuna.artifacts, a function that returns one, or None for a folder in directory."
        )
