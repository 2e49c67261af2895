"""Choices that no database can hold, like functions and classes: suggested by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Choice = TypeVar("Choice")

_PLAIN = (str, int, float, bool, type(None))  # what Optuna stores as it is


def choice(trial: BaseTrial, name: str, choices: Mapping[Any, Choice] | Sequence[Choice]) -> Choice:
    """Suggest one of several objects of any kind, and store no more than its name.

    Optuna stores text, numbers, booleans and None: with functions or classes its default sampler
    raises after ten trials.

    Args:
        trial: The trial of build_model, of a plain Optuna objective, or a finished one.
        name: Name of the parameter.
        choices: The objects by their names. In a list, functions and classes go by their
            `__name__`, and plain values are their own names.

    Returns:
        The object of the name that was suggested.

    Raises:
        ArgumentError: There is nothing to choose from, or two choices of a list share a name.
        ArgumentTypeError: A choice has no name that can be stored.

    Example:
        >>> import keras, optuna
        >>> from kerastune_optuna import choice
        >>> layers = {"gru": keras.layers.GRU, "lstm": keras.layers.LSTM}
        >>> choice(optuna.trial.FixedTrial({"layer": "gru"}), "layer", layers) is keras.layers.GRU
        True
    """
    if not hasattr(trial, "suggest_categorical"):
        raise ArgumentTypeError(f"trial={trial!r} suggests nothing. Pass an Optuna trial.")
    named = _by_name(name, choices)
    return named[trial.suggest_categorical(name, list(named))]


def _by_name(name: str, choices: Mapping[Any, Choice] | Sequence[Choice]) -> Mapping[Any, Choice]:
    """Return the choices by their names."""
    if isinstance(choices, str | bytes) or not isinstance(choices, Mapping | Sequence):
        came = f"{choices!r} of type {type(choices).__name__}"
        raise ArgumentTypeError(
            f"choices={came} of {name!r} is no dict. Pass the objects by their names."
        )
    if not choices:
        raise ArgumentError(f"choices of {name!r} is empty. Pass the objects by their names.")
    if not isinstance(choices, Mapping):
        return _of_list(name, choices)
    for key in choices:
        if not isinstance(key, _PLAIN):
            raise ArgumentTypeError(
                f"choices of {name!r} has the key {key!r} of type {type(key).__name__}, which "
                "cannot be stored. Pass text, numbers, booleans or None as keys."
            )
    return choices


def _of_list(name: str, choices: Sequence[Choice]) -> dict[Any, Choice]:
    """Return the choices of a list by the names that they have."""
    instead = 'Pass a dict with a name for each: {"mine": ...}.'
    named: dict[Any, Choice] = {}
    for one in choices:
        key = one if isinstance(one, _PLAIN) else getattr(one, "__name__", None)
        if key is None and one is not None:
            raise ArgumentTypeError(f"choices of {name!r} holds {one!r}, without a name. {instead}")
        if key in named:
            raise ArgumentError(f"choices of {name!r} holds {key!r} twice. {instead}")
        named[key] = one
    return named


def suggest(trial: BaseTrial, name: str, distribution: BaseDistribution) -> Any:
    """Ask a trial for a value of a parameter of which the distribution is known."""
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    of: Any = distribution  # integers and floats have the same four parts
    ask = trial.suggest_int if isinstance(of, IntDistribution) else trial.suggest_float
    return ask(name, of.low, of.high, step=of.step, log=of.log)
