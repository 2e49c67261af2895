"""A sampler that learns from trials that Optuna's samplers do not see, and repeats none."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import filterfalse
from typing import Any, TypeAlias, cast

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _optuna, _signals
from kerastune_optuna._search import space as _space
from kerastune_optuna._search.gaussian_process import GaussianProcessSampler
from kerastune_optuna._search.grid import Grid
from kerastune_optuna._search.repeats import asking, may_come_again
from kerastune_optuna._study import Lesson, Objective, TrialRecord, derive, liveness, ranking

_DRAWS = 10  # by the sampler, which may draw the same each time: then chance decides
_OF_GP = 2  # draws, which take long and mostly come to the same
_MOST_LOOKED_AT = 10_000  # values of a parameter; of more, hardly any was tried
_PATIENCE = 30.0  # seconds after which a worker may be dead; Optuna's GP first imports PyTorch
_POLL = 0.02  # seconds between two looks at it
_GP = (GaussianProcessSampler, GPSampler)
# Samplers that see a pruned trial as a COMPLETE one: a process, which would see only a few trials
# otherwise, finds better models, and TPE finds models as good (tests/benchmarks/README.md).
_GAIN = (*_GP, TPESampler)

_OpenOnes: TypeAlias = Callable[[optuna.Study], list[FrozenTrial]]


@dataclass(eq=False)
class LearningSampler(BaseSampler):
    """Learn from pruned and failed trials, and draw none of them again.

    Optuna's TPE ranks PRUNED trials below all others, and its GP does not see them, though most
    trials of a search with a good pruner are PRUNED. Here both see a pruned trial as a COMPLETE one
    whose value is its best one and what the best trial of the study gained from those epochs on.

    Failed trials, and those that broke a constraint, are taken for bad ones. A region where all
    trials fail stays unknown to Optuna's samplers, and TPE takes the unknown for promising: with a
    builder that fails for half of its space it soon draws nothing else.

    Args:
        sampler: The sampler that draws.
        objective: The one by which trials are pruned.
        constrained: Whether trials may break constraints.
        may_repeat: Whether it may draw what was trained, or is being trained.
        known: COMPLETE trials of other studies that it is to see, with numbers below 0.
        seed: What the sampler draws for a trial depends on it and on the trial's number, so that
            workers and copies of a script draw nothing twice; None where the sampler has its own.
    """

    sampler: BaseSampler
    objective: Objective
    constrained: bool
    may_repeat: bool
    known: Sequence[FrozenTrial] = ()
    seed: int | None = None

    def __post_init__(self) -> None:
        self._unwanted = _space.Node()
        self._places: dict[str, float] = {}  # of what is drawn for all parameters at once
        self._leaves_to_chance = False
        self._chance = RandomSampler()
        self._given_up: set[int] = set()  # trials that were waited for in vain
        self.best: FrozenTrial | None = None
        # Pruned trials as they are shown, for the number of the best trial, which they depend on.
        self.as_complete: dict[int, dict[int, FrozenTrial]] = {}

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        if isinstance(self.sampler, Grid):
            self._wait_for_others(study, trial, asking)
        trials = _failed(study) + _broken(study)
        if not self.may_repeat:
            trials += [one for one in may_come_again(study) if one.number != trial.number]
        self._unwanted = _space.tried(trials)
        self._places, self._leaves_to_chance = {}, False
        self._chance = RandomSampler(seed=trial.number)
        if self.seed is not None:
            _optuna.reseed(self.sampler, derive(self.seed, trial.number))
        self.best = self._found(study)
        self.sampler.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self.sampler.infer_relative_search_space(self._shown(study), trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        shown = self._shown(study, search_space)
        if search_space and isinstance(self.sampler, _GP):
            complete = _optuna.known_trials(shown, (TrialState.COMPLETE,))
            if len(complete) >= _optuna.startup_trials_of(self.sampler):  # else it draws by chance
                self._wait_for_others(shown, trial, _without_draw)
        for _ in range(_OF_GP if isinstance(self.sampler, _GP) else _DRAWS):
            drawn = self.sampler.sample_relative(shown, trial, search_space)
            self._places = _space.places(search_space, drawn)
            if not self._unwanted.is_closed_for(self._places):
                return drawn
        # Parameter by parameter, in the builder's order, it is known what is left to try.
        self._places, self._leaves_to_chance = {}, True
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        shown = self._shown(study, {param_name: param_distribution})
        places = {**self._places, **_space.places(trial.distributions, trial.params)}

        def is_left(value: Any) -> bool:
            place = _space.place_of(param_distribution, value)
            return not self._unwanted.is_closed_for({**places, param_name: place})

        for _ in range(0 if self._leaves_to_chance else _DRAWS):
            drawn = self.sampler.sample_independent(shown, trial, param_name, param_distribution)
            if is_left(drawn):
                return drawn
        left = list(filter(is_left, _values(param_distribution)))
        among = CategoricalDistribution(left) if left else param_distribution
        return self._chance.sample_independent(shown, trial, param_name, among)

    def _wait_for_others(
        self, study: optuna.Study, trial: FrozenTrial, open_ones: _OpenOnes
    ) -> None:
        """Wait until it is known what trials of ours that began before have, to draw otherwise."""
        gives_up = time.monotonic() + _PATIENCE
        while before := self._before(trial, open_ones(study)):
            if _signals.requested():
                return
            if time.monotonic() > gives_up:
                self._given_up |= before
                return
            time.sleep(_POLL)
            _optuna.known_trials(study, anew=True)  # at first, the claim has just read them

    def _before(self, trial: FrozenTrial, others: Iterable[FrozenTrial]) -> set[int]:
        return {one.number for one in others if one.number < trial.number} - self._given_up

    def _shown(
        self, study: optuna.Study, space: dict[str, BaseDistribution] | None = None
    ) -> optuna.Study:
        return cast("optuna.Study", _StudyOfAll(study, self, space))

    def _found(self, study: optuna.Study) -> FrozenTrial | None:
        """Return the best COMPLETE trial of the study."""
        if not self.learns(study):
            return None
        complete = _optuna.known_trials(study, (TrialState.COMPLETE,))
        finite = [one for one in complete if math.isfinite(one.values[0])]
        return next(iter(ranking.ranked(finite, self.objective, 1)), None)

    def learns(self, study: optuna.Study) -> bool:
        """Whether the sampler is to see a study's pruned trials as COMPLETE ones."""
        return isinstance(self.sampler, _GAIN) and len(study.directions) == 1

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

    def reseed_rng(self) -> None:
        self.sampler.reseed_rng()


