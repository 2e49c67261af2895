"""Compare what a builder asks for with what trials had, and name the parameter that differs."""

from __future__ import annotations

import textwrap
import traceback
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import BaseTrial, FrozenTrial

from kerastune_optuna import _check
from kerastune_optuna._exceptions import StudyMismatchError
from kerastune_optuna._search import space

_ANEW = "pass another study_name=, or overwrite=True to start anew"
_WIDEST = 100  # characters for the values of a parameter in an error


def explain(
    error: Exception, build_model: space.Builder, trial: BaseTrial, who: str = "build_model"
) -> None:
    """Say which parameter a builder could not get, where that is why it raised an error.

    Args:
        error: The error. Optuna raises one for choices that have changed, or that no study holds.
        build_model: The builder, which is called once more.
        trial: What it was called with: a running trial, or a finished one.
        who: What the error calls it.

    Raises:
        StudyMismatchError: Names the parameter, what was and what is asked for, and the way out.
    """
    if not _is_of_optuna(error):
        return

    def choose(name: str, distribution: BaseDistribution) -> Any:
        _compare(trial, who, name, distribution)
        return trial.params[name] if name in trial.params else space.middle(distribution)

    space.walk(build_model, space.Walker(choose))


def _compare(trial: BaseTrial, who: str, name: str, distribution: BaseDistribution) -> None:
    """Refuse what a trial could not give, like other choices than before."""
    space.check_choices(name, distribution, once=False)
    for old in _earlier_distributions(trial, name):
        if not _check.fits(distribution, old):
            raise StudyMismatchError(
                f"{who} asks for {name!r} as {_range_of(distribution)}, and the study has it as "
                f"{_range_of(old)}. Within a study a parameter keeps its choices, its type and its "
                f"scale. Give the new one another name, or {_ANEW}."
            )
    if isinstance(trial, FrozenTrial) and name not in trial.params:
        raise StudyMismatchError(
            f"{who} asks for {name!r}, which trial {trial.number} did not have. Say what the "
            f"trials before are to have, by build_model.default_params = lambda: {{{name!r}: ...}};"
            f" or restore the builder of their search, or {_ANEW}."
        )


def check_choices(trial: BaseTrial) -> None:
    """Refuse choices of which the study may hold another one than the model has, or none.

    Raises:
        ArgumentError: Two choices of a parameter are equal.
        ArgumentTypeError: A choice is neither None, a bool, a number nor a text.
    """
    for name, distribution in trial.distributions.items():
        space.check_choices(name, distribution, once=False)


def _is_of_optuna(error: Exception) -> bool:
    """Whether Optuna's code raised an error, or called what did."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(str(one.f_globals.get("__name__")).startswith("optuna.") for one in frames)


def with_defaults(build_model: space.Builder, trial: FrozenTrial) -> bool:
    """Give a finished trial the builder's defaults for what it lacks; False where none is new."""
    own = defaults_of(build_model)
    is_any_new = any(name not in trial.params for name in own)
    trial.params = {**own, **trial.params}
    return is_any_new


def defaults_of(build_model: space.Builder) -> dict[str, Any]:
    """Return what a builder says of its defaults; nothing where it has no `default_params`."""
    own = getattr(build_model, "default_params", None)
    return {} if own is None else dict(own())


def _earlier_distributions(trial: BaseTrial, name: str) -> list[BaseDistribution]:
    """Return the distributions that a parameter had in earlier trials, or in the finished one."""
    trials: Sequence[BaseTrial] = [trial]
    if isinstance(trial, optuna.Trial):
        trials = trial.study.get_trials(deepcopy=False)
    return [one.distributions[name] for one in trials if name in one.distributions]


def _range_of(distribution: BaseDistribution) -> str:
    return textwrap.shorten(space.with_scale(distribution), _WIDEST, placeholder=" ...")
