"""The constructor's arguments: each is checked before a study is opened."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable
from typing import Any

import keras
from optuna.samplers import CmaEsSampler

from kerastune_optuna import _check
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError
from kerastune_optuna._keras_tuner import ARGUMENTS, refuse_hyper_model
from kerastune_optuna._search import Budget, Chooser, StopConditions
from kerastune_optuna._storage import database
from kerastune_optuna._study import Constraints, opening, parse_objectives
from kerastune_optuna._workers import check_warm_start


def check_names(names: Iterable[str], kind: Any) -> None:
    """Refuse arguments that the tuner does not have.

    Raises:
        ArgumentTypeError: Names the argument, and what replaces it or has a similar name.
    """
    for name in names:
        own, of_search, of_fit = (
            list(inspect.signature(one).parameters) for one in (kind, kind.search, keras.Model.fit)
        )
        listed = ", ".join(one for one in own if one != "others")
        hint = ARGUMENTS.get(name) or f"{_check.nearest(name, own)} It takes {listed}.".strip()
        if name in of_search + of_fit:
            hint = f"Pass it to search(), as in search({name}=...)."
        raise ArgumentTypeError(f"OptunaTuner got {name!r}, which it does not take. {hint}")


def check_tuner(tuner: Any) -> None:
    """Refuse arguments of the tuner that cannot work.

    Args:
        tuner: An OptunaTuner, which has each argument as an attribute.

    Raises:
        ArgumentError: One line that says which value was passed, why it cannot work, and what to
            pass instead.
    """
    _check_builder(tuner.build_model)
    objectives = parse_objectives(tuner.objective, tuner.direction)
    for each in objectives.each:
        if each.looks_for_the_worst:
            _check.warn(
                f"direction={each.direction!r} searches for the worst {each.name!r}. Pass "
                'direction="auto" to search for the best.'
            )
    Constraints.of(tuner).check_limits()
    check_limits(tuner.n_trials, tuner.timeout)
    Chooser(tuner.sampler, tuner.pruner).check()
    StopConditions.of(tuner).check(are_several=objectives.are_several)
    if tuner.sampler == "grid" and tuner.train_repeats:
        raise ArgumentError(
            "sampler='grid' trains each configuration once, but train_repeats=True asks for more. "
            "Leave it out, and pass executions_per_trial= to train each several times."
        )
    if tuner.warm_start is not None:
        check_warm_start(tuner.warm_start, are_several=objectives.are_several)
    if objectives.are_several:
        _check_for_several(tuner)
    _check_numbers(tuner)
    _check_places(tuner)
    _check.one_of("overwrite", tuner.overwrite, (True, False))


def _check_numbers(tuner: Any) -> None:
    """Refuse numbers of trials, trainings and seconds that cannot work."""
    if tuner.seed is not None:
        instead = "Pass a whole number, 0 or more, or None for random seeds."
        _check.integer("seed", tuner.seed, least=0, instead=instead)
    instead = "Pass how often each configuration is trained."
    _check.integer("executions_per_trial", tuner.executions_per_trial, least=1, instead=instead)
    if tuner.keep_best != "auto":
        instead = "Pass how many trials keep their weights, or 'auto' for as many as before."
        _check.integer("keep_best", tuner.keep_best, least=0, instead=instead)
    if tuner.max_failed_trials != "auto":
        instead = "Pass 1 or more trials, or 'auto' for 10."
        _check.integer("max_failed_trials", tuner.max_failed_trials, least=1, instead=instead)
    if tuner.backup_every is not None:
        instead = "Pass the seconds between backups, 0 for one at each epoch, or None for none."
        _check.seconds("backup_every", tuner.backup_every, instead=instead)


def _check_places(tuner: Any) -> None:
    """Refuse places in which neither a study nor weights can be kept."""
    if not isinstance(tuner.directory, str | os.PathLike) or not str(tuner.directory):
        raise ArgumentTypeError(
            f"directory={tuner.directory!r} is not a path. Pass the name of a folder."
        )
    opening.check_name(tuner.study_name)
    database.check_storage(tuner.storage)
    check_store(tuner.artifact_store)


def check_limits(n_trials: object, timeout: object) -> None:
    """Refuse a size or a time limit that leaves no room for a trial."""
    if n_trials is not None:
        instead = "Pass 1 or more trials, or None for no limit."
        _check.integer("n_trials", n_trials, least=1, instead=instead)
    _check.timeout(timeout)


def _check_builder(build_model: object) -> None:
    """Refuse what cannot be called with a trial."""
    instead = "Pass a function that takes an Optuna trial and returns a compiled keras.Model."
    if isinstance(build_model, keras.Model):
        raise ArgumentTypeError(
            f"build_model is the model {build_model.name!r}, not a function. {instead}"
        )
    if not callable(build_model):
        refuse_hyper_model(build_model)
        raise ArgumentTypeError(f"build_model={build_model!r} cannot be called. {instead}")
    if (why := _check.why_not(build_model, 1)) is not None:
        raise ArgumentTypeError(
            f"build_model cannot be called with only a trial ({why}). {instead}"
        )


def _check_for_several(tuner: Any) -> None:
    """Refuse arguments that cannot work with several objectives."""
    if tuner.sampler == "cmaes" or isinstance(tuner.sampler, CmaEsSampler):
        raise ArgumentError(
            f"sampler={tuner.sampler!r} is for one objective. Pass 'auto', 'gp', 'tpe', 'random', "
            "'qmc' or 'grid', or optuna.samplers.NSGAIISampler()."
        )


def check_store(store: object) -> None:
    """Refuse what is no artifact store, and no function that may open one."""
    if store is None or callable(store):
        return
    lacking = [name for name in ("open_reader", "write", "remove") if not hasattr(store, name)]
    if lacking:
        raise ArgumentError(
            f"artifact_store={store!r} has no {', '.join(lacking)}. Pass a store from "
            "optuna.artifacts, a function that returns one, or None for a folder in directory."
        )


def budget_of(given: Any, n_trials: int | None, timeout: float | None) -> Budget:
    """Return the budget of a search: its limits are those of this call, or else of its tuner.

    Raises:
        ArgumentError: A limit cannot work.
    """
    check_limits(n_trials, timeout)
    seconds = given.timeout if timeout is None else timeout
    size = given.n_trials if n_trials is None else n_trials
    return Budget(size, StopConditions.of(given, seconds))
