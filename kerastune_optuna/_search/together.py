"""A builder with the functions of the trial that make the data: all that asks a trial, as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna.trial import BaseTrial

from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._search import space


class Together:
    """Stand for a builder, and call the functions of the data before it.

    Args:
        build_model: The builder.
        functions: The functions that search() is to get as data.

    Raises:
        ArgumentError: One is no function.
    """

    def __init__(self, build_model: space.Builder, functions: Sequence[Any]) -> None:
        for one in functions:
            if not callable(one):
                raise ArgumentError(
                    f"{type(one).__name__} is no function. Besides the parameters, pass the "
                    "functions of the trial that search() is to get as data, if there are any."
                )
        self._build_model, self._functions = build_model, functions

    def __call__(self, trial: BaseTrial) -> Any:
        """Call the functions, then the builder."""
        for function in self._functions:
            function(trial)
        return self._build_model(trial)

    def __getattr__(self, name: str) -> Any:
        """Return what the builder has besides, like its defaults."""
        return getattr(self._build_model, name)
