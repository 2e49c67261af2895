"""The sampler that a search has where the user names none."""

from __future__ import annotations

import statistics
import time
from collections import deque
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _optuna
from kerastune_optuna._search import space as _space
from kerastune_optuna._search.gaussian_process import GaussianProcessSampler

# A draw takes longer the more trials there are, and the more parameters.
_MOST_TRIALS = 200  # that the process draws
_MOST_VALUES = 3000  # trials times parameters
_SHARE = 20  # a draw takes one of so many parts of a trial's time at most
_LATEST = 5  # draws and trials whose times count
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


class ProcessThenTPE(GaussianProcessSampler):
    """Draw the first trials by a Gaussian process, and those after them by TPE.

    On a surrogate of LCBench, the process found better configurations than TPE after as many epochs
    (tests/benchmarks/NOTEBOOK.md). TPE, whose draws take less time, takes over where a draw takes
    longer than a twentieth of a trial; not in a search with a seed, whose trials may not depend on
    times.

    Args:
        seed: For both; None for a search without one.
        screens: Whether the first trials end after a few epochs. Then the first one of all lies in
            the middle of the space, as Ax begins, from which the process learns more than from one
            more point at random (tests/benchmarks/NOTEBOOK.md).
    """

    line = (
        f"Sampler: a Gaussian process, and TPE from trial {_MOST_TRIALS} on (sooner with more than "
        f"{_MOST_VALUES // _MOST_TRIALS} parameters)"
    )

    def __init__(self, seed: int | None, *, screens: bool = False) -> None:
        tpe = _FromTheMiddle(seed=seed) if screens else TPESampler(seed=seed)
        super().__init__(seed, independent_sampler=tpe)
        self._seconds: deque[float] = deque(maxlen=_LATEST)  # of the latest draws

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        if trial.number >= _MOST_TRIALS or self._is_slow(study):
            return {}  # what the process does not draw, the independent sampler does
        space = super().infer_relative_search_space(study, trial)
        return space if trial.number * len(space) < _MOST_VALUES else {}

    def _is_slow(self, study: optuna.Study) -> bool:
        """Whether draws take too large a share of the time of trials."""
        if self.seed is not None or len(self._seconds) < _LATEST:
            return False
        ended = _optuna.known_trials(study, _ENDED)[-_LATEST:]
        took = [one.duration.total_seconds() for one in ended if one.duration is not None]
        return bool(took) and statistics.median(self._seconds) * _SHARE > statistics.median(took)

    def _drawn(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        began = time.perf_counter()
        drawn = super()._drawn(*args, **kwargs)
        self._seconds.append(time.perf_counter() - began)
        return drawn


class _FromTheMiddle(TPESampler):
    """Begin with a trial whose numbers lie in the middle of their ranges."""

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, name: str, range_: BaseDistribution
    ) -> Any:
        if trial.number == 0 and isinstance(range_, IntDistribution | FloatDistribution):
            return _space.middle(range_)
        return super().sample_independent(study, trial, name, range_)
