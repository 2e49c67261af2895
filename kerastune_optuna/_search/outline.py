"""A table of a builder's search space, which needs no training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna.distributions import BaseDistribution

from kerastune_optuna import _check
from kerastune_optuna._keras_tuner import Entry, learn_ranges
from kerastune_optuna._search import space
from kerastune_optuna._search.mismatch import defaults_of

_MORE = "What build_model asks for only with other values than the defaults is not shown."


def outlined(build_model: space.Builder, functions: Sequence[Any]) -> str:
    """Return a line for each parameter that a builder asks for when it gets its defaults.

    Args:
        build_model: The builder. The model that it returns is not trained.
        functions: The functions that will be passed to search() as data, which may ask for
            parameters too.

    Returns:
        The lines, each with a line end.
    """
    learn_ranges(build_model)
    notes = _asked(build_model, functions)
    cells = [("parameter", "values", "default", "only with")]
    for note in notes:
        conditions = " and ".join(map(str, note.conditions))
        values = space.with_scale(note.distribution)
        cells.append((note.name, values, str(note.default), conditions))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    title = f"Search space: {_check.count(len(notes), 'parameter')}"
    rows = [f"  {'  '.join(map(str.ljust, row, widths))}".rstrip() for row in cells if notes]
    return "".join(f"{line}\n" for line in [title, *rows, _MORE])


def _asked(build_model: space.Builder, functions: Sequence[Any]) -> list[Entry]:
    """Return the parameters that a builder asks for; for KerasTuner's, inactive ones too."""
    own = defaults_of(build_model)

    def choose(name: str, distribution: BaseDistribution) -> Any:
        said = walker.notes[-1].default if walker.notes else own.get(name)
        return said if _check.allows(distribution, said) else space.middle(distribution)

    walker = space.Walker(choose)
    walker.walk(build_model, functions, may_fail=False)
    notes: list[Entry] = list({note.key: note for note in walker.notes}.values())
    noted = {note.name for note in notes}
    ranges, values = walker.distributions, walker.params
    others = [name for name in values if name not in noted]
    return notes + [Entry(name, (), values[name], ranges[name]) for name in others]
