"""The progress of a search: nothing, or one line when it starts and one for each trial."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna._check import count
from kerastune_optuna._report.text import say
from kerastune_optuna._storage import unless_away
from kerastune_optuna._study import Objective, TrialRecord, opening, retry


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
    """Print the lines of one search.

    Args:
        study: The study that is searched.
        objective: Its objective.
        n_trials: The size that the study should reach; None for no limit.
    """

    def __init__(self, study: optuna.Study, objective: Objective, n_trials: int | None) -> None:
        self._study = study
        self._objective = objective
        self._n_trials = n_trials
        self._told = {trial.number for trial in self._ended()}

    @contextmanager
    def running(self) -> Iterator[None]:
        """Print how much of an existing study is done, before the block runs."""
        if any(trial.state is not TrialState.WAITING for trial in self._study.get_trials(False)):
            say(self._beginning())
        yield

    def _beginning(self) -> str:
        name, done = self._study.study_name, len(opening.finished(self._study))
        if self._n_trials is None:
            return f"Continuing study {name!r}: {count(done, 'trial')} done"
        of = f"{done} of {count(self._n_trials, 'trial')} done"
        if done >= self._n_trials:
            return f"Study {name!r} has {of}: pass a larger n_trials to continue"
        return f"Continuing study {name!r}: {of}"

    def catch_up(self) -> None:
        """Print how trials ended that other processes have run since the last call."""
        ended: list[FrozenTrial] = []
        with unless_away():  # if it is away, the next call prints them
            ended = self._ended()
        for trial in ended:
            if trial.number not in self._told:
                self.trial(trial)

    def _ended(self) -> list[FrozenTrial]:
        trials = self._study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.state.is_finished()]

    def tell(self, line: str | None) -> None:
        """Print a line of information, if any."""
        if line is not None:
            say(line)

    def trial(self, trial: FrozenTrial) -> None:
        """Print how a trial ended."""
        self._told.add(trial.number)
        say(line_of(trial, self._objective))


def line_of(trial: FrozenTrial, objective: Objective) -> str:
    """Return how a trial ended, in one line."""
    record = TrialRecord(trial)
    if record.stop_reason in (retry.DIED, retry.INTERRUPTED):
        end = f"{record.why}, to be run again"
    elif trial.state is TrialState.FAIL:
        end = f"failed: {record.why}"
    elif record.seconds is None:  # added by hand, or by a plain Optuna script
        end = f"{objective.name} {trial.values and objective.value_of(trial)}"
    else:
        end = f"{record.why}, {record.seconds:.1f} s"
        if record.best_value is not None:  # it is None if the trial broke a constraint
            end = f"{objective.name} {record.best_value:.4g}{_found(record)}, {end}"
    return f"Trial {trial.number}: {end}"


def _found(record: TrialRecord) -> str:
    """Return where a value was found, at an epoch or in several trainings, if that is known.

    A builder's own fit may return a value without an epoch.
    """
    if record.values is not None:
        return f" ± {record.std or 0:.2g} in {len(record.values)} trainings"
    return "" if record.best_epoch is None else f" at epoch {record.best_epoch + 1}"
