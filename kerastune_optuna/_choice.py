"""Choices that no database can store, like functions and classes, suggested by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Choice = TypeVar("Choice")

STORABLE = (str, int, float, bool, type(None))  # Optuna stores these as they are


def choice(trial: BaseTrial, name: str, choices: Mapping[Any, Choice] | Sequence[Choice]) -> Choice:
    """Suggest one of several objects of any kind, and store only its name in the study.

    Optuna can store text, numbers, booleans and None as choices. With functions or classes as
    choices, its default sampler raises an error after ten trials.

    Args:
        trial: The trial that build_model or an Optuna objective was called with, or a finished
            trial.
        name: Name of the parameter.
        choices: A dict of the objects by name, or a list of them. In a list, the name of a function
            or class is its `__name__`, and a plain value is its own name.

    Returns:
        The object whose name was suggested.

    Raises:
        ArgumentError: There are no choices, or two choices in a list have the same name.
        ArgumentTypeError: A choice has no name that can be stored.

    Example:
        >>> import keras, optuna
        >>> from kerastune_optuna import choice
        >>> layers = {"gru": keras.layers.GRU, "lstm": keras.layers.LSTM}
        >>> trial = optuna.trial.FixedTrial({"layer": "gru"})
        >>> choice(trial, "layer", layers) is keras.layers.GRU
        True
    """
    if not hasattr(trial, "suggest_categorical"):
        raise ArgumentTypeError(f"trial={trial!r} suggests nothing. Pass an Optuna trial.")
    if isinstance(choices, str | bytes) or not isinstance(choices, Mapping | Sequence):
        came = f"{choices!r} of type {type(choices).__name__}"
        raise ArgumentTypeError(
            f"choices={came} of {name!r} is not a dict. Pass the objects by their names."
        )
    if not choices:
        raise ArgumentError(f"choices of {name!r} is empty. Pass the objects by their names.")
    for key in choices if isinstance(choices, Mapping) else ():
        if not isinstance(key, STORABLE):
            raise ArgumentTypeError(
                f"choices of {name!r} has the key {key!r} of type {type(key).__name__}, which "
                "cannot be stored. Pass text, numbers, booleans or None as keys."
            )
    named = choices if isinstance(choices, Mapping) else _of_list(name, choices)
    return named[trial.suggest_categorical(name, list(named))]


def _of_list(name: str, choices: Sequence[Choice]) -> dict[Any, Choice]:
    """Return the choices in a list by their own names."""
    instead = 'Pass a dict with a name for each: {"mine": ...}.'
    named: dict[Any, Choice] = {}
    for choice in choices:
        key = choice if isinstance(choice, STORABLE) else getattr(choice, "__name__", None)
        if key is None and choice is not None:
            wrong = f"choices of {name!r} holds {choice!r}, without a name."
            raise ArgumentTypeError(f"{wrong} {instead}")
        if key in named:
            raise ArgumentError(f"choices of {name!r} holds {key!r} twice. {instead}")
        named[key] = choice
    return named


def suggest(trial: BaseTrial, name: str, distribution: BaseDistribution) -> Any:
    """Ask a trial for a value of a parameter whose distribution is known."""
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    of: Any = distribution  # integers and floats have the same four parts
    ask = trial.suggest_int if isinstance(of, IntDistribution) else trial.suggest_float
    return ask(name, of.low, of.high, step=of.step, log=of.log)
