"""What is here instead of KerasTuner's names, and which of its objects and errors are taken.

All are known by their names alone, since KerasTuner need not be installed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from optuna.trial import BaseTrial

from kerastune_optuna._exceptions import (
    ArgumentError,
    ArgumentTypeError,
    BuilderError,
    UnknownNameError,
)

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
ARGUMENTS = {
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
_BOTH = "distribution_strategy logger loss metrics optimizer tuner_id"  # attributes, too
# Methods and attributes of KerasTuner's tuners, and one of Optuna's Study.
_METHODS = {
    "optimize": "Use tuner.search(x, y, epochs=), which takes n_trials= and timeout= too.",
    **_HOOKS,
    **{name: ARGUMENTS[name] for name in _BOTH.split()},
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
_OF_HP = ("Int", "Float", "Choice", "Boolean", "Fixed", "conditional_scope")  # methods
_DIRECTIONS = {"min": "minimize", "max": "maximize"}  # of an Objective


def absent(tuner: object, name: str) -> Any:
    """Raise an error that says what replaces a name of KerasTuner's tuners or Optuna's Study.

    Raises:
        UnknownNameError: Says what to use instead.
        AttributeError: There is no such attribute there either, or a property raised this error.
    """
    if name in _METHODS:
        other = "Optuna's Study" if name == "optimize" else "KerasTuner"
        raise UnknownNameError(f"OptunaTuner has no {name!r}, unlike {other}. {_METHODS[name]}")
    # Python calls __getattr__ also after a property has raised an AttributeError: raise it again.
    return object.__getattribute__(tuner, name)


def check_hooks(kind: type) -> None:
    """Refuse a subclass that defines hooks of KerasTuner, since OptunaTuner would not call them.

    Raises:
        ArgumentTypeError: Names the hook, and what replaces it.
    """
    for name, instead in _HOOKS.items():
        if hasattr(kind, name):
            raise ArgumentTypeError(
                f"{kind.__name__} defines {name}(), which OptunaTuner does not call. {instead}"
            )


def refuse_hyper_model(build_model: object) -> None:
    """Refuse a HyperModel as a builder, and say how to pass it."""
    if callable(getattr(build_model, "build", None)):
        raise ArgumentTypeError(f"build_model={build_model!r} is a HyperModel. {_BUILDER}")


def refuse_methods_of_hp(error: AttributeError) -> None:
    """Raise a BuilderError if a builder has called a method of KerasTuner's hp on its trial."""
    if isinstance(error.obj, BaseTrial) and error.name in _OF_HP:
        raise BuilderError(
            f"build_model calls {error.name}() on its trial, which is a method of KerasTuner's "
            "hp and not of an Optuna trial. Pass from_keras_tuner(build_model), or use "
            "trial.suggest_int, suggest_float and suggest_categorical in build_model."
        ) from error


def pairs_of(names: Sequence[Any], directions: object) -> list[tuple[Any, object]]:
    """Return the user's objectives as names with directions; nothing if no Objective is among them.

    Raises:
        ArgumentError: An Objective, which has a direction, came with direction= or has another one.
    """
    theirs = [one for one in names if hasattr(one, "name") and hasattr(one, "direction")]
    if theirs and directions != "auto":
        raise ArgumentError(
            f"direction={directions!r} was passed with an Objective, which has its own direction. "
            "Leave direction= out."
        )
    for objective in theirs:
        if objective.direction not in _DIRECTIONS:
            raise ArgumentError(
                f"objective= has the direction {objective.direction!r} for {objective.name!r}. "
                'Pass an Objective with "min" or "max".'
            )
    found = {id(one): (one.name, _DIRECTIONS[one.direction]) for one in theirs}
    return [found.get(id(one), (one, "auto")) for one in names if theirs]


def learn_ranges(build_model: Callable[..., Any]) -> None:
    """Let a builder that keeps the first range of each parameter learn them, if this is one.

    Raises:
        FatalError: The builder raised it, or that of KerasTuner.
    """
    try:
        getattr(build_model, "learn_ranges", lambda: None)()
    except Exception as error:  # the builder may raise anything for its own defaults
        if is_fatal(error):
            raise


def is_fatal(error: BaseException) -> bool:
    """Whether an error is a FatalError, ours or KerasTuner's, which ends the search."""
    return any(kind.__name__ == "FatalError" for kind in type(error).__mro__)


def is_of_one_trial(error: BaseException) -> bool:
    """Whether an error is a FailedTrialError, ours or KerasTuner's, which fails one trial."""
    return any(kind.__name__ == "FailedTrialError" for kind in type(error).__mro__)
