"""The progress of a search: nothing, or one line when it starts and one for each trial."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import optuna
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna._check import count
from kerastune_optuna._report.text import say
from kerastune_optuna._signals import readable
from kerastune_optuna._storage import unless_away
from kerastune_optuna._study import Objective, TrialRecord, opening


class Progress:
    """Receive the progress of a search, and print nothing."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Show the search while the block runs it."""
        yield

    def trial(self, trial: FrozenTrial) -> None:
        """Receive a trial of this process that ended."""

    def catch_up(self) -> None:
        """Look for trials that ended in other processes."""

    def tell(self, line: str | None) -> None:
        """Receive a line of information, or None."""


class Lines(Progress):
    """Write the lines of one search.

    Args:
        study: The study that is searched.
        objective: Its objective.
        n_trials: The size that the study should reach; None for no limit.
        write: Takes a line. Default: print it.
    """

    def __init__(
        self,
        study: optuna.Study,
        objective: Objective,
        n_trials: int | None,
        write: Callable[[str], object] = say,
    ) -> None:
        self._say = write
        self._study = study
        self._objective = objective
        self._n_trials = n_trials
        self._told = {trial.number for trial in self._ended()}

    @contextmanager
    def running(self) -> Iterator[None]:
        """Write how much of an existing study is done, before the block runs."""
        if any(TrialRecord(one).has_begun for one in self._study.get_trials(deepcopy=False)):
            self._write(self._beginning())
        yield

    def _write(self, line: str) -> None:
        self._say(readable(line))

    def _beginning(self) -> str:
        name, done = self._study.study_name, len(opening.finished(self._study))
        if self._n_trials is None:
            return f"Continuing study {name!r}: {count(done, 'trial')} done"
        of = f"{done} of {count(self._n_trials, 'trial')} done"
        if done >= self._n_trials:
            return f"Study {name!r} has {of}: pass a larger n_trials to continue"
        return f"Continuing study {name!r}: {of}"

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

    def tell(self, line: str | None) -> None:
        """Write a line of information, if any."""
        if line is not None:
            self._write(line)

    def trial(self, trial: FrozenTrial) -> None:
        """Write how a trial ended."""
        self._told.add(trial.number)
        self._write(line_of(trial, self._objective))


class Both(Progress):
    """Pass the progress of a search to two others.

    Args:
        shown: Shows it to the user.
        logged: Writes it to the log, or calls the user's functions.
    """

    def __init__(self, shown: Progress, logged: Progress) -> None:
        self._each = (shown, logged)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let both show the search while the block runs it."""
        shown, logged = self._each
        with shown.running(), logged.running():
            yield

    def trial(self, trial: FrozenTrial) -> None:
        """Pass on a trial of this process that ended."""
        for one in self._each:
            one.trial(trial)

    def catch_up(self) -> None:
        """Let both look for trials that ended in other processes."""
        for one in self._each:
            one.catch_up()

    def tell(self, line: str | None) -> None:
        """Pass on a line of information, or None."""
        for one in self._each:
            one.tell(line)


def line_of(trial: FrozenTrial, objective: Objective) -> str:
    """Return how a trial ended, in one line."""
    record = TrialRecord(trial)
    if record.ending.is_run_again:
        end = f"{record.why}, to be run again"
    elif trial.state is TrialState.FAIL:
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
