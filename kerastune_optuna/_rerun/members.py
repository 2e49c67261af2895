"""The result of ensemble(): a model that averages others, and what it is worth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

import keras
from optuna.trial import FrozenTrial
from rich import box
from rich.table import Table
from rich.text import Text

from kerastune_optuna._report import drawn, params_line, printable, short
from kerastune_optuna._study import Objective

Interval: TypeAlias = tuple[float, float]


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
        value_of_best: The same for the best of the kept models, as an ensemble of one.
        best: The number of the trial of that model, which is a member.
        intervals: The 95 % intervals, by bootstrap over the rows, of the value, of the value of the
            best model, and of the gain.
        tried: How many models there were to choose from.
        asked: How many the user asked for.
        has_seen: Whether the search trained or validated on these rows.
    """

    model: keras.Model
    study_name: str
    objective: Objective
    members: Sequence[Member]
    value: float
    value_of_best: float
    best: int
    intervals: Sequence[Interval]
    tried: int
    asked: int
    has_seen: bool

    @property
    def gain(self) -> float:
        """By how much the ensemble is better than the best model; negative if it is worse."""
        return self.objective.cost(self.value_of_best) - self.objective.cost(self.value)

    def __str__(self) -> str:
        """Return the tables and the conclusions from them, ready to print."""
        title = f" Study {self.study_name!r}: {self.objective.direction} {self.objective.name}"
        tables = self._values(), self._weights()
        parts: list[Text | Table] = [Text(title), *tables, *map(Text, self._lines())]
        return printable(drawn(*parts, force_terminal=False).rstrip())

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"

    def _values(self) -> Table:
        names = "ensemble", f"trial {self.best}", "gain"
        values = self.value, self.value_of_best, self.gain
        rows = zip(names, map(short, values), map(_told, self.intervals), strict=True)
        return _table(("", self.objective.name, "95 % interval"), rows)

    def _weights(self) -> Table:
        return _table(
            ("trial", "weight", "alone", "in search", "parameters"),
            (
                [
                    str(one.trial.number),
                    f"{one.weight:.2f}",
                    short(one.value),
                    short(self.objective.value_of(one.trial)),
                    params_line(one.trial.params),
                ]
                for one in self.members
            ),
        )

    def _lines(self) -> list[str]:
        few = f"the {self.tried} models that the study has kept (see keep_best=)."
        best = f"the models of the best {self.tried} trials."
        seen = "The search was made with these rows, so that all values are optimistic: evaluate "
        seen += "the model on rows that it never saw."
        chosen = "The weights were chosen by these rows, so that the gain is slightly optimistic."
        return [
            f" Chosen from {few if self.tried < self.asked else best}",
            f" {seen if self.has_seen else chosen}",
        ]


def _told(interval: Interval) -> str:
    return " to ".join(map(short, interval))


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAVY, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in headings:
        is_text = heading in ("", "parameters")
        table.add_column(heading, justify="left" if is_text else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # rich would interpret brackets in a str as markup
    return table
