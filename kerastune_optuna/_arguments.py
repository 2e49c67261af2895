"""The constructor's arguments: each is checked before a study is opened."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable
from typing import Any

import keras
from optuna.samplers import CmaEsSampler

from kerastune_optuna import _check
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError
from kerastune_optuna._search import Budget, Chooser, StopConditions
from kerastune_optuna._storage import database
from kerastune_optuna._study import Constraints, Objectives, opening, parse_objectives
from kerastune_optuna._workers import check_warm_start

_BUILDER = "Pass from_keras_tuner(build) or from_keras_tuner(hypermodel) as build_model."
_OWN_SPACE = (
    "Wrap the builder in a function that first asks for other ranges, and then calls build(hp) or "
    "build(hp.copy())."
)
_COMPILE = "Wrap the builder in a function that compiles the model of build(hp) again."
_SAMPLER = "Pass an Optuna sampler that has its own options, as sampler=."
_HYPERBAND = 'Pass pruner="hyperband", or optuna.pruners.HyperbandPruner(...), and search(epochs=).'
_STATE = "All state is in the study, which is saved automatically: see tuner.study."
_HOOK = "Pass a Keras callback to search(callbacks=), or a function that makes one for each trial."

# Arguments of KerasTuner's tuners and oracles, each with a sentence that says what replaces it.
_ARGUMENTS = {
    **dict.fromkeys(("allow_new_entries", "hyperparameters", "tune_new_entries"), _OWN_SPACE),
    **dict.fromkeys(("alpha", "beta", "num_initial_points"), _SAMPLER),
    **dict.fromkeys(("factor", "hyperband_iterations"), _HYPERBAND),
    **dict.fromkeys(("loss", "metrics", "optimizer"), _COMPILE),
    "distribution_strategy": "Build the model in the scope of a strategy that build_model makes.",
    "hypermodel": _BUILDER,
    "logger": "Use Python's logging, and search(callbacks=).",
    "max_consecutive_failed_trials": "It is called max_failed_trials here.",
    "max_epochs": "It is called epochs here, an argument of search().",
    "max_model_size": "It is called max_params here.",
    "max_retries_per_trial": (
        "A failed trial would fail again with the same parameters and seed; a trial whose process "
        "died is run again automatically. max_failed_trials= says how many may fail in a row."
    ),
    "max_trials": "It is called n_trials here.",
    "oracle": "Pass an Optuna sampler or its name as sampler=.",
    "project_name": "It is called study_name here.",
    "scoring": "Return the score from the builder's own fit, under the name of the objective.",
    "tuner_id": "Workers need no names: pass search(n_workers=), or run copies of the script.",
}
# KerasTuner calls these hooks, and OptunaTuner does not: a subclass must not define them.
_HOOKS = {
    "load_model": "tuner.best_model(trial=) rebuilds the model of a trial whose weights are kept.",
    **dict.fromkeys(("on_batch_begin", "on_batch_end", "on_epoch_begin", "on_epoch_end"), _HOOK),
    "on_search_begin": "Do it before tuner.search().",
    "on_search_end": "Do it after tuner.search(), which returns when the search has ended.",
    "on_trial_begin": _HOOK,
    "on_trial_end": "Pass a function of the study and the trial to search(on_trial_end=).",
    "pre_create_trial": "Pass constraints=, which can end a trial before it is trained.",
    "run_trial": "Give build_model a fit(trial, model, **fit_arguments), or the HyperModel a fit.",
    "save_model": "keep_best= says how many trials keep their weights.",
}
# Methods and attributes of KerasTuner's tuners, and one of Optuna's Study.
_METHODS = {
    "optimize": "Use tuner.search(x, y, epochs=), which takes n_trials= and timeout= too.",
    **_HOOKS,
    **{
        name: _ARGUMENTS[name]
        for name in ("distribution_strategy", "logger", "loss", "metrics", "optimizer", "tuner_id")
    },
    **dict.fromkeys(("get_state", "save", "set_state"), _STATE),
    "get_best_hyperparameters": "Use HyperParameters(trial) for each trial of tuner.top_trials(n).",
    "get_best_models": "Use tuner.best_models(n), with keep_best=n for more than 5.",
    "get_trial_dir": "Weights are in directory=, under study_name=: use tuner.best_model(trial=).",
    "hypermodel": "Use tuner.build_model(hp), with hp = HyperParameters(tuner.best_trial).",
    "max_model_size": "Use tuner.max_params.",
    "oracle": "Use tuner.study and tuner.top_trials(n): the study has all trials.",
    "project_dir": "Use tuner.directory and tuner.study_name.",
    "project_name": "Use tuner.study_name.",
    "reload": "A tuner with the same arguments sees the same study.",
    "remaining_trials": "Use tuner.n_trials, and tuner.results() for the trials so far.",
    "results_summary": "Use tuner.summary(n).",
    "search_space_summary": "Use tuner.space().",
}


def check_names(names: Iterable[str], known: Callable[..., Any]) -> None:
    """Refuse arguments that the tuner does not have.

    Raises:
        ArgumentTypeError: Names the argument, and what replaces it or has a similar name.
    """
    for name in names:
        own = list(inspect.signature(known).parameters)
        listed = ", ".join(one for one in own if one != "others")
        hint = _ARGUMENTS.get(name) or f"{_check.nearest(name, own)} It takes {listed}.".strip()
        if name in _of_search(known):
            hint = f"Pass it to search(), as in search({name}=...)."
        raise ArgumentTypeError(f"OptunaTuner got {name!r}, which it does not take. {hint}")


def _of_search(kind: Any) -> set[str]:
    """Return the names of the arguments that search() takes itself or passes to Model.fit."""
    return {
        name for one in (kind.search, keras.Model.fit) for name in inspect.signature(one).parameters
    }


def absent(tuner: object, name: str) -> Any:
    """Raise an error that says what replaces a name of KerasTuner's tuners or Optuna's Study."""
    other = "Optuna's Study" if name == "optimize" else "KerasTuner"
    return _check.absent(tuner, "OptunaTuner", name, _METHODS, other)


def check_tuner(tuner: Any) -> None:
    """Refuse arguments of the tuner that cannot work.

    Args:
        tuner: An OptunaTuner, which has each argument as an attribute.

    Raises:
        ArgumentError: One line that says which value was passed, why it cannot work, and what to
            pass instead.
    """
    _check_hooks(type(tuner))
    _check_builder(tuner.build_model)
    objectives = parse_objectives(tuner.objective, tuner.direction)
    _warn_of_directions(objectives)
    Constraints.of(tuner).check_limits()
    check_limits(tuner.n_trials, tuner.timeout)
    Chooser(tuner.sampler, tuner.pruner).check()
    StopConditions.of(tuner).check(are_several=objectives.are_several)
    if tuner.sampler == "grid" and tuner.train_repeats:
        raise ArgumentError(
            "sampler='grid' trains each configuration once, but train_repeats=True asks for more. "
            "Leave it out, and pass executions_per_trial= to train each several times."
        )
    check_warm_start(tuner.warm_start, are_several=objectives.are_several)
    if tuner.seed is not None:
        instead = "Pass a whole number, 0 or more, or None for random seeds."
        _check.integer("seed", tuner.seed, least=0, instead=instead)
    _check_directory(tuner.directory)
    opening.check_name(tuner.study_name)
    database.check_storage(tuner.storage)
    check_store(tuner.artifact_store)
    instead = "Pass how often each configuration is trained."
    _check.integer("executions_per_trial", tuner.executions_per_trial, least=1, instead=instead)
    if tuner.keep_best != "auto":
        instead = "Pass how many trials keep their weights, or 'auto' for as many as before."
        _check.integer("keep_best", tuner.keep_best, least=0, instead=instead)
    if objectives.are_several:
        _check_for_several(tuner)
    if tuner.max_failed_trials != "auto":
        instead = "Pass 1 or more trials, or 'auto' for 10."
        _check.integer("max_failed_trials", tuner.max_failed_trials, least=1, instead=instead)
    if tuner.backup_every is not None:
        instead = "Pass the seconds between backups, 0 for one at each epoch, or None for none."
        _check.seconds("backup_every", tuner.backup_every, instead=instead)
    _check.one_of("overwrite", tuner.overwrite, (True, False))


def _check_hooks(kind: type) -> None:
    """Refuse a subclass that defines hooks of KerasTuner, since OptunaTuner would not call them."""
    for name, instead in _HOOKS.items():
        if hasattr(kind, name):
            raise ArgumentTypeError(
                f"{kind.__name__} defines {name}(), which OptunaTuner does not call. {instead}"
            )


def _warn_of_directions(objectives: Objectives) -> None:
    for one in objectives.each:
        if one.looks_for_the_worst:
            _check.warn(
                f"direction={one.direction!r} searches for the worst {one.name!r}. Pass "
                'direction="auto" to search for the best.'
            )


def check_limits(n_trials: object, timeout: object) -> None:
    """Refuse a size or a time limit that leaves no room for a trial."""
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
    if not callable(build_model) and callable(getattr(build_model, "build", None)):
        raise ArgumentTypeError(f"build_model={build_model!r} is a HyperModel. {_BUILDER}")
    if not callable(build_model):
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


def _check_directory(directory: object) -> None:
    if not isinstance(directory, str | os.PathLike) or not str(directory):
        raise ArgumentTypeError(
            f"directory={directory!r} is not a path. Pass the name of a folder."
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
