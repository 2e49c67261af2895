"""Samplers and pruners by name, made with the seed and the epochs of the search."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
)
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GridSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _check
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError
from kerastune_optuna._search import space
from kerastune_optuna._search.gaussian_process import GaussianProcessSampler
from kerastune_optuna._search.grid import Grid
from kerastune_optuna._search.pruner import WilcoxonPruner
from kerastune_optuna._search.screening import COMPARED, AutoPruner
from kerastune_optuna._search.stopping import Deadline
from kerastune_optuna._study import TrialRecord, derive

# A draw takes longer the more trials there are, and the more parameters: 55 ms of a core with 14
# parameters after 180 trials.
_MOST_TRIALS = 200  # trials that the process draws
_MOST_VALUES = 3000  # trials times parameters
# These samplers leave conditional parameters to another sampler, and Optuna would warn about that
# with each trial, although the user need not do anything.
_SAMPLERS: dict[str, Callable[[int | None], BaseSampler]] = {
    "cmaes": lambda seed: CmaEsSampler(seed=seed, warn_independent_sampling=False),
    "gp": lambda seed: GaussianProcessSampler(seed),
    "grid": lambda seed: Grid(seed=seed),
    "qmc": lambda seed: QMCSampler(
        scramble=True, seed=seed, warn_asynchronous_seeding=False, warn_independent_sampling=False
    ),
    "random": lambda seed: RandomSampler(seed=seed),
    "tpe": lambda seed: TPESampler(seed=seed),
}
_AUTO = "auto"
# Chosen with tests/benchmarks/samplers.py, on recorded curves and on tasks of LCBench.
_LEAST_TRIALS, _LEAST_EPOCHS = 15, 12  # the fewest with which a search begins with short trials
_PRUNERS: dict[str, Callable[[int], BasePruner]] = {
    "halving": lambda epochs: SuccessiveHalvingPruner(min_resource=max(1, epochs // 100)),
    "hyperband": lambda epochs: HyperbandPruner(max_resource=epochs),
    "median": lambda epochs: MedianPruner(),
    "none": lambda epochs: NopPruner(),
    "percentile": lambda epochs: PercentilePruner(75.0),
    "wilcoxon": WilcoxonPruner,
}


class ProcessThenTPE(GaussianProcessSampler):
    """Draw the first trials by a Gaussian process, and those after them by TPE.

    On a surrogate of LCBench, the process found better configurations than TPE after as many epochs
    (tests/benchmarks/NOTEBOOK.md). TPE, whose draws take less time, takes over before a draw of the
    process takes a tenth of a second.

    Args:
        seed: For both; None for a search without one.
        screens: Whether the first trials end after a few epochs. Then trial 0 lies in the middle
            of the space, as in Ax: the process learns more from it than from another random point
            (tests/benchmarks/NOTEBOOK.md).
    """

    line = (
        f"Sampler: a Gaussian process, and TPE from trial {_MOST_TRIALS} on (sooner with more than "
        f"{_MOST_VALUES // _MOST_TRIALS} parameters)"
    )

    def __init__(self, seed: int | None, *, screens: bool = False) -> None:
        super().__init__(seed)
        self._screens = screens

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        self.is_over = self.place >= _MOST_TRIALS
        if not self.is_over:
            asked = super().infer_relative_search_space(study, trial)
            self.is_over = self.place * len(asked) >= _MOST_VALUES
            if not self.is_over:
                return asked
        return self.independent_sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if self.is_over:
            return self.independent_sampler.sample_relative(study, trial, search_space)
        return super().sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, name: str, range_: BaseDistribution
    ) -> Any:
        is_number = isinstance(range_, IntDistribution | FloatDistribution)
        if self._screens and self.place == 0 and is_number:
            return space.middle(range_)
        return super().sample_independent(study, trial, name, range_)


class Chooser(NamedTuple):
    """Hold the sampler and pruner that a user chose: objects or names."""

    sampler: BaseSampler | str = _AUTO
    pruner: BasePruner | str = _AUTO
    seed: int | None = None

    def check(self) -> None:
        """Refuse other objects and unknown names, and names whose package is not installed."""
        names, sampler = [_AUTO, *_SAMPLERS], self.sampler
        _check_kind("sampler", sampler, BaseSampler, names, "optuna.samplers.TPESampler()")
        if sampler == "cmaes":  # Optuna imports its package when it first samples
            _check.installed("cmaes", extra="cmaes")
        if isinstance(sampler, GridSampler):  # fails for trials that have parameters already
            raise ArgumentError(
                "sampler= is Optuna's GridSampler, which needs its own search space and cannot run "
                "enqueued trials, or trials again. Pass 'grid', which uses the builder's space."
            )
        names = [_AUTO, *_PRUNERS]
        _check_kind("pruner", self.pruner, BasePruner, names, "optuna.pruners.MedianPruner()")

    def start(
        self,
        study: optuna.Study,
        n_trials: int | None = None,
        epochs: int = 1,
        *,
        deadline: Deadline | None = None,
        terminator: object = None,
    ) -> tuple[int | None, list[str]]:
        """Give a study its sampler, and the pruner that goes with it.

        Args:
            study: The study that is about to be asked.
            n_trials: The size of the study; None (default) for no limit.
            epochs: How many epochs a trial has, over all its trainings. Default 1.
            deadline: The deadline of the search; None (default) for none.
            terminator: What ends the search by its results; None (default) for nothing.

        Returns:
            The seed of a sampler that was made here, or None if it has no seed or is the user's;
            and lines that tell the user which sampler and pruner were chosen.
        """
        own = None if self.seed is None else derive(self.seed, 0, 1)
        study.pruner = self.pruner_for(epochs)
        if isinstance(self.sampler, BaseSampler):
            return None, []
        if self.sampler != _AUTO:
            # Optuna marks QMCSampler as experimental since 3.0.
            with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
                study.sampler = _SAMPLERS[self.sampler](own)
            if isinstance(study.sampler, GaussianProcessSampler):
                study.sampler.tells_gain = terminator == _AUTO
            return own, []
        are_many = deadline is not None if n_trials is None else n_trials >= _LEAST_TRIALS
        is_long = are_many and epochs >= _LEAST_EPOCHS
        screens = self.pruner == _AUTO and is_long and terminator in (None, _AUTO)
        # A trial that ends early has no values of further objectives.
        if screens := screens and len(study.directions) == 1:
            trials = study.get_trials(deepcopy=False)
            is_any_complete = any(one.state is TrialState.COMPLETE for one in trials)
            ended = sum(TrialRecord(one).ending.is_final for one in trials)
            screens = ended < COMPARED and not is_any_complete
        study.sampler = sampler = ProcessThenTPE(own, screens=screens)
        sampler.tells_gain = terminator == _AUTO
        if not screens:
            return own, []
        study.pruner = pruner = AutoPruner(n_trials, epochs, deadline)
        return own, [sampler.line, pruner.line]

    def pruner_for(self, epochs: int) -> BasePruner:
        """Return the user's pruner, or make the named one for trials with this many epochs."""
        if isinstance(self.pruner, BasePruner):
            return self.pruner
        return _PRUNERS["wilcoxon" if self.pruner == _AUTO else self.pruner](epochs)


def _check_kind(name: str, value: object, kind: type, names: Iterable[str], example: str) -> None:
    instead = f"Pass one of {', '.join(map(repr, names))}, or an object like {example}."
    if isinstance(value, str) and value not in names:
        raise ArgumentError(
            f"{name}={value!r} is not a {name}.{_check.nearest(value, names)} {instead}"
        )
    if not isinstance(value, str | kind):
        raise ArgumentTypeError(f"{name}={value!r} is not an Optuna {name}. {instead}")
