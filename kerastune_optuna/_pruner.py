"""The default pruner: the one that saved half of the epochs and lost least on recorded curves."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import optuna
from optuna.exceptions import ExperimentalWarning

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_P_THRESHOLD = 0.2  # chosen with tests/benchmarks/pruners.py


class WilcoxonPruner(optuna.pruners.WilcoxonPruner):  # a name that its user knows
    """Prune a trial whose curve is worse than that of the best trial, epoch by epoch.

    Wilcoxon's signed-rank test (Biometrics Bulletin 1, 1945) compares the two, from the third epoch
    on. Where there is nothing to compare with, no trial is pruned.
    """

    def __init__(self) -> None:
        with warnings.catch_warnings():
            # Optuna marks this pruner as experimental since 3.6.
            warnings.simplefilter("ignore", ExperimentalWarning)
            super().__init__(p_threshold=_P_THRESHOLD)

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Tell whether to end the trial."""
        with warnings.catch_warnings():
            # Optuna would warn at each epoch that the best trial had ended early, had no curve, or
            # that values are infinite, all of which are fine with us.
            warnings.simplefilter("ignore", UserWarning)
            return super().prune(study, trial)
