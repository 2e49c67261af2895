"""Samplers and pruners by short names, made with the seed and the epochs of the search."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable

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
    GPSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)

from kerastune_optuna import _check
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError
from kerastune_optuna._search.auto import GPThenTPE, automatic
from kerastune_optuna._search.grid import Grid
from kerastune_optuna._search.pruner import WilcoxonPruner
from kerastune_optuna._search.screening import AutoPruner
from kerastune_optuna._study import derive

# These samplers leave conditional parameters to another sampler, and Optuna would warn of that with
# each trial, though the user need do nothing.
_SAMPLERS: dict[str, Callable[[int | None], BaseSampler]] = {
    "cmaes": lambda seed: CmaEsSampler(seed=seed, warn_independent_sampling=False),
    "gp": lambda seed: GPSampler(seed=seed, warn_independent_sampling=False),
    "grid": lambda seed: Grid(seed=seed),
    "qmc": lambda seed: QMCSampler(
        scramble=True, seed=seed, warn_asynchronous_seeding=False, warn_independent_sampling=False
    ),
    "random": lambda seed: RandomSampler(seed=seed),
    "tpe": lambda seed: TPESampler(seed=seed),
}
_AUTO = "auto"
_PACKAGES = {"cmaes": "cmaes", "gp": "torch"}  # Optuna imports them when it first samples
_PRUNERS: dict[str, Callable[[int], BasePruner]] = {
    "halving": lambda epochs: SuccessiveHalvingPruner(min_resource=max(1, epochs // 100)),
    "hyperband": lambda epochs: HyperbandPruner(max_resource=epochs),
    "median": lambda epochs: MedianPruner(),
    "none": lambda epochs: NopPruner(),
    "percentile": lambda epochs: PercentilePruner(75.0),
    "wilcoxon": lambda epochs: WilcoxonPruner(),
}


def check_sampler(sampler: object) -> None:
    """Refuse what is no sampler and no name of one, and names whose package is not installed."""
    names = [_AUTO, *_SAMPLERS]
    _check_kind("sampler", sampler, BaseSampler, names, "optuna.samplers.TPESampler()")
    if isinstance(sampler, str) and sampler in _PACKAGES:
        _check.installed(_PACKAGES[sampler], extra=sampler)


def check_pruner(pruner: object) -> None:
    """Refuse what is no pruner and no name of one."""
    _check_kind("pruner", pruner, BasePruner, _PRUNERS, "optuna.pruners.MedianPruner()")


def _check_kind(name: str, value: object, kind: type, names: Iterable[str], example: str) -> None:
    instead = (
        f"Pass one of {', '.join(map(repr, names))}, an object like {example}, or None for the "
        "default."
    )
    if isinstance(value, str) and value not in names:
        raise ArgumentError(
            f"{name}={value!r} is no {name}.{_check.nearest(value, names)} {instead}"
        )
    if value is not None and not isinstance(value, str | kind):
        raise ArgumentTypeError(f"{name}={value!r} is no Optuna {name}. {instead}")


def start_sampler(
    study: optuna.Study,
    given: BaseSampler | str | None,
    seed: int | None,
    steps: int | None = None,
    *,
    screens: bool = False,
) -> tuple[int | None, str | None]:
    """Make the sampler of a name.

    Args:
        study: The study that is about to be asked.
        given: The user's sampler or its name, None for the default.
        seed: The user's seed.
        steps: How many steps a whole trial makes; None (default) where its data does not tell.
        screens: Whether the first trials may end after a few epochs. Default False.

    Returns:
        The seed of a sampler that was made here, None where it has none or is the user's; and a
        line about one that was chosen here, or None.
    """
    if isinstance(given, BaseSampler):
        return None, None
    own = None if seed is None else derive(seed, 0, 1)
    if given in (None, _AUTO):
        study.sampler, line = automatic(study, own, steps, screens=screens)
        return own, line
    # Optuna marks QMCSampler as experimental since 3.0.
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        study.sampler = _SAMPLERS[given](own)
    return own, None


def made_pruner(given: BasePruner | str | None, epochs: int) -> BasePruner:
    """Return the user's pruner, or the one of a name, for trials of so many epochs."""
    if isinstance(given, BasePruner):
        return given
    return _PRUNERS[given or "wilcoxon"](epochs)


def start_pruner(
    study: optuna.Study, given: BasePruner | str | None, n_trials: int | None, epochs: int
) -> str | None:
    """Give a study the pruner that goes with its sampler.

    Args:
        study: The study, with the sampler of the search that is about to begin.
        given: The user's pruner or its name, None for the default.
        n_trials: How many trials the study is to have; None for no limit.
        epochs: How many epochs a trial has.

    Returns:
        A line about a pruner that was chosen here, or None.
    """
    sampler = study.sampler
    if n_trials is not None and isinstance(sampler, GPThenTPE) and sampler.screens:
        study.pruner = pruner = AutoPruner(n_trials, epochs)
        return pruner.line
    study.pruner = made_pruner(given, epochs)
    return None
