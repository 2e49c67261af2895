"""The sampler that a search has where the user names none."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from optuna.samplers import BaseSampler, GPSampler, TPESampler

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

# With 7 parameters a Gaussian process took 0.4 s for the 30th trial and 0.2 s for the 100th, TPE
# a twentieth of that (tests/benchmarks/samplers.py on two cores), and the time grows with the
# square of the number. Some five trials of a search train as many epochs as one that is not pruned,
# and 3,000 steps take three seconds or more: then the process costs at most about half as much as
# the training, for about half of the epochs.
_MOST_OF_GP = 100  # trials
_LEAST_STEPS = 3000  # of a training that is not stopped early
_WITH_TORCH = f"Sampler: a Gaussian process, and TPE from trial {_MOST_OF_GP} on"
_WITHOUT_TORCH = (
    'Sampler: TPE. With PyTorch, from pip install "kerastune_optuna[gp]", a Gaussian process finds '
    "as good a model in fewer epochs"
)


def automatic(
    study: optuna.Study, seed: int | None, steps: int | None
) -> tuple[BaseSampler, str | None]:
    """Return the sampler that fits a study, its trainings and what is installed.

    Args:
        study: The study that is about to be asked.
        seed: The sampler's.
        steps: How many steps a training makes; None where its data does not tell.

    Returns:
        The sampler, and a line about it where the user may want to know.
    """
    is_short = steps is not None and steps < _LEAST_STEPS
    if is_short or len(study.directions) > 1:
        return TPESampler(seed=seed), None
    if importlib.util.find_spec("torch") is None:
        return TPESampler(seed=seed), _WITHOUT_TORCH
    return GPThenTPE(seed), _WITH_TORCH


class GPThenTPE(GPSampler):
    """Draw the first trials by a Gaussian process, and those after them by TPE.

    On learning curves of LCBench the process found better configurations than TPE after as many
    epochs (tests/benchmarks/README.md). TPE also draws what only some trials ask for, which the
    process would leave to chance.
    """

    def __init__(self, seed: int | None) -> None:
        self._tpe = TPESampler(seed=seed)
        super().__init__(seed=seed, independent_sampler=self._tpe, warn_independent_sampling=False)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        if _is_for_tpe(trial):
            return self._tpe.infer_relative_search_space(study, trial)
        return super().infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if _is_for_tpe(trial):
            return self._tpe.sample_relative(study, trial, search_space)
        return super().sample_relative(study, trial, search_space)


def _is_for_tpe(trial: FrozenTrial) -> bool:
    return trial.number >= _MOST_OF_GP
