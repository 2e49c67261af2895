"""What a trial came to when it was trained again: its values beside those that were recorded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optuna.trial import FrozenTrial
from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Value:
    """Hold a metric of an epoch, as it was recorded and as it came again."""

    epoch: int  # counted from 0
    metric: str
    recorded: float
    again: float | None  # None where the training did not come to it again
    training: int = 0  # of the trial, where it had several

    @property
    def place(self) -> tuple[int, int]:
        """The numbers of the training and of its epoch, counted from 0."""
        return self.training, self.epoch

    @property
    def difference(self) -> float:
        """How far the two are apart: as a part of the recorded value where that is beyond 1."""
        if self.again is None:
            return math.inf
        if self.again == self.recorded or (math.isnan(self.again) and math.isnan(self.recorded)):
            return 0.0
        apart = abs(self.again - self.recorded) / max(1.0, abs(self.recorded))
        return math.inf if math.isnan(apart) else apart


@dataclass(frozen=True)
class Reproduction:
    """Hold what a trial came to when it was trained again.

    Args:
        trial: The trial.
        values: What was recorded, and what came again.
        changes: What is not as it was when the trial ran, like versions and data.
    """

    trial: FrozenTrial
    values: Sequence[Value]
    changes: Sequence[str]

    @property
    def difference(self) -> float:
        """The largest difference of all."""
        return max((value.difference for value in self.values), default=math.inf)

    @property
    def has_several(self) -> bool:
        """Whether more than one training was compared."""
        return any(value.training for value in self.values)

    def frame(self) -> pandas.DataFrame:
        """Return a row for each value."""
        import pandas  # takes half a second to import, and the command line does without

        columns = ["epoch", "metric", "recorded", "again", "difference"]
        if self.has_several:
            columns.insert(0, "training")
        rows = [[getattr(value, name) for name in columns] for value in self.values]
        return pandas.DataFrame(rows, columns=columns)

    def warning(self) -> str | None:
        """Return one line that says what has changed; None where nothing has."""
        if not self.changes:
            return None
        return f"Not as it was when trial {self.trial.number} ran: {'; '.join(self.changes)}"

    def table(self, tolerance: float) -> str:
        """Return the differences of each epoch and what they come to, ready to print."""
        console = Console(highlight=False, force_jupyter=False)
        columns = Table(box=box.SIMPLE_HEAVY, pad_edge=False)
        places = ("training", "epoch") if self.has_several else ("epoch",)
        for heading in (*places, "largest difference", "metric", "recorded", "again"):
            columns.add_column(heading, justify="right")
        for place in dict.fromkeys(value.place for value in self.values):
            values = [value for value in self.values if value.place == place]
            worst = max(values, key=lambda value: value.difference)
            again = "nothing" if worst.again is None else f"{worst.again:.8g}"
            cells = (f"{worst.difference:.3g}", worst.metric, f"{worst.recorded:.8g}", again)
            columns.add_row(*(str(number + 1) for number in place[-len(places) :]), *cells)
        with console.capture() as captured:
            console.print(columns)
        return f"{captured.get()}{self._verdict(tolerance)}"

    def _verdict(self, tolerance: float) -> str:
        is_equal = self.difference <= tolerance
        kind = "is reproduced" if is_equal else "is NOT reproduced"
        return (
            f"Trial {self.trial.number} {kind}: the largest difference is {self.difference:.3g}, "
            f"the tolerance {tolerance:g}"
        )
