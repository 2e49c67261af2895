"""The result of ensemble(): a model that averages others, and what it is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import keras
from optuna.trial import FrozenTrial
from rich import box
from rich.table import Table
from rich.text import Text

from kerastune_optuna._report import drawn, params_line, printable, short
from kerastune_optuna._study import Objective


@dataclass(frozen=True)
class Member:
    """One model of an ensemble.

    Args:
        trial: The trial whose model it is.
        weight: Its share of the mean.
        value: The objective of only this model, on the rows that were passed to ensemble().
    """

    trial: FrozenTrial
    weight: float
    value: float


@dataclass(frozen=True)
class Ensemble:
    """The result of ensemble(): the averaged model, and how good it is. It prints as a table.

    Args:
        model: The compiled model, which needs only Keras.
        study_name: The study whose models it averages.
        objective: The objective by which they were chosen, with its direction.
        members: The models that it averages, the largest weight first.
        value: The objective on the rows that were passed, as `model.evaluate` gives it.
        tried: How many models there were to choose from.
    """

    model: keras.Model
    study_name: str
    objective: Objective
    members: Sequence[Member]
    value: float
    tried: int

    def __str__(self) -> str:
        """Return the table, ready to print."""
        title = f" Study {self.study_name!r}: {self.objective.direction} {self.objective.name}"
        note = f" Chosen by these rows from {self.tried} kept models, so the value is optimistic."
        parts = Text(title), self._table(), Text(note)
        return printable(drawn(*parts, force_terminal=False).rstrip())

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"

    def _table(self) -> Table:
        table = Table(box=box.SIMPLE_HEAVY, padding=(0, 1, 0, 0), pad_edge=False)
        for heading in ("trial", "weight", self.objective.name):
            table.add_column(heading, justify="right", overflow="fold")
        table.add_column("parameters", overflow="fold")
        table.add_row("ensemble", "1.00", short(self.value), "")
        for member in self.members:
            cells = (
                str(member.trial.number),
                f"{member.weight:.2f}",
                short(member.value),
                params_line(member.trial.params),
            )
            table.add_row(*map(Text, cells))  # rich would interpret brackets in a str as markup
        return table
