"""The sampler that a search has where the user names none."""

from __future__ import annotations

import importlib.util
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import FrozenTrial

from kerastune_optuna._search import space as _space

# With 7 parameters a Gaussian process took 64 to 95 ms for the 30th and the 100th trial, TPE 2 to 3
# (tests/benchmarks/samplers.py on two cores); with 15 parameters half as much again for the 100th,
# with 30 four times as much. 3,000 steps take three seconds or more: within these bounds the
# process takes less than a tenth of a training that is not pruned.
_MOST_OF_GP = 100  # trials
_MOST_VALUES = 1500  # trials times parameters
_LEAST_STEPS = 3000  # of a training that is not stopped early
_STARTUP = 5  # trials at random; with Optuna's 10 it had found less after ten full trainings
_MOST_TRIED = 16  # values of a range up to which Optuna's process tries them all
_WITH_TORCH = (
    f"Sampler: a Gaussian process, and TPE from trial {_MOST_OF_GP} on (sooner with more than "
    f"{_MOST_VALUES // _MOST_OF_GP} parameters)"
)
_WITHOUT_TORCH = (
    'Sampler: TPE. With PyTorch, from pip install "kerastune_optuna[gp]", a Gaussian process finds '
    "as good a model in fewer epochs"
)


def automatic(
    study: optuna.Study, seed: int | None, steps: int | None, *, screens: bool = False
) -> tuple[BaseSampler, str | None]:
    """Return the sampler that fits a study, its trainings and what is installed.

    Args:
        study: The study that is about to be asked.
        seed: The sampler's.
        steps: How many steps a whole trial makes; None where its data does not tell.
        screens: Whether the first trials may end after a few epochs. Default False.

    Returns:
        The sampler, and a line about it where the user may want to know.
    """
    is_short = steps is not None and steps < _LEAST_STEPS
    if is_short or len(study.directions) > 1:
        return TPESampler(seed=seed), None
    if importlib.util.find_spec("torch") is None:
        return TPESampler(seed=seed), _WITHOUT_TORCH
    return GPThenTPE(seed, screens=screens), _WITH_TORCH


class GPThenTPE(GPSampler):
    """Draw the first trials by a Gaussian process, and those after them by TPE.

    On learning curves of LCBench the process found better configurations than TPE after as many
    epochs (tests/benchmarks/README.md). TPE also draws what only some trials ask for, which the
    process would leave to chance.

    Args:
        seed: For both.
        screens: Whether the first trials end after a few epochs. Then the first one of all lies in
            the middle of the space, as Ax begins, from which the process learns more than from one
            more point at random (tests/benchmarks/README.md).
    """

    def __init__(self, seed: int | None, *, screens: bool = False) -> None:
        self.screens = screens
        self._tpe = _FromTheMiddle(seed=seed) if screens else TPESampler(seed=seed)
        super().__init__(
            seed=seed,
            independent_sampler=self._tpe,
            n_startup_trials=_STARTUP,
            warn_independent_sampling=False,
        )

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        if not _is_for_tpe(trial, {}):  # later, the process need not look at all trials
            space = super().infer_relative_search_space(study, trial)
            if not _is_for_tpe(trial, space):
                return space
        return self._tpe.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if _is_for_tpe(trial, search_space):
            return self._tpe.sample_relative(study, trial, search_space)
        eased = {name: _eased(one) for name, one in search_space.items()}
        drawn = super().sample_relative(study, trial, eased)
        return {name: _stepped(search_space[name], value) for name, value in drawn.items()}


class _FromTheMiddle(TPESampler):
    """Begin with a trial whose numbers lie in the middle of their ranges."""

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, name: str, range_: BaseDistribution
    ) -> Any:
        if trial.number == 0 and isinstance(range_, IntDistribution | FloatDistribution):
            return _space.middle(range_)
        return super().sample_independent(study, trial, name, range_)


def _is_for_tpe(trial: FrozenTrial, space: dict[str, BaseDistribution]) -> bool:
    return trial.number >= min(_MOST_OF_GP, _MOST_VALUES // max(1, len(space)))


def _eased(range_: BaseDistribution) -> BaseDistribution:
    """Return a wide range with steps as one without.

    Optuna's process searches each of those with steps by itself, which took two thirds of its time.
    """
    if not isinstance(range_, IntDistribution | FloatDistribution) or not range_.step:
        return range_
    if _steps(range_) < _MOST_TRIED:
        return range_
    half = range_.step / 2
    return FloatDistribution(range_.low - half, range_.high + half, log=range_.log)


def _stepped(range_: BaseDistribution, value: Any) -> Any:
    """Return the value of a range that is nearest to one drawn without its steps."""
    if not isinstance(range_, IntDistribution | FloatDistribution) or not range_.step:
        return value
    steps = round((value - range_.low) / range_.step)
    return range_.low + range_.step * min(max(steps, 0), _steps(range_))


def _steps(range_: IntDistribution | FloatDistribution) -> int:
    return round((range_.high - range_.low) / (range_.step or 1))
