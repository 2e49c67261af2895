"""The constructor's arguments: each is checked before a study is opened."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import keras
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, CmaEsSampler
from optuna.storages import BaseStorage

from kerastune_optuna import _check
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError
from kerastune_optuna._keras_tuner import ARGUMENTS, refuse_hyper_model
from kerastune_optuna._search import Budget, Chooser, Deadline, StopConditions
from kerastune_optuna._storage import StoreSource, check_storage
from kerastune_optuna._study import Home, Objectives
from kerastune_optuna._trial import Builder
from kerastune_optuna._workers import Source, check_warm_start


class Arguments(Protocol):
    """The arguments of OptunaTuner that are checked here; each is an attribute of it.

    They are listed here, since a module must not import the one that imports it.
    """

    build_model: Builder
    objective: str | Sequence[str]
    direction: str | Sequence[str]
    n_trials: int | None
    timeout: float | None
    sampler: BaseSampler | str
    pruner: BasePruner | str
    terminator: Any
    stop_at: float | None
    train_repeats: bool
    warm_start: Source | list[Source] | None
    seed: int | None
    directory: str | Path
    study_name: str | None
    storage: str | BaseStorage | None
    artifact_store: StoreSource | None
    executions_per_trial: int
    keep_best: int | str
    max_failed_trials: int | str
    backup_every: float | None
    overwrite: bool


def check_names(names: Iterable[str], kind: Any) -> None:
    """Refuse arguments that the tuner does not have.

    Raises:
        ArgumentTypeError: Names the argument, and what replaces it or has a similar name.
    """
    for name in names:
        own, of_search, of_fit = (
            list(inspect.signature(call).parameters)
            for call in (kind, kind.search, keras.Model.fit)
        )
        listed = ", ".join(one for one in own if one != "others")
        hint = ARGUMENTS.get(name) or f"{_check.nearest(name, own)} It takes {listed}.".strip()
        if name in of_search + of_fit:
            hint = f"Pass it to search(), as in search({name}=...)."
        raise ArgumentTypeError(f"OptunaTuner got {name!r}, which it does not take. {hint}")


def check_tuner(tuner: Arguments) -> None:
    """Refuse arguments of the tuner that cannot work.

    Raises:
        ArgumentError: One line that says which value was passed, why it cannot work, and what to
            pass instead.
    """
    _check_builder(tuner.build_model)
    objectives = Objectives.parse(tuner.objective, tuner.direction)
    for objective in objectives.each:
        if objective.looks_for_the_worst:
            _check.warn(
                f"direction={objective.direction!r} searches for the worst {objective.name!r}. "
                'Pass direction="auto" to search for the best.'
            )
    conditions, several = budget_of(tuner).conditions, objectives.are_several
    Chooser(tuner.sampler, tuner.pruner).check()
    conditions.check(are_several=several)
    if tuner.terminator == "auto" and tuner.sampler not in ("auto", "gp"):
        raise ArgumentError(
            f"terminator='auto' asks what the sampler expects, and sampler={tuner.sampler!r} does "
            "not say it. Pass sampler='auto' or 'gp', or how many trials in a row may bring no "
            "better value."
        )
    if tuner.sampler == "grid" and tuner.train_repeats:
        raise ArgumentError(
            "sampler='grid' trains each configuration once, but train_repeats=True asks for more. "
            "Leave it out, and pass executions_per_trial= to train each several times."
        )
    if several and (tuner.sampler == "cmaes" or isinstance(tuner.sampler, CmaEsSampler)):
        raise ArgumentError(
            f"sampler={tuner.sampler!r} is for one objective. Pass 'auto', 'gp', 'tpe', 'random', "
            "'qmc' or 'grid', or optuna.samplers.NSGAIISampler()."
        )
    if tuner.warm_start is not None:
        check_warm_start(tuner.warm_start, are_several=several)
    _check_each(tuner)
    if tuner.artifact_store is not None:
        check_store(tuner.artifact_store)


def _check_each(tuner: Arguments) -> None:
    """Refuse single values that cannot work: numbers, and places for studies."""
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
    if not isinstance(tuner.directory, str | os.PathLike) or not str(tuner.directory):
        raise ArgumentTypeError(
            f"directory={tuner.directory!r} is not a path. Pass the name of a folder."
        )
    if tuner.study_name is not None:
        Home.check_name(tuner.study_name)
    if tuner.storage is not None:
        check_storage(tuner.storage)
    _check.one_of("overwrite", tuner.overwrite, (True, False))


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


def check_store(store: object) -> None:
    """Refuse what is no artifact store, and no function that may open one."""
    if callable(store):
        return
    lacking = [name for name in ("open_reader", "write", "remove") if not hasattr(store, name)]
    if lacking:
        raise ArgumentError(
            f"artifact_store={store!r} has no {', '.join(lacking)}. Pass a store from "
            "optuna.artifacts, a function that returns one, or None for a folder in directory."
        )


def budget_of(
    tuner: Arguments, n_trials: int | None = None, timeout: float | None = None
) -> Budget:
    """Return the budget of a search: its limits are those of this call, or else of its tuner.

    Raises:
        ArgumentError: A limit leaves no room for a trial.
    """
    size = tuner.n_trials if n_trials is None else n_trials
    seconds = tuner.timeout if timeout is None else timeout
    if size is not None:
        instead = "Pass 1 or more trials, or None for no limit."
        _check.integer("n_trials", size, least=1, instead=instead)
    if seconds is not None:
        instead = "Pass a positive number of seconds, or None for no limit."
        _check.seconds("timeout", seconds, instead=instead)
        if seconds == 0:
            raise ArgumentError(f"timeout={seconds} leaves no time for a trial. {instead}")
    deadline = None if seconds is None else Deadline(seconds)
    most = None if isinstance(tuner.max_failed_trials, str) else tuner.max_failed_trials
    conditions = deadline, most, tuner.stop_at, tuner.terminator, tuner.train_repeats
    return Budget(size, StopConditions(*conditions))
