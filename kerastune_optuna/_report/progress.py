"""The progress of a search: nothing, or one line when it starts and one for each trial."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime

import optuna
from optuna.trial import FrozenTrial

from kerastune_optuna._check import count
from kerastune_optuna._report.text import say
from kerastune_optuna._signals import readable
from kerastune_optuna._storage import unless_away
from kerastune_optuna._study import Objective, Objectives, StudyRecord, TrialRecord

_NEVER = datetime.max  # for trials that were added without an end time


@dataclass(frozen=True)
class Plan:
    """Hold the aim and the size of a search.

    Args:
        study_name: The name of the study.
        objectives: Its objectives.
        size: The number of trials that it should have; None for no limit.
        epochs_in_all: How many epochs a trial runs in all of its trainings, unless it ends early.
        seconds: The time limit of the search in seconds; None for no limit.
    """

    study_name: str
    objectives: Objectives
    size: int | None
    epochs_in_all: int
    seconds: float | None = None


@dataclass(eq=False)
class Progress:
    """Pass the progress of a search to others, each of which shows or logs it; or to nobody.

    Args:
        others: Who gets it. Default: nobody.
    """

    others: Sequence[Progress] = field(default=(), kw_only=True)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Show the search while the block runs it."""
        with ExitStack() as stack:
            for other in self.others:
                stack.enter_context(other.running())
            yield

    def catch_up(self, *, waits: bool = False) -> None:
        """Look for trials that have ended, in whichever process.

        Args:
            waits: Whether to wait for a storage that is away, rather than leave them to the next
                call. Default False.
        """
        for other in self.others:
            other.catch_up(waits=waits)

    def note(self, line: str) -> None:
        """Receive a line of information."""
        for other in self.others:
            other.note(line)


@dataclass(eq=False)
class Told(Progress):
    """Receive each trial that ends from now on, once, whichever process ran it.

    Args:
        study: The study that is searched.
    """

    study: optuna.Study
    _told: set[int] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        self._told = {trial.number for trial in self._new(self.study.get_trials(deepcopy=False))}

    def trial(self, trial: FrozenTrial) -> None:
        """Receive a trial that ended; a subclass defines what that means."""

    def catch_up(self, *, waits: bool = False) -> None:
        """Read the study, and receive the trials that have ended since the last call."""
        trials: list[FrozenTrial] = []
        with nullcontext() if waits else unless_away():
            trials = self.study.get_trials(deepcopy=False)
        self._receive(trials)

    def _receive(self, trials: Sequence[FrozenTrial]) -> None:
        for trial in self._new(trials):
            self._told.add(trial.number)
            self.trial(trial)

    def _new(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Return those that have ended and are not received yet, in the order of their ends."""
        ended = [one for one in trials if one.state.is_finished() and TrialRecord(one).has_begun]
        new = [one for one in ended if one.number not in self._told]
        return sorted(new, key=lambda trial: (trial.datetime_complete or _NEVER, trial.number))


@dataclass(eq=False)
class Lines(Told):
    """Write the lines of one search.

    Args:
        study: The study that is searched.
        plan: The plan of the search.
        write: Takes a line. Default: print it.
    """

    plan: Plan
    write: Callable[[str], object] = say

    @contextmanager
    def running(self) -> Iterator[None]:
        """Write how much of an existing study is done, before the block runs."""
        if any(TrialRecord(one).has_begun for one in self.study.get_trials(deepcopy=False)):
            name, done = self.study.study_name, len(StudyRecord(self.study).finished)
            size = self.plan.size
            of = count(done, "trial") if size is None else f"{done} of {count(size, 'trial')}"
            line = f"Continuing study {name!r}: {of} done"
            if size is not None and done >= size:
                line = f"Study {name!r} has {of} done: pass a larger n_trials to continue"
            self.note(line)
        yield

    def trial(self, trial: FrozenTrial) -> None:
        """Write how a trial ended."""
        self.note(line_of(trial, self.plan.objectives.watched))

    def note(self, line: str) -> None:
        """Write a line of information."""
        self.write(readable(line))


def line_of(trial: FrozenTrial, objective: Objective) -> str:
    """Return how a trial ended, in one line."""
    record = TrialRecord(trial)
    if record.ending.is_run_again:
        end = f"{record.why}, to be run again"
    elif not record.ending.counts:
        end = f"failed: {record.why}"
    elif record.seconds is None:  # added by hand, or by a plain Optuna script
        end = f"{objective.name} {trial.values and objective.value_of(trial)}"
    else:
        end = f"{record.why}, {record.seconds:.1f} s"
        if record.best_value is not None:  # it is None if the trial broke a constraint
            end = f"{_found(record, objective)}, {end}"
    return f"Trial {trial.number}: {end}"


def _found(record: TrialRecord, objective: Objective) -> str:
    """Return a trial's value, and at which epoch or in how many trainings it was found."""
    value = f"{objective.name} {record.best_value:.4g}"
    if record.values is not None:
        return f"{value} ± {record.std or 0:.2g} in {len(record.values)} trainings"
    if record.best_epoch is None:  # of a builder's own fit, which may return a value alone
        return value
    return f"best {value} at epoch {record.best_epoch + 1}"
