"""A sampler that learns from trials that Optuna's samplers do not see, and repeats none."""

from __future__ import annotations

import copy
import math
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseGASampler, BaseSampler, CmaEsSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _optuna
from kerastune_optuna._search import space as _space
from kerastune_optuna._search.gaussian_process import GaussianProcessSampler
from kerastune_optuna._search.repeats import Node, Tree
from kerastune_optuna._search.worth import best_of, is_bad, worth
from kerastune_optuna._study import Objective, TrialRecord, derive, sign_of

_DRAWS = 10  # draws of a sampler, which may repeat itself; after that, chance decides
_OF_GP = 2  # draws of a Gaussian process, which take long and are mostly alike
_MOST_LOOKED_AT = 10_000  # values of a parameter; if there are more, hardly any was tried
# Samplers that see a pruned trial as a COMPLETE one: a process, which would see only a few trials
# otherwise, finds better models, and TPE finds models as good (tests/benchmarks/README.md).
_GAIN = (GaussianProcessSampler, TPESampler)


@dataclass(eq=False, repr=False)
class LearningSampler(BaseSampler):
    """Learn from pruned and failed trials, and draw none of them again.

    Optuna's TPE ranks PRUNED trials below all others, though most trials of a search with a good
    pruner are PRUNED. Here it sees a pruned trial as a COMPLETE one whose value is its best report
    plus what the best trial of the study gained after those epochs.

    Failed trials, and those that broke a constraint, are taken for bad ones. A region where all
    trials fail stays unknown to Optuna's samplers, and TPE takes the unknown for promising: with a
    builder that fails for half of its space it soon draws nothing else.

    Args:
        sampler: The sampler that draws.
        objective: The objective by which trials are pruned.
        constrained: Whether trials may break constraints.
        may_repeat: Whether it may draw what was trained, or is being trained.
        warm_trials: COMPLETE trials of other studies that the sampler sees too, with numbers
            below 0.
        seed: What the sampler draws for a trial depends on it and on the trial's place, so that
            workers and copies of a script draw nothing twice; None where the sampler has its own.
        card: The key of the search's card; None (default) draws nothing that any search has tried.
    """

    sampler: BaseSampler
    objective: Objective
    constrained: bool
    may_repeat: bool
    warm_trials: Sequence[FrozenTrial] = ()
    seed: int | None = None
    card: str | None = None

    _unwanted: Node = field(init=False, default_factory=Node)
    # The places of the parameters that were drawn together.
    _places: dict[str, float] = field(init=False, default_factory=dict)
    _leaves_to_chance: bool = field(init=False, default=False)
    _chance: RandomSampler = field(init=False, default_factory=RandomSampler)
    _best: FrozenTrial | None = field(init=False, default=None)
    # PRUNED trials as they are shown, by number; what they are worth depends on the best trial.
    _shown: dict[int, FrozenTrial | None] = field(init=False, default_factory=dict)

    @property
    def draws_by_process(self) -> bool:
        """Whether it is a process of ours that draws parameters together."""
        return isinstance(self.sampler, GaussianProcessSampler) and not self.sampler.is_over

    @cached_property
    def genetic(self) -> list[BaseGASampler]:
        """The genetic samplers that draw, or that the sampler asks."""
        return _optuna.genetic_parts(self.sampler)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        place = TrialRecord(trial).place_in(_optuna.known_trials(study))
        if self.seed is not None:
            _optuna.reseed(self.sampler, derive(self.seed, place))
        for genetic in self.genetic:
            _optuna.forget_generations(genetic)
        self.sampler.before_trial(study, trial)
        tree = Tree.of(study, self.card)  # now, since the sampler may have waited for others
        if self.may_repeat:
            tree = Tree(list(filter(is_bad, tree.begun)))
        self._unwanted = tree.root
        self._places, self._leaves_to_chance = {}, False
        self._chance = RandomSampler(seed=place)
        best = best_of(_optuna.known_trials(study), study.directions)
        if best != self._best:
            self._best, self._shown = best, {}

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        shown: Any = _Shown(study, self)
        return self.sampler.infer_relative_search_space(shown, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        shown: Any = _Shown(study, self, search_space)
        for _ in range(_OF_GP if self.draws_by_process else _DRAWS):
            drawn = self.sampler.sample_relative(shown, trial, search_space)
            self._places = _space.places(search_space, drawn)
            if not self._unwanted.is_closed_for(self._places):
                return drawn
        # Parameter by parameter, in the builder's order, the tree shows what is left to try.
        self._places, self._leaves_to_chance = {}, True
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        shown: Any = _Shown(study, self, {param_name: param_distribution}, is_alone=True)
        places = {**self._places, **_space.places(trial.distributions, trial.params)}

        def is_left(value: Any) -> bool:
            place = _space.place_of(param_distribution, value)
            return not self._unwanted.is_closed_for({**places, param_name: place})

        for _ in range(0 if self._leaves_to_chance else _DRAWS):
            drawn = self.sampler.sample_independent(shown, trial, param_name, param_distribution)
            if is_left(drawn):
                return drawn
        count = _space.size(param_distribution)
        every = range(int(count)) if count <= _MOST_LOOKED_AT else ()
        values = (_space.value_at(param_distribution, place) for place in every)
        left = list(filter(is_left, values))
        among = CategoricalDistribution(left) if left else param_distribution
        return self._chance.sample_independent(shown, trial, param_name, among)

    def as_complete(self, study: optuna.Study, trial: FrozenTrial) -> FrozenTrial | None:
        """Return a PRUNED trial as a COMPLETE one; None where the sampler sees it as it is."""
        if not isinstance(self.sampler, _GAIN) or TrialRecord(trial).excluded is not None:
            return None
        if trial.number not in self._shown:
            values = worth(trial, self._best, study.directions)
            shown = None if values is None else _as(trial, TrialState.COMPLETE, values=values)
            self._shown[trial.number] = shown
        return self._shown[trial.number]

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        if self.constrained and isinstance(self.sampler, CmaEsSampler):
            # CmaEsSampler would warn that it does not use constraints.
            trial = _optuna.without_constraints(trial)
        self.sampler.after_trial(study, trial, state, values)


@dataclass(eq=False)
class _Shown(_optuna.ShownStudy):
    """Show a sampler trials of other studies too, and each trial as one of a kind it learns from.

    Pruned trials are shown as COMPLETE ones with what they are worth, those that broke a constraint
    as COMPLETE ones with the worst values of all, and failed ones as PRUNED ones without reports,
    which TPE takes for the worst.

    Args:
        _study: The study.
        by: The sampler that shows it.
        space: The parameters that are about to be drawn; None (default) while the sampler is asked
            which ones to draw.
        is_alone: Whether a single parameter is drawn, apart from the others. Default False.
    """

    by: LearningSampler
    space: dict[str, BaseDistribution] | None = None
    is_alone: bool = False

    @property
    def direction(self) -> StudyDirection:
        """The direction of the reports, by which TPE ranks PRUNED trials of any study."""
        return self.by.objective.of_study

    def shown(
        self, trials: list[FrozenTrial], states: Container[TrialState] | None
    ) -> list[FrozenTrial]:
        is_any = states is None or TrialState.COMPLETE in states
        warm = self.by.warm_trials if is_any else ()
        # Our process reads trials of all kinds, but leaves single parameters to another sampler.
        if self.by.draws_by_process and not self.is_alone:
            return sorted([*warm, *trials], key=lambda one: one.number)
        by_number = {one.number: one for one in [*warm, *trials]}
        # Where a sampler asks for trials of any state, it looks for parameters that all of them
        # have. A trial that failed while its model was built lacks some.
        if states is not None:
            for trial in filter(is_bad, _optuna.known_trials(self._study, (TrialState.FAIL,))):
                by_number[trial.number] = _as(trial, TrialState.PRUNED, intermediate_values={})
        by_number.update((one.number, one) for one in self._as_complete)
        shown = [  # without what the user has excluded, which a storage shows as PRUNED
            trial
            for _, trial in sorted(by_number.items())
            if states is None or trial.state in states
            if trial.state is not TrialState.PRUNED or TrialRecord(trial).excluded is None
        ]
        if states is None and self.by.genetic:  # which take a number for a place, since 5.1
            shown = [_as(one, one.state, number=place) for place, one in enumerate(shown)]
        return _alike(shown) if self.by.constrained else shown

    @cached_property
    def _as_complete(self) -> list[FrozenTrial]:
        """PRUNED trials as COMPLETE ones: those that are worth something, and bad ones."""
        pruned = _optuna.known_trials(self._study, (TrialState.PRUNED,))
        learned = [self.by.as_complete(self._study, one) for one in pruned]
        valued = [one for one in learned if one is not None]
        if not self.space:  # the sampler only looks for parameters that all trials have
            return valued
        rest = [one for one, shown in zip(pruned, learned, strict=True) if shown is None]
        # Optuna's Gaussian process cannot read a trial that lacks a parameter to be drawn.
        wanted = self.space.items()
        bad = [one for one in filter(is_bad, rest) if wanted <= one.distributions.items()]
        worst = self._worst(valued) if bad else None
        if worst is None:
            return valued
        return valued + [_as(one, TrialState.COMPLETE, values=worst) for one in bad]

    def _worst(self, valued: list[FrozenTrial]) -> list[float] | None:
        """Return the worst finite value of each objective; None if an objective has none."""
        complete = [*_optuna.known_trials(self._study, (TrialState.COMPLETE,)), *valued]
        worst = []
        for place, direction in enumerate(self._study.directions):
            finite = [one.values[place] for one in complete if math.isfinite(one.values[place])]
            if not finite:
                return None
            worst.append(max(finite, key=lambda value: sign_of(direction) * value))
        return worst


def _as(trial: FrozenTrial, state: TrialState, **fields: Any) -> FrozenTrial:
    """Return a trial in another state, with other fields."""
    shown = copy.copy(trial)
    for name, value in {"state": state, **fields}.items():
        setattr(shown, name, value)
    return shown


def _alike(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials, all with the same constraints, as samplers require.

    A trial that is older than a constraint gets the value 0 for it, which is at its limit.
    """
    keys = {key for trial in trials for key in trial.constraints}
    shown = []
    for trial in trials:
        if lacking := keys - trial.constraints.keys():
            trial = _as(trial, trial.state, system_attrs=dict(trial.system_attrs))
            for key in lacking:
                trial.set_constraint(key, 0.0)
        shown.append(trial)
    return shown
