"""Checks of single arguments: each error is one line that says what was passed and what to pass."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.trial import TrialState, create_trial

from kerastune_optuna._exceptions import (
    ArgumentError,
    ArgumentTypeError,
    MissingExtraError,
)


def integer(name: str, value: object, *, least: int, instead: str) -> None:
    """Refuse any value but a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        came = f"{value!r} of type {type(value).__name__}"
        raise ArgumentTypeError(f"{name}={came} is not a whole number. {instead}")
    if value < least:
        raise ArgumentError(f"{name}={value} is less than {least}. {instead}")


def seconds(name: str, value: object, *, instead: str) -> None:
    """Refuse any value but a number of seconds, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ArgumentTypeError(f"{name}={value!r} is not a number of seconds. {instead}")
    if not value >= 0:
        raise ArgumentError(f"{name}={value} is less than 0. {instead}")


def one_of(name: str, value: object, choices: Iterable[object]) -> None:
    """Refuse a value that is not among the choices, and list them."""
    choices = list(choices)
    # `True == 1` in Python, so the type has to be compared too.
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        listed = ", ".join(repr(choice) for choice in choices)
        raise ArgumentError(f"{name}={value!r} is not a choice. Pass one of {listed}.")


def installed(package: str, *, extra: str) -> None:
    """Raise an error if an optional package is missing, and name the extra that installs it."""
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(
            f"{package} is not installed, and this needs it. "
            f'Run: pip install "kerastune_optuna[{extra}]"'
        )


def why_not(function: Callable[..., Any], n: int) -> str | None:
    """Return why a function cannot take n arguments; None if it can or Python cannot tell."""
    try:
        inspect.signature(function).bind(*[object()] * n)
    except TypeError as error:
        return str(error)
    except ValueError:  # a builtin without a signature
        return None
    return None


def count(n: int, one: str) -> str:
    """Return a number and its noun, like `1 trial` or `2 trials`."""
    return f"{n} {one}" if n == 1 else f"{n} {one}s"


def nearest(name: str, names: Iterable[str], least: float = 0.6) -> str:
    """Return ' Did you mean ...?' if a known name is similar, else an empty text.

    Args:
        name: The name that was passed.
        names: The known names.
        least: How similar the two names must be, from 0 to 1 as difflib counts. It should be higher
            if users may also choose their own names.
    """
    near = difflib.get_close_matches(name, list(names), n=1, cutoff=least)
    return f" Did you mean {near[0]!r}?" if near else ""


def warn(text: str) -> None:
    """Issue a warning that names the line of the user's code that called the package."""
    level, frame = 2, inspect.currentframe()
    while frame := frame and frame.f_back:
        if not str(frame.f_globals.get("__name__")).startswith("kerastune_optuna."):
            break
        level += 1
    warnings.warn(text, UserWarning, stacklevel=level)


def fits(distribution: BaseDistribution, other: BaseDistribution) -> bool:
    """Whether Optuna accepts both distributions for one parameter."""
    try:
        check_distribution_compatibility(other, distribution)
    except ValueError:
        return False
    return True


def allows(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a parameter may have a value, as Optuna's create_trial() checks it."""
    params, distributions = {"value": value}, {"value": distribution}
    try:
        create_trial(state=TrialState.WAITING, params=params, distributions=distributions)
    except ValueError:
        return False
    return True
