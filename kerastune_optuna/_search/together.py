"""A builder and the functions that make the data of a trial, combined into one function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna.trial import BaseTrial

from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._search.space import Builder


def together(build_model: Builder, functions: Sequence[Any]) -> Builder:
    """Return a function that calls the functions of the data with a trial, and then the builder.

    Args:
        build_model: The builder.
        functions: The functions that will be passed to search() as data.

    Raises:
        ArgumentError: One is not a function.
    """
    for one in functions:
        if not callable(one):
            raise ArgumentError(
                f"{type(one).__name__} is not a function. Besides the parameters, pass only the "
                "functions of the trial that will be passed to search() as data."
            )

    def build(trial: BaseTrial) -> Any:
        for function in functions:
            function(trial)
        return build_model(trial)

    return build
