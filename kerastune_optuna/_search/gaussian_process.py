"""A sampler that draws by a Gaussian process, for spaces with categories, steps and branches."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState
from scipy.spatial.distance import cdist
from threadpoolctl import ThreadpoolController

from kerastune_optuna import _optuna, _signals
from kerastune_optuna._search.box import Box, Points
from kerastune_optuna._search.process import Floats, Process
from kerastune_optuna._search.space import in_order
from kerastune_optuna._search.worth import best_of, doubts, informative, is_bad, worth
from kerastune_optuna._study import Lesson, TrialRecord, sign_of

_DRAWN = "gaussian_process:relative_params:0"  # a system attr of a trial, named as Optuna's are
_OF_ALL = 0.05  # ParEGO's rho: the weight of the sum of all costs, added to the largest cost
_PATIENCE = 30.0  # seconds after which a worker that has not drawn may be dead
_POLL = 0.02  # seconds between two looks at it
# The search for the configuration with the largest expected gain:
_AT_RANDOM = 1024  # configurations that are drawn at random
_BEST, _NEAR_BEST = 5, 50  # the best trials, and the configurations that are drawn near each
_TOP, _NEAR_TOP = 8, 32  # configurations with the largest gains, and those drawn near each
_CLIMB = 4  # starts of climbs among all configurations, and as many among the random ones
_WIDTHS = (0.1, 0.04)  # shares of a range: how far from a configuration we draw, in two rounds
_SAME = 1e-3  # share of a range: configurations that differ by less in each parameter are the same


class GaussianProcessSampler(BaseSampler):
    """Draw where a Gaussian process expects the largest improvement.

    The sampler maximizes the expected improvement (Jones et al., 1998) of a Gaussian process with a
    Matérn 5/2 kernel, which has one length scale for each parameter (Rasmussen and Williams, 2006).
    It needs no PyTorch, unlike Optuna's GPSampler. Parameters that exist only in some trials, such
    as `units_1` of a second layer, are modelled too. Running trials count with simulated results
    (Snoek et al., 2012), so that several workers do not draw the same. A PRUNED trial counts with
    its best report and what the best trial gained after those epochs, and the process knows how far
    such guesses may be off. A FAIL trial, or one that broke a constraint, counts as the worst.

    Several objectives are combined with random weights, drawn for each trial, so that the trials
    spread along the Pareto front (ParEGO; Knowles, 2006).

    Args:
        seed: Seed of the draws. Default None: not reproducible.
        n_startup_trials: How many trials have to be COMPLETE, or PRUNED with a report, before the
            process draws. Default 5.
        independent_sampler: Draws until then, and draws parameters that no trial has asked for yet.
            Default None: Optuna's TPESampler with this seed.

    Example:
        >>> import optuna
        >>> from kerastune_optuna import GaussianProcessSampler
        >>> optuna.logging.set_verbosity(optuna.logging.ERROR)
        >>> study = optuna.create_study(sampler=GaussianProcessSampler(seed=1))
        >>> def objective(trial):
        ...     return (trial.suggest_float("x", -9, 9) - 2) ** 2
        >>> study.optimize(objective, n_trials=20)
        >>> abs(study.best_params["x"] - 2) < 0.1
        True
    """

    is_over = False  # whether its independent sampler draws parameters together, too
    tells_gain = False  # whether each trial records what it is expected to gain

    def __init__(
        self,
        seed: int | None = None,
        n_startup_trials: int = 5,
        independent_sampler: BaseSampler | None = None,
    ) -> None:
        self.seed, self._n_startup_trials = seed, n_startup_trials
        self.independent_sampler = independent_sampler or TPESampler(seed=seed)
        self._rng = np.random.default_rng(seed)
        self.place = 0  # of the trial that is drawn for, in the study
        self._in_vain: set[int] = set()  # ids of trials that were waited for

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self.place = TrialRecord(trial).place_in(_optuna.known_trials(study))
        if self.seed is not None:
            self._rng = np.random.default_rng([self.seed, self.place])
        self.independent_sampler.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return in_order(one.distributions for one in informative(study))

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not search_space:
            return {}
        trials, directions = informative(study), study.directions
        best = best_of(trials, directions)
        valued = sum(worth(one, best, directions) is not None for one in trials)
        # Once a trial has a value, one that broke a constraint counts too if it has all parameters,
        # as the worst.
        pruned = (one for one in trials if one.state is TrialState.PRUNED and is_bad(one))
        bad = sum(search_space.items() <= one.distributions.items() for one in pruned)
        if valued + (bad if valued else 0) < self._n_startup_trials:
            return {}
        wait_for_earlier(study, trial, _without_draw, self._in_vain)
        running, done = [], []
        for seen in informative(study):
            if TrialRecord(seen).ending.lesson is Lesson.RUNNING:
                running.append(seen)
            elif seen.params:
                done.append(seen)
        if not done:
            return {}
        with _libraries().limit(limits=1, user_api="blas"):
            scores, unit = _scores(study, done, self._rng)
            doubtful = np.array(doubts(done, study.directions)) / unit
            drawn, gain = self._drawn(Box(search_space), done, running, scores, doubtful)
        storage, trial_id = _optuna.storage_of(study), _optuna.id_of(trial)
        storage.set_trial_system_attr(trial_id, _DRAWN, json.dumps(drawn))
        if self.tells_gain:
            storage.set_trial_user_attr(trial_id, TrialRecord.expected_gain, gain * unit)
        return drawn

    def _drawn(
        self,
        box: Box,
        done: Sequence[FrozenTrial],
        running: Sequence[FrozenTrial],
        scores: Floats,
        doubtful: Floats,
    ) -> tuple[dict[str, Any], float]:
        """Return the parameters with the largest expected improvement, and how large it is."""
        tried = box.points([one.params for one in done])
        box.learn_conditions(tried)
        process = Process(box.features(tried), scores, box.groups, doubtful)
        # What was drawn for a running trial counts before its builder has asked for it.
        drawn = (json.loads(one.system_attrs.get(_DRAWN, "{}")) | one.params for one in running)
        if begun := [params for params in drawn if params]:
            points = box.points(begun)
            process.suppose(box.features(points), self._rng)
            tried = tried.and_those(points)
        best = _Candidates(box, process, tried, self._rng).best()
        gain = math.exp(process.gains(box.features(best.rows(None)))[0]) if self.tells_gain else 0.0
        return box.params(best), gain

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, name: str, range_: BaseDistribution
    ) -> Any:
        return self.independent_sampler.sample_independent(study, trial, name, range_)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self.independent_sampler.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self._rng = np.random.default_rng()
        self.independent_sampler.reseed_rng()


def wait_for_earlier(
    study: optuna.Study,
    trial: FrozenTrial,
    lacking: Callable[[optuna.Study], list[FrozenTrial]],
    in_vain: set[int],
) -> None:
    """Wait until our trials that began before this one have what a sampler needs to know of them.

    Args:
        study: The study, whose trials are read again meanwhile.
        trial: The trial that the sampler draws for.
        lacking: Returns the trials of a study that lack this.
        in_vain: The ids of trials that the sampler waited for in vain; new ones are added.
    """
    gives_up = time.monotonic() + _PATIENCE
    while True:
        earlier = (one for one in lacking(study) if one.number < trial.number)
        others = {_optuna.id_of(one) for one in earlier} - in_vain
        if not others or _signals.requested():
            return
        if time.monotonic() > gives_up:
            in_vain.update(others)
            return
        time.sleep(_POLL)
        _optuna.known_trials(study, anew=True)  # at first, the claim has just read them


def _without_draw(study: optuna.Study) -> list[FrozenTrial]:
    """Return the running trials of ours for which no sampler has drawn yet."""
    running = _optuna.known_trials(study, (TrialState.RUNNING,))
    return [one for one in running if not (TrialRecord(one).is_foreign or _optuna.has_drawn(one))]


@lru_cache(maxsize=1)
def _libraries() -> ThreadpoolController:
    """Return what NumPy and SciPy compute with.

    Matrices of a hundred rows are too small for several threads, which wait for each other where
    the cores train: then a draw took 4 times as long with two threads, and 45 times at worst.
    """
    return ThreadpoolController()


def _scores(
    study: optuna.Study, trials: Sequence[FrozenTrial], rng: np.random.Generator
) -> tuple[Floats, float]:
    """Return a score for each trial, with mean 0 and deviation 1, and the unit of the scores.

    More is better. Several objectives become one: the cost of each has a random weight, and the
    largest of these weighted costs counts most.
    """
    signs = [-sign_of(one) for one in study.directions]
    best = best_of(trials, study.directions)
    # A trial that broke a constraint counts as the worst, whatever its value.
    worths = [
        None if TrialRecord(trial).breaks_constraint else worth(trial, best, study.directions)
        for trial in trials
    ]
    nothing = [math.nan] * len(signs)
    values: Floats = np.array([one or nothing for one in worths], float) * signs
    finite = np.where(np.isfinite(values), values, np.inf).min(axis=0)
    values = np.where(np.isfinite(values), values, np.where(np.isinf(finite), 0.0, finite))
    scores = values[:, 0]
    if len(signs) > 1:
        best, worst = values.max(axis=0), values.min(axis=0)
        costs = (best - values) / np.maximum(best - worst, 1e-12)
        costs *= rng.dirichlet(np.ones(len(signs)))
        scores = -costs.max(axis=1) - _OF_ALL * costs.sum(axis=1)
    unit = max(float(scores.std()), 1e-10)
    return (scores - scores.mean()) / unit, unit


@dataclass(frozen=True)
class _Candidates:
    """Look for the configuration that gains most.

    Args:
        box: The configurations.
        process: Predicts what configurations gain.
        tried: The configurations that were tried or are being tried.
        rng: Draws where to look.
    """

    box: Box
    process: Process
    tried: Points
    rng: np.random.Generator

    def best(self) -> Points:
        """Return the configuration that gains most, and that is new if any is."""
        box, begun = self.box, self._begun()
        features = box.features(begun)
        moves = np.zeros(features.shape, bool)
        moves[:, : len(box.names)] = begun.asked & ~box.is_category
        climbed = self.process.climbed(features, moves)[:, : len(box.names)]
        points = begun.and_those(box.settled(np.where(box.is_category, begun.places, climbed)))
        for _ in range(2):  # the climb changes no category, so we try to change one, then another
            best = self._top(points).rows(0)
            points = box.alternatives(best, self.rng).and_those(points)
        return self._top(points).rows(0)

    def _top(self, points: Points) -> Points:
        """Return the configurations that gain most; any that was tried comes after all new ones."""
        gains = self.process.gains(self.box.features(points))
        # Where the process takes values for noisy, what was tried may promise the largest gain.
        was_tried = cdist(points.places, self.tried.places, "chebyshev").min(axis=1) < _SAME
        return points.rows(np.lexsort((-gains, was_tried))[:_TOP])

    def _begun(self) -> Points:
        """Return the configurations from which the climbs start.

        Half of them are the best of all that we draw: at random, near good trials, and then nearer
        and nearer to the best so far. The other half, the best of the random ones, lie apart, while
        the slopes from the first half often lead to one place.
        """
        good = self.tried.rows(np.argsort(-self.process.outcomes.mean(axis=1))[:_BEST])
        at_random = self._top(self.box.drawn(_AT_RANDOM, self.rng))
        points = at_random.and_those(self.box.near(good, _NEAR_BEST, _WIDTHS[0], self.rng))
        for width in _WIDTHS:
            top = self._top(points)
            points = top.and_those(self.box.near(top, _NEAR_TOP, width, self.rng))
        return self._top(points).rows(slice(_CLIMB)).and_those(at_random.rows(slice(_CLIMB)))
