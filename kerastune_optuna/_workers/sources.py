"""What a tuner takes as warm_start=: earlier trials in any of several forms."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeAlias

import optuna

from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError

if TYPE_CHECKING:
    import pandas

Source: TypeAlias = "optuna.Study | pandas.DataFrame | tuple[str, str] | str | os.PathLike[str]"

COLUMN = "params_"
_KINDS = (
    "Pass an Optuna study, a DataFrame like tuner.results(), the directory= of a search, "
    "(directory or URL, study_name), or a list of these."
)


def check_warm_start(given: object, *, are_several: bool) -> None:
    """Refuse what holds no trials.

    Raises:
        ArgumentError: Says what to pass instead.
    """
    if given is None:
        return
    for source in given if isinstance(given, list) else [given]:
        _check_source(source)
    if isinstance(given, list) and not given:
        raise ArgumentError(f"warm_start=[] holds no trials. {_KINDS}")
    if are_several:
        raise ArgumentError(
            "warm_start= is for one objective, and there are several: of these no trial is the "
            "best. Pass one objective, or configurations to enqueue()."
        )


def _check_source(source: object) -> None:
    if isinstance(source, tuple):
        if len(source) == 2 and all(isinstance(one, str | os.PathLike) for one in source):
            return
    elif is_table(source):
        if any(str(name).startswith(COLUMN) for name in source.columns):  # type: ignore[attr-defined] # it is a table
            return
        raise ArgumentError(
            f"warm_start= got a DataFrame whose columns are {', '.join(map(str, source.columns))}."  # type: ignore[attr-defined] # it is a table
            " Parameters are in columns like 'params_units', values in 'value'."
        )
    elif isinstance(source, optuna.Study | str | os.PathLike):
        return
    raise ArgumentTypeError(f"warm_start= got {source!r}, which holds no trials. {_KINDS}")


def is_table(source: object) -> bool:
    """Whether a source is a pandas DataFrame."""
    # pandas takes half a second to import: whoever has a table has it already.
    return hasattr(source, "columns") and hasattr(source, "to_dict")