class _StudyOfAll(_optuna.ShownStudy):
    """Show a sampler what each finished trial tells, as a trial of a kind that it learns from.

    Pruned trials are shown as COMPLETE ones with what they may have come to, those that broke a
    constraint as COMPLETE ones with the worst values of all, and failed ones as PRUNED ones without
    reports, which TPE takes for the worst; the GP gets these, too, as COMPLETE ones with the worst
    values.
    """

    def __init__(
        self, study: optuna.Study, by: LearningSampler, space: dict[str, BaseDistribution] | None
    ) -> None:
        super().__init__(study)
        self._by, self._space = by, space

    @property
    def direction(self) -> StudyDirection:
        """The direction of the reports, by which TPE ranks PRUNED trials of any study."""
        return self._by.objective.of_study

    def shown(
        self, trials: list[FrozenTrial], states: Container[TrialState] | None
    ) -> list[FrozenTrial]:
        others = {trial.number: trial for trial in self._others(states)}
        rest = [trial for trial in trials if trial.number not in others]
        if isinstance(self._by.sampler, GaussianProcessSampler):  # to which all FAIL trials are bad
            rest = _cut_off_as_running(rest)
        known = self._by.known if states is None or TrialState.COMPLETE in states else ()
        told = filterfalse(_is_excluded, (*known, *rest, *others.values()))
        shown = sorted(told, key=lambda trial: trial.number)
        return _alike(shown) if self._by.constrained else shown

    def _others(self, states: Container[TrialState] | None) -> Iterator[FrozenTrial]:
        """Yield the trials that are shown otherwise than they are."""
        # Where a sampler asks for trials of any state, it looks for parameters that all of them
        # have. A trial that failed while its model was built lacks some.
        if states is not None and TrialState.PRUNED in states:
            yield from map(_as_pruned, _failed(self._study))
        if states is not None and TrialState.COMPLETE not in states:
            return
        learned = list(self._learned())
        yield from learned
        if not self._space:  # what is wanted is the parameters that all trials have
            return
        bad = _broken(self._study)
        if isinstance(self._by.sampler, GPSampler):  # which sees no PRUNED trials
            bad += _failed(self._study)
        # A Gaussian process of Optuna's cannot read a trial that lacks what it is about to draw.
        bad = [one for one in bad if self._space.items() <= one.distributions.items()]
        worst = self._worst(learned) if bad else None
        if worst is not None:
            yield from (_as_complete(trial, worst) for trial in bad)

    def _learned(self) -> Iterator[FrozenTrial]:
        """Yield pruned trials as COMPLETE ones, with what they may have come to."""
        if not self._by.learns(self._study):
            return
        best, known = self._by.best, self._by.as_complete
        if (key := -1 if best is None else best.number) not in known:
            known.clear()
        as_complete = known.setdefault(key, {})
        for trial in _optuna.known_trials(self._study, (TrialState.PRUNED,)):
            if trial.number not in as_complete:
                value = self._outlook(trial, best)
                if value is None:
                    continue
                as_complete[trial.number] = _as_complete(trial, [value])
            yield as_complete[trial.number]

    def _outlook(self, trial: FrozenTrial, best: FrozenTrial | None) -> float | None:
        """Return a pruned trial's best value with what the best trial gained after those epochs."""
        epochs, lesson = trial.intermediate_values, TrialRecord(trial).ending.lesson
        own = self._peak(trial, epochs) if lesson in (Lesson.VALUE, Lesson.BEST) else None
        if own is None or best is None or lesson is Lesson.BEST:
            return own
        then = self._peak(best, epochs)
        return own if then is None else own + best.values[0] - then

    def _peak(self, trial: FrozenTrial, epochs: Iterable[int]) -> float | None:
        """Return the best finite report of a trial in some epochs; None where there is none."""
        reports = [trial.intermediate_values.get(epoch, math.nan) for epoch in epochs]
        return min(filter(math.isfinite, reports), key=self._by.objective.cost, default=None)

    def _worst(self, learned: list[FrozenTrial]) -> list[float] | None:
        """Return the worst finite value of each objective; None where one has none."""
        complete = [*_optuna.known_trials(self._study, (TrialState.COMPLETE,)), *learned]
        worst = []
        for place, direction in enumerate(self._study.directions):
            finite = [one.values[place] for one in complete if math.isfinite(one.values[place])]
            if not finite:
                return None
            worst.append(min(finite) if direction is StudyDirection.MAXIMIZE else max(finite))
        return worst


