"""A sampler that learns from configurations that failed, and draws none again that was tried."""

from __future__ import annotations

import copy
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any, cast

from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _space
from kerastune_optuna._grid import is_grid
from kerastune_optuna._repeats import may_come_again
from kerastune_optuna._retry import was_cut_off

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

_DRAWS = 10  # after twice as many the space has hardly anything else to offer


def learning(sampler: BaseSampler, *, may_repeat: bool) -> BaseSampler:
    """Return a sampler that takes failed trials for bad ones, and draws none of them again.

    Optuna's samplers see COMPLETE and PRUNED trials alone. What always fails stays unknown to them,
    and TPE takes the unknown for promising: with a builder that fails for half of its space it soon
    draws nothing else. A grid visits each point once anyway.

    Args:
        sampler: The sampler that draws.
        may_repeat: Whether it may draw what was trained, or is being trained.
    """
    return sampler if is_grid(sampler) else _LearningSampler(sampler, may_repeat=may_repeat)


class _LearningSampler(BaseSampler):
    """Show another sampler the failures, and draw again where it draws what is not wanted."""

    def __init__(self, sampler: BaseSampler, *, may_repeat: bool) -> None:
        self._sampler = sampler
        self._may_repeat = may_repeat
        self._unwanted = _space.Node()

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        trials = _failed(study)
        if not self._may_repeat:
            trials += _trained(study, but=trial.number)
        self._unwanted = _space.tried(trials)
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        shown, drawn = _with_failures(study), {}
        for sampler in self._samplers(trial):
            if sampler is self._sampler:
                drawn = sampler.sample_relative(shown, trial, search_space)
            else:
                spaces = {name: search_space[name] for name in drawn}
                drawn = {
                    name: sampler.sample_independent(shown, trial, name, space)
                    for name, space in spaces.items()
                }
            if not drawn or not self._unwanted.is_closed_for(_space.places(search_space, drawn)):
                break
        return drawn

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        shown = _with_failures(study)
        for sampler in self._samplers(trial):
            drawn = sampler.sample_independent(shown, trial, param_name, param_distribution)
            places = _space.places(trial.distributions, trial.params)
            places[param_name] = _space.place_of(param_distribution, drawn)
            if not self._unwanted.is_closed_for(places):
                break
        return drawn

    def _samplers(self, trial: FrozenTrial) -> list[BaseSampler]:
        """Return who draws, again and again: in the end by chance, for TPE may insist."""
        by_chance = RandomSampler(seed=trial.number)
        return [self._sampler] * _DRAWS + [by_chance] * _DRAWS

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


class _StudyWithFailures:
    """Be the study, but show failed trials as PRUNED ones that never reported: the worst."""

    def __init__(self, study: optuna.Study) -> None:
        self._study = study

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(  # which samplers call, with these arguments
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        trials = self._study._get_trials(deepcopy, states, use_cache)
        if states is None or TrialState.PRUNED not in states:
            return trials
        return sorted(
            [*trials, *map(_as_pruned, _failed(self._study))], key=lambda trial: trial.number
        )


def _with_failures(study: optuna.Study) -> optuna.Study:
    return cast("optuna.Study", _StudyWithFailures(study))


def _as_pruned(trial: FrozenTrial) -> FrozenTrial:
    shown = copy.copy(trial)
    shown.state, shown.intermediate_values = TrialState.PRUNED, {}
    return shown


def _failed(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that failed by their configurations."""
    trials = study._get_trials(deepcopy=False, states=(TrialState.FAIL,), use_cache=True)
    return [trial for trial in trials if not was_cut_off(trial)]


def _trained(study: optuna.Study, but: int) -> list[FrozenTrial]:
    """Return the other trials that were or are trained, and may come again."""
    return [
        one
        for one in may_come_again(study)
        if one.number != but and one.state is not TrialState.FAIL
    ]
