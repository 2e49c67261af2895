"""The progress of a search: nothing, or one line when it starts and one for each trial."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import optuna
from optuna.trial import FrozenTrial

from kerastune_optuna._check import count
from kerastune_optuna._report.text import say
from kerastune_optuna._signals import readable
from kerastune_optuna._storage import unless_away
from kerastune_optuna._study import Objective, StudyRecord, TrialRecord


@dataclass(frozen=True)
class Plan:
    """Hold the aim and the size of a search, and how many trials were done before it.

    Args:
        study_name: The name of the study.
        objective: Its objective.
        size: The number of trials that it should have; None for no limit.
        epochs_in_all: How many epochs a trial runs in all of its trainings, unless it ends early.
        seconds: The time limit of the search in seconds; None for no limit.
        done: How many trials were done when the search began.
        others: Further objectives of the study, if there are several.
    """

    study_name: str
    objective: Objective
    size: int | None
    epochs_in_all: int
    seconds: float | None = None
    done: int = 0
    others: Sequence[Objective] = ()


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

    def trial(self, trial: FrozenTrial) -> None:
        """Receive a trial of this process that ended."""
        for other in self.others:
            other.trial(trial)

    def catch_up(self) -> None:
        """Look for trials that ended in other processes."""
        for other in self.others:
            other.catch_up()

    def note(self, line: str) -> None:
        """Receive a line of information."""
        for other in self.others:
            other.note(line)


class Lines(Progress):
    """Write the lines of one search.

    Args:
        study: The study that is searched.
        plan: The plan of the search.
        write: Takes a line. Default: print it.
    """

    def __init__(
        self, study: optuna.Study, plan: Plan, write: Callable[[str], object] = say
    ) -> None:
        self._study, self._plan, self._write = study, plan, write
        self._told = {trial.number for trial in self._ended()}

    @contextmanager
    def running(self) -> Iterator[None]:
        """Write how much of an existing study is done, before the block runs."""
        if any(TrialRecord(one).has_begun for one in self._study.get_trials(deepcopy=False)):
            name, done = self._study.study_name, len(StudyRecord(self._study).finished)
            size = self._plan.size
            of = count(done, "trial") if size is None else f"{done} of {count(size, 'trial')}"
            line = f"Continuing study {name!r}: {of} done"
            if size is not None and done >= size:
                line = f"Study {name!r} has {of} done: pass a larger n_trials to continue"
            self.note(line)
        yield

    def trial(self, trial: FrozenTrial) -> None:
        """Write how a trial ended."""
        self._told.add(trial.number)
        self.note(line_of(trial, self._plan.objective))

    def catch_up(self) -> None:
        """Write how trials ended that other processes have run since the last call."""
        ended: list[FrozenTrial] = []
        with unless_away():  # if it is away, the next call prints them
            ended = self._ended()
        for trial in ended:
            if trial.number not in self._told:
                self.trial(trial)

    def _ended(self) -> list[FrozenTrial]:
        trials = self._study.get_trials(deepcopy=False)
        return [one for one in trials if one.state.is_finished() and TrialRecord(one).has_begun]

    def note(self, line: str) -> None:
        """Write a line of information."""
        self._write(readable(line))


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
