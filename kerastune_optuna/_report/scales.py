"""Where values of a number stand on its range, which may be logarithmic."""

from __future__ import annotations

import math
from dataclasses import dataclass

from optuna.distributions import FloatDistribution, IntDistribution

from kerastune_optuna._report.facts import Facts


@dataclass(frozen=True)
class Scale:
    """Hold the range of a parameter that is a number.

    Args:
        name: The parameter.
        low: The least value in any trial's range.
        high: The largest one.
        is_log: Whether the range is logarithmic.
        step: What two neighbouring values differ by; 0 where there are values between any two.
    """

    name: str
    low: float
    high: float
    is_log: bool
    step: float

    def place(self, value: float) -> float:
        """Return where a value stands, from 0 to 1; with steps, in the middle of its share."""
        low, high = self._at(self.low - self.step / 2), self._at(self.high + self.step / 2)
        return (self._at(value) - low) / (high - low)

    @property
    def ends(self) -> tuple[float, float]:
        """The shares of the range that its least and its largest value take."""
        return self.place(self.low + self.step / 2), 1 - self.place(self.high - self.step / 2)

    def _at(self, value: float) -> float:
        return math.log(value) if self.is_log else value


def scale_of(facts: Facts, name: str) -> Scale | None:
    """Return the range of a parameter; None where it is no number, or has one value alone."""
    found = [trial.distributions[name] for trial in facts.trials if name in trial.distributions]
    numbers = [one for one in found if isinstance(one, FloatDistribution | IntDistribution)]
    if not found or len(numbers) < len(found) or len({one.log for one in numbers}) > 1:
        return None
    low, high = min(one.low for one in numbers), max(one.high for one in numbers)
    step = min(one.step or 0 for one in numbers)
    return Scale(name, low, high, numbers[0].log, step) if low < high else None
