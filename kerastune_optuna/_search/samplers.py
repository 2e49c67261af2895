"""Samplers and pruners by name, made with the seed and the epochs of the search."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import NamedTuple

import optuna
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
from optuna.trial import TrialState

from kerastune_optuna import _check
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError
from kerastune_optuna._search.auto import ProcessThenTPE
from kerastune_optuna._search.gaussian_process import GaussianProcessSampler
from kerastune_optuna._search.grid import Grid
from kerastune_optuna._search.pruner import WilcoxonPruner
from kerastune_optuna._search.screening import COMPARED, AutoPruner
from kerastune_optuna._study import derive

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
_LEAST_TRIALS, _LEAST_EPOCHS = 15, 12  # of a search that begins with short trials, and of a trial
_PRUNERS: dict[str, Callable[[int], BasePruner]] = {
    "halving": lambda epochs: SuccessiveHalvingPruner(min_resource=max(1, epochs // 100)),
    "hyperband": lambda epochs: HyperbandPruner(max_resource=epochs),
    "median": lambda epochs: MedianPruner(),
    "none": lambda epochs: NopPruner(),
    "percentile": lambda epochs: PercentilePruner(75.0),
    "wilcoxon": WilcoxonPruner,
}


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
        gives_up: bool = False,
    ) -> tuple[int | None, list[str]]:
        """Give a study its sampler, and the pruner that goes with it.

        Args:
            study: The study that is about to be asked.
            n_trials: The size of the study; None (default) for no limit.
            epochs: How many epochs a trial has, over all its trainings. Default 1.
            gives_up: Whether the search may end before the study has that size. Default False.

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
            return own, []
        screens = self.pruner == _AUTO and not gives_up and may_screen(study, n_trials, epochs)
        study.sampler = sampler = ProcessThenTPE(own, screens=screens)
        if not screens or n_trials is None:
            return own, []
        study.pruner = pruner = AutoPruner(n_trials, epochs)
        return own, [sampler.line, pruner.line]

    def pruner_for(self, epochs: int) -> BasePruner:
        """Return the user's pruner, or make the named one for trials with this many epochs."""
        if isinstance(self.pruner, BasePruner):
            return self.pruner
        return _PRUNERS["wilcoxon" if self.pruner == _AUTO else self.pruner](epochs)


def may_screen(study: optuna.Study, n_trials: int | None, epochs: int) -> bool:
    """Whether a search is long enough to begin with short trials, and has no COMPLETE trial yet.

    This is False with several objectives: a trial that ends early has no values of the others.

    Args:
        study: The study.
        n_trials: The size of the study; None for no limit.
        epochs: How many epochs a trial has, over all its trainings.
    """
    is_short = n_trials is None or n_trials < _LEAST_TRIALS or epochs < _LEAST_EPOCHS
    if is_short or len(study.directions) > 1:
        return False
    trials = study.get_trials(deepcopy=False)
    return len(trials) < COMPARED and not any(one.state is TrialState.COMPLETE for one in trials)


def _check_kind(name: str, value: object, kind: type, names: Iterable[str], example: str) -> None:
    instead = f"Pass one of {', '.join(map(repr, names))}, or an object like {example}."
    if isinstance(value, str) and value not in names:
        raise ArgumentError(
            f"{name}={value!r} is not a {name}.{_check.nearest(value, names)} {instead}"
        )
    if not isinstance(value, str | kind):
        raise ArgumentTypeError(f"{name}={value!r} is not an Optuna {name}. {instead}")
