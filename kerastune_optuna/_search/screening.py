"""The pruner of a search that begins with short trials: it compares beginnings, then curves."""

from __future__ import annotations

import math

import optuna
from optuna.trial import FrozenTrial

from kerastune_optuna._search import space
from kerastune_optuna._search.pruner import WilcoxonPruner
from kerastune_optuna._search.stopping import Deadline
from kerastune_optuna._search.worth import peak
from kerastune_optuna._study import Ending, TrialRecord, sign_of

# All chosen with tests/benchmarks/samplers.py, on recorded curves and on tasks of LCBench.
# In a smaller space, or one with fewer than twice the trials, a trial that ends early may be lost:
# each configuration is tried only once.
_LEAST_CONFIGURATIONS = 50
_SCREENED = 6  # the first trials: each of them ends after its beginning
COMPARED = 12  # trials that may end after their beginning; later ones go on, to get a model
_BEST = 4  # one in this many beginnings goes on
_SHARE = 10  # a beginning is one in this many epochs
_FEWEST_EPOCHS = 3  # of a beginning: after two, networks on digits and letters were misjudged
_MOST = 0.25  # of a trial's epochs: if the first validation comes later, the trial goes on
# Of a search with a timeout, counted in trainings of a trial:
_FIT = 10  # in the whole time; with fewer, beginnings would take too large a share of it
_LEFT = 2  # in the time that is left; with fewer, a trial goes on, so that there is a model
# Trials after which all later ones go on: there is a model, or too few might be left to get one.
_ALLOWS_ALL = {Ending.COMPLETE, Ending.OVER_LIMIT, Ending.FORBIDDEN}
_ALLOWS_ALL |= {Ending.DIVERGED, Ending.DIVERGED_AT_ONCE}


class AutoPruner(optuna.pruners.BasePruner):
    """Let a trial with a good beginning train to its end first, and prune later ones by its curve.

    A trial that trains to its end costs as much as ten beginnings, and a configuration that was
    drawn at random is seldom worth it. So the first six trials end after a tenth of their epochs,
    at least three. Each of the next six goes on after that if it is in the best quarter of all
    beginnings so far. Once a trial is COMPLETE, only WilcoxonPruner decides.

    A trial that was enqueued is its user's choice, and goes on. All trials go on if there are few
    configurations, and once a trial was forbidden, was over a limit or diverged: too few might be
    left to produce a model. With a deadline, a trial also goes on if by the pace of its own epochs
    less than ten whole trainings fit into the time of the search, or less than two into the rest.

    Args:
        n_trials: The size of the study; None for no limit.
        epochs: The epochs of a trial, over all its trainings.
        deadline: The deadline of a search that begins now. Default None: it has no limit of time.

    Attributes:
        line: A line that tells the user why the first trials end early.
    """

    def __init__(self, n_trials: int | None, epochs: int, deadline: Deadline | None = None) -> None:
        self._fewest = max(_LEAST_CONFIGURATIONS, 2 * (n_trials or 0))
        self._epochs, self._deadline = epochs, deadline
        self._seconds = math.inf if deadline is None else deadline.seconds_left()
        # The epochs at the first report of each trial, and the seconds that were left then. The
        # first epoch does not count for the pace: Keras compiles the model in it.
        self._first: dict[int, tuple[int, float]] = {}
        self._beginning = max(_FEWEST_EPOCHS, epochs // _SHARE)
        self._wilcoxon = WilcoxonPruner(epochs)
        self.line = (
            f"Pruner: until a trial is COMPLETE, the first {_SCREENED} end after {self._beginning} "
            f"of {epochs} epochs, and later ones that begin no better"
            f"{'' if deadline is None else f', if {_FIT} trainings fit into the time'}"
        )

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether to end the trial."""
        ran = [epoch + 1 for epoch in trial.intermediate_values]
        over = [epochs for epochs in ran if epochs >= self._beginning]
        has_just_begun = len(over) == 1 and over[0] <= _MOST * self._epochs
        has_time = self._has_time(trial.number, max(ran, default=0))
        if has_just_begun and has_time and self._is_screened(study, trial):
            return True
        return self._wilcoxon.prune(study, trial)

    def _has_time(self, number: int, epochs: int) -> bool:
        """Whether there is time for a trial with this many epochs to end after its beginning."""
        if self._deadline is None:
            return True
        left = self._deadline.seconds_left()
        before, then = self._first.setdefault(number, (epochs, left))
        if epochs == before:
            return False
        training = self._epochs * (then - left) / (epochs - before)
        return self._seconds >= _FIT * training and left >= _LEFT * training

    def _is_screened(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether a trial ends after its beginning."""
        trials = study.get_trials(deepcopy=False)
        first = TrialRecord(trial).first_try(trials)
        before = map(TrialRecord, trials[: first.number])
        place = sum(one.has_begun and one.retry_of is None for one in before)
        endings = {TrialRecord(one).ending for one in trials}
        may_all_go_on = not endings.isdisjoint(_ALLOWS_ALL) or place >= COMPARED
        if may_all_go_on or TrialRecord(first).fixed_params:
            return False
        if math.prod(map(space.size, trial.distributions.values())) < self._fewest:
            return False
        if place < _SCREENED:
            return True
        # A later one goes on if its best report so far is in the best quarter of all beginnings.
        last, sign = max(trial.intermediate_values), sign_of(study.direction)
        begun = [one for one in trials if max(one.intermediate_values, default=-1) >= last]
        best = [peak(one, range(last + 1), sign) for one in [trial, *begun]]
        own, *others = [math.inf if one is None else sign * one for one in best]
        rank = 1 + sum(one < own for one in others)
        return math.isinf(own) or rank > len(begun) / _BEST