def _is_excluded(trial: FrozenTrial) -> bool:
    """Whether the user has excluded a trial; the storage shows such a trial as PRUNED."""
    return trial.state is TrialState.PRUNED and TrialRecord(trial).excluded is not None


def _without_draw(study: optuna.Study) -> list[FrozenTrial]:
    """Return the running trials of ours for which no sampler has drawn yet."""
    running = _optuna.known_trials(study, (TrialState.RUNNING,))
    return [one for one in running if not (liveness.is_foreign(one) or _optuna.has_drawn(one))]


def _values(distribution: BaseDistribution) -> list[Any]:
    """Return all values of a parameter; none where they are too many to look at."""
    count = _space.size(distribution)
    places = range(int(count)) if count <= _MOST_LOOKED_AT else ()
    return [_space.value_at(distribution, place) for place in places]


def _as_pruned(trial: FrozenTrial) -> FrozenTrial:
    shown = copy.copy(trial)
    shown.state, shown.intermediate_values = TrialState.PRUNED, {}
    return shown


def _cut_off_as_running(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Return trials: one that was cut off is RUNNING until another one runs it again."""
    failed = [one for one in trials if one.state is TrialState.FAIL]
    gone = {one.number: one for one in failed if not TrialRecord(one).ending.is_final}
    if not gone:
        return trials  # as nearly always, and each draw asks several times
    rest = [one for one in trials if one.number not in gone]
    again = {TrialRecord(one).retry_of for one in trials}
    cut_off = [one for one in gone.values() if TrialRecord(one).ending.is_run_again]
    return [*rest, *(_as_running(one) for one in cut_off if one.number not in again)]


def _as_running(trial: FrozenTrial) -> FrozenTrial:
    shown = copy.copy(trial)
    shown.state = TrialState.RUNNING
    return shown


def _as_complete(trial: FrozenTrial, values: Sequence[float]) -> FrozenTrial:
    shown = copy.copy(trial)
    shown.state, shown.values = TrialState.COMPLETE, values
    return shown


def _alike(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials, all with the same constraints: samplers refuse or warn of others.

    A trial that is older than a constraint gets the value 0 for it, which is at its limit.
    """
    keys = {key for trial in trials for key in trial.constraints}
    return [_with_unknown(one, keys - one.constraints.keys()) for one in trials]


def _with_unknown(trial: FrozenTrial, keys: set[str]) -> FrozenTrial:
    if not keys:
        return trial
    shown = copy.copy(trial)
    shown.system_attrs = dict(trial.system_attrs)
    for key in keys:
        shown.set_constraint(key, 0.0)
    return shown


def _broken(study: optuna.Study) -> list[FrozenTrial]:
    """Return the PRUNED trials that are bad: most broke a constraint."""
    trials = _optuna.known_trials(study, (TrialState.PRUNED,))
    return [one for one in trials if TrialRecord(one).ending.lesson is Lesson.WORST]


def _failed(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that failed because of their configurations."""
    trials = _optuna.known_trials(study, (TrialState.FAIL,))
    return [one for one in trials if TrialRecord(one).ending.lesson is Lesson.WORST]
