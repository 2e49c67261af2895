"""What was tried, what is left to try, and which result is copied instead of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from weakref import WeakKeyDictionary

import optuna
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _optuna
from kerastune_optuna._search import space
from kerastune_optuna._search.worth import is_bad
from kerastune_optuna._study import Card, TrialRecord

_LATEST = 50  # trials by which we judge whether repeats are likely
_COPIED = (
    *(TrialRecord.best_value, TrialRecord.best_epoch, TrialRecord.epochs, TrialRecord.n_params),
    *(TrialRecord.flops, TrialRecord.seed, TrialRecord.fits),
    *(TrialRecord.values, TrialRecord.std, TrialRecord.seeds, TrialRecord.best_epochs),
)


def find_earlier(study: optuna.Study, trial: optuna.Trial) -> FrozenTrial | None:
    """Return an earlier trial that was trained with the same parameters as a new trial, if any.

    For a retry, only trials before its first try count as earlier.
    """
    distributions, params = trial.distributions, trial.params
    if not params:
        return None
    asked = space.places(distributions, params)
    trials = _optuna.known_trials(study)
    trials = trials[: TrialRecord(_optuna.as_known(trial)).first_try(trials).number]
    # A quick first check: most of thousands of trials differ in a parameter without steps.
    endless = (name for name in asked if math.isinf(space.size(distributions[name])))
    if (name := next(endless, None)) is not None:
        trials = [one for one in trials if one.params.get(name) == params[name]]
    same = [
        old
        for old in trials
        if old.distributions == distributions and space.places(distributions, old.params) == asked
        if (record := TrialRecord(old)).seed is not None and record.ending.is_own_result
        # What broke a constraint may be allowed now; if not, the new trial ends before it trains.
        if not record.breaks_constraint
    ]
    same = Card.like(study, TrialRecord(trial).card, same, surely=True)
    # COMPLETE trials are preferred to PRUNED ones, and earlier trials to later ones.
    return min(same, key=lambda one: one.state is not TrialState.COMPLETE, default=None)


def copy_result(trial: optuna.Trial, earlier: FrozenTrial) -> None:
    """Give a trial the reports and the attributes of an earlier trial."""
    for step, value in sorted(earlier.intermediate_values.items()):
        trial.report(value, step)
    for key in _COPIED:
        if key in earlier.user_attrs:
            trial.set_user_attr(key, earlier.user_attrs[key])
    own = TrialRecord(trial)
    own.epochs_run, own.stop_reason = 0, f"repeats trial {earlier.number}"
    own.repeat_of = earlier.number


@dataclass(repr=False)
class Node:
    """A node in a tree of the values tried, which knows whether any are left to try below it."""

    children: dict[float, Node] = field(default_factory=dict)
    is_closed: bool = False
    name: str = ""  # of the parameter that builders ask for here; empty until one asks
    size: float = math.inf

    def is_closed_for(self, places: Mapping[str, float]) -> bool:
        """Whether nothing is left to try with these values, whatever parameters follow them."""
        if self.is_closed:
            return True
        if self.name in places:
            child = self.children.get(places[self.name])
            return child is not None and child.is_closed_for(places)
        after = self.children.values()
        return len(after) >= self.size and all(one.is_closed_for(places) for one in after)

    def left(self) -> float:
        """Return the least number of configurations that are left; infinity if none was tried."""
        if self.is_closed:
            return 0
        begun = sum(child.left() for child in self.children.values())
        return self.size - len(self.children) + begun


@dataclass(eq=False, repr=False)
class Tree:
    """What trials have tried, and what is left to try.

    Args:
        begun: The trials, which have begun. For one that was cut off, its retry tries the same.
    """

    begun: list[FrozenTrial]

    @classmethod
    def of(cls, study: optuna.Study, card: str | None) -> Tree:
        """Return the tree of the trials as they were last read, made once for each reading.

        Args:
            study: The study.
            card: The key of a card: trials that surely had other data, arguments or code than its
                search are left out. None leaves none out.
        """
        trials = _optuna.known_trials(study)
        kept = _kept.get(study)
        if kept is None or kept[0] is not trials or kept[1] != card:
            begun = [one for one in trials if TrialRecord(one).has_begun]
            tree = cls(begun if card is None else Card.like(study, card, begun))
            kept = _kept[study] = trials, card, tree
        return kept[2]

    @cached_property
    def root(self) -> Node:
        """The root of the tree, in which a configuration is tried once a trial has asked for it.

        A trial with a parameter that has neither steps nor choices is left out unless it is bad.
        """
        # If each of the latest trials has a parameter without steps, repeats are rare, and training
        # a repeat costs less than looking at thousands of trials each time.
        latest = self.begun[-_LATEST:]
        may_repeat = all(map(space.is_finite, self.begun))
        may_repeat |= any(one.distributions and space.is_finite(one) for one in latest)
        root = Node()
        for trial in self.begun:
            if not (is_bad(trial) or (may_repeat and space.is_finite(trial))):
                continue
            path = [root]
            for name, distribution in trial.distributions.items():
                node, count = path[-1], space.size(distribution)
                if not node.name:
                    node.name, node.size = name, count
                elif (name, count) != (node.name, node.size):
                    node.size = math.inf  # the builder has changed, so more values may be left
                place = space.place_of(distribution, trial.params[name])
                path.append(node.children.setdefault(place, Node()))
            *before, end = path
            # A trial that failed in its builder may stop at a node that other trials went through.
            end.is_closed = end.is_closed or (bool(before) and not end.children)
            for node in reversed(before):
                node.is_closed = False
                node.is_closed = node.is_closed_for({})
        return root

    @cached_property
    def asking(self) -> list[FrozenTrial]:
        """The running trials of our workers that may still ask for parameters."""
        running = (one for one in self.begun if one.state is TrialState.RUNNING)
        ours = [one for one in running if not TrialRecord(one).is_foreign]
        # A builder's own fit may ask for more parameters after the model is built.
        return [one for one in ours if TrialRecord(one).epochs is None or self._goes_on_after(one)]

    def _goes_on_after(self, trial: FrozenTrial) -> bool:
        """Whether other trials with the same values as this one asked for more parameters."""
        node: Node | None = self.root
        for name, distribution in trial.distributions.items():
            place = space.place_of(distribution, trial.params[name])
            node = node and node.children.get(place)
        return bool(node and node.name)

    def is_left(self, before: float | None = None, *, waits: bool = False) -> bool:
        """Whether a configuration may be left to try.

        Args:
            before: The number of a trial: is one left for it if each earlier trial that still asks
                for parameters gets one? None (default) asks whether any is left, or may be.
            waits: Whether to suppose that there is only one configuration while no builder has
                asked. Default False.
        """
        if not all(map(space.is_finite, self.begun)):
            return True
        if before is None:
            return not self.root.is_closed or bool(self.asking)
        left = 1 if waits and not self.root.children else self.root.left()
        return left > sum(one.number < before for one in self.asking)


# The latest reading of the trials of a study, the card that was asked for, and the tree.
_kept: WeakKeyDictionary[optuna.Study, tuple[list[FrozenTrial], str | None, Tree]]
_kept = WeakKeyDictionary()
