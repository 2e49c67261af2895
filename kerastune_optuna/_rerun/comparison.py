"""What a trial came to when it was trained again: its values beside those that were recorded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optuna.trial import FrozenTrial

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Value:
    """Hold a metric of an epoch: the recorded value, and that of the second training."""

    epoch: int  # counted from 0
    metric: str
    recorded: float
    again: float | None  # None where the second training has no such value
    training: int = 0  # of the trial, where it had several

    @property
    def difference(self) -> float:
        """How far apart the values are; relative to the recorded one where that is beyond 1."""
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
    def has_several(self) -> bool:
        """Whether more than one training was compared."""
        return any(value.training for value in self.values)

    def frame(self) -> pandas.DataFrame:
        """Return a row for each value."""
        import pandas  # takes half a second to import

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
