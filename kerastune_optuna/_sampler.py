"""A sampler that does not suggest at once what has just failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from optuna.samplers import BaseSampler, GridSampler
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna._retry import was_cut_off

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

_DRAWS = 20  # after so many the space has hardly anything else to offer


def avoiding_failures(sampler: BaseSampler) -> BaseSampler:
    """Return a sampler that draws again where a configuration has failed in this study.

    Optuna's samplers learn from COMPLETE and PRUNED trials alone: of a few choices they would draw
    the one that fails again and again. A grid visits each point once anyway.
    """
    return sampler if isinstance(sampler, GridSampler) else _AvoidingSampler(sampler)


class _AvoidingSampler(BaseSampler):
    """Draw from another sampler, and again where all parameters are those of a failed trial."""

    def __init__(self, sampler: BaseSampler) -> None:
        self._sampler = sampler
        self._failed: list[dict[str, Any]] = []

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        self._failed = [_varying(one) for one in failed if not was_cut_off(one)]
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        for _ in range(_DRAWS):
            drawn = self._sampler.sample_relative(study, trial, search_space)
            if not drawn or drawn not in self._failed:
                break
        return drawn

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        for _ in range(_DRAWS):
            drawn = self._sampler.sample_independent(study, trial, param_name, param_distribution)
            # Parameters come one by one: they are those of a failed trial only with the last one.
            if {**_varying(trial), param_name: drawn} not in self._failed:
                break
        return drawn

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self._sampler.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self._sampler.reseed_rng()


def _varying(trial: FrozenTrial) -> dict[str, Any]:
    """Return the parameters that a sampler has a choice of."""
    fixed = {name for name, distribution in trial.distributions.items() if distribution.single()}
    return {name: value for name, value in trial.params.items() if name not in fixed}
