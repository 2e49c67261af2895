"""Compare the parameters that a builder asks for with those of trials; name one that differs."""

from __future__ import annotations

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


def explain(
    error: Exception, build_model: space.Builder, trial: BaseTrial, who: str = "build_model"
) -> None:
    """Raise an error that names the parameter for which Optuna's code raised one, if it did.

    Args:
        error: The error. Optuna raises one for choices that have changed or cannot be stored.
        build_model: The builder, which is called once more.
        trial: The trial that it was called with, running or finished.
        who: The name of the builder in the error.

    Raises:
        StudyMismatchError: Names the parameter, says what was asked for before and what is now, and
            what to do.
    """
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    if not any(str(one.f_globals.get("__name__")).startswith("optuna.") for one in frames):
        return

    def choose(name: str, distribution: BaseDistribution) -> Any:
        _compare(trial, who, name, distribution)
        return trial.params[name] if name in trial.params else space.middle(distribution)

    space.Walker(choose).walk(build_model)


def _compare(trial: BaseTrial, who: str, name: str, distribution: BaseDistribution) -> None:
    """Refuse a parameter that a trial cannot have, for example because its choices have changed."""
    space.check_choices({name: distribution})
    trials: Sequence[BaseTrial] = [trial]
    if isinstance(trial, optuna.Trial):
        trials = trial.study.get_trials(deepcopy=False)
    for old in (one.distributions[name] for one in trials if name in one.distributions):
        if not _check.fits(distribution, old):
            raise StudyMismatchError(
                f"{who} asks for {name!r} as {space.described(distribution)}, but the study has it "
                f"as {space.described(old)}. Within a study, a parameter keeps its choices, type "
                f"and scale. Give the new one another name, or {_ANEW}."
            )
    if isinstance(trial, FrozenTrial) and name not in trial.params:
        raise StudyMismatchError(
            f"{who} asks for {name!r}, which trial {trial.number} did not have. Give earlier "
            f"trials a value by build_model.default_params = lambda: {{{name!r}: ...}}, restore "
            f"the builder of their search, or {_ANEW}."
        )


def with_defaults(build_model: space.Builder, trial: FrozenTrial) -> bool:
    """Give a finished trial the builder's defaults for missing parameters; False if none is new."""
    own = space.defaults_of(build_model)
    is_any_new = any(name not in trial.params for name in own)
    trial.params = {**own, **trial.params}
    return is_any_new
