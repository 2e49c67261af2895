"""The budget of a search: which trial may run next, exact for any number of workers.

A worker asks, then looks. It takes a WAITING trial if there is one. Else, if fewer than `n_trials`
trials count, it begins a new one, and then reads the numbers, which Optuna gives out atomically: if
`n_trials` trials with lower numbers count, other workers were first, and it gives its trial up. So
workers need not wait for each other, and no race makes a study too large.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from kerastune_optuna import _optuna, _signals
from kerastune_optuna._check import count
from kerastune_optuna._search.stopping import StopConditions
from kerastune_optuna._study import (
    StudyRecord,
    TrialRecord,
    Watch,
    fail_and_retry,
    idle_retries,
    machine,
    own_runs,
)

# Not the global generator of the module random, which a trial seeds for the user's code: a wait
# that draws from it would change the training.
_chance = random.Random()
_PATIENCE = 1.0  # seconds for which workers wait for the first builder to ask for a parameter
_POLL = 0.5  # seconds between two looks of a worker that waits for what others do
_POLL_OTHERS = 1.0  # seconds between two looks at the trials of other machines


@dataclass(frozen=True)
class Budget:
    """Give workers trials to run, until the study has its size or the search should stop.

    Args:
        n_trials: Size of the study; None for no limit.
        conditions: The conditions that may end the search before that.
        laid_out: Returns the only trials of a study that may run, ordered by number; they were laid
            out before with all their parameters. None (default) begins new ones for a sampler.
    """

    n_trials: int | None
    conditions: StopConditions = field(default_factory=StopConditions)
    laid_out: Callable[[optuna.Study], list[FrozenTrial]] | None = None

    def counted(self, study: optuna.Study) -> list[FrozenTrial]:
        """Read and return the trials that count towards the size of the study, by number.

        A trial that other code runs counts only once it has ended, since its process may be gone.
        """
        if self.laid_out is not None:
            return self.laid_out(study)
        trials = _optuna.known_trials(study, anew=True)
        is_any_free = any(one.state is TrialState.WAITING for one in trials)
        idle = idle_retries(trials) if is_any_free else set()
        return [
            trial
            for trial in trials
            if trial.state is not TrialState.FAIL
            and not (trial.state is TrialState.RUNNING and TrialRecord(trial).is_foreign)
            and trial.number not in idle
        ]

    def _has_room(self, count: int) -> bool:
        """Whether the study may have a new trial if so many count."""
        return self.laid_out is None and (self.n_trials is None or count < self.n_trials)

    def claim(self, study: optuna.Study, watch: Watch) -> Trial | None:
        """Return a trial to run, or None when nothing is left to do here."""
        until = time.monotonic() + _PATIENCE
        while not self.conditions.is_over():
            if watch.is_due():  # others wait in vain for what a dead worker was to do
                self.reap(study, watch)
            counted = self.counted(study)
            waiting = [one for one in counted[: self.n_trials] if one.state is TrialState.WAITING]
            waiting.sort(key=_is_enqueued, reverse=True)
            is_wanted = any(map(_is_enqueued, waiting)) or self.conditions.may_go_on(study)
            if not is_wanted or self.conditions.stop(study, asks=True) is not None:
                return None
            has_room = not waiting and self._has_room(len(counted))
            asked = _take_one(study, waiting) if waiting else None
            if has_room:
                asked = self._begin(study, until)
            if asked is not None:
                # Trial() calls the sampler, which may raise, or take so long that others take this
                # process for dead, and fail the trial.
                with suppress(UpdateFinishedTrialError), ExitStack() as undo:
                    undo.callback(own_runs.leave, _optuna.storage_of(study), asked)
                    trial = Trial(study, asked)
                    undo.pop_all()
                    return trial
            if waiting:  # other workers took the waiting trials
                continue
            running = [one for one in counted if one.state is TrialState.RUNNING]
            is_left = bool(running) and all(map(watch.is_left, running))
            may_die = not has_room and (
                self.reap(study, watch) or any(map(watch.is_in_doubt, running))
            )
            if not may_die and (is_left or not has_room):
                return None
            time.sleep(_POLL * _chance.uniform(0.5, 1))
        return None

    def _begin(self, study: optuna.Study, until: float) -> int | None:
        """Begin a new trial and return its id; give it up if it turns out to be one too many.

        Trials that still ask for parameters may get the last configurations that are left: a
        further one would train one of them again.

        Args:
            study: The study.
            until: The moment until which to wait for the first builder to ask for a parameter: it
                may have one configuration only, or load its data for long before it asks.
        """
        waits = time.monotonic() < until
        if not self.conditions.may_go_on(study, before=math.inf, waits=waits):
            return None
        own = own_runs.begin(study)
        number = _optuna.storage_of(study).get_trial_number_from_id(own)
        earlier = sum(one.number < number for one in self.counted(study))
        if self._has_room(earlier) and self.conditions.may_go_on(study, number, waits=waits):
            return own
        own_runs.withdraw(study, own)
        return None

    def wait_for_others(self, study: optuna.Study, watch: Watch) -> bool:
        """Wait while all the remaining trials run in other processes.

        Without this wait, nobody would be left to run a trial again if its machine vanishes.

        Args:
            study: The study.
            watch: Watches the trials of other machines.

        Returns:
            Whether there may be a trial to run here now.
        """
        looks = 0
        while not self.conditions.is_over():
            counted = self.counted(study)
            needed = counted[: self.n_trials]
            is_any_free = any(one.state is TrialState.WAITING for one in needed)
            if is_any_free or self._has_room(len(counted)):
                break
            numbers = {one.number for one in needed}
            # A living process may have abandoned its trial, as where its search raised an error.
            running = [one for one in watch.running(study) if one.number in numbers]
            elsewhere = filter(watch.is_elsewhere, running)
            others = [one for one in elsewhere if not watch.has_lapsed(one)]
            # After reading the others: a trial whose lease had lapsed by then is reaped now.
            if self.reap(study, watch):
                return True
            if not others:
                return False
            if looks == 1:  # not at the first look: many trials end within a moment
                _print_wait(others, len(StudyRecord(study).finished), self.n_trials)
            looks += 1
            time.sleep(_POLL_OTHERS)
        return looks > 0 and not self.conditions.is_over()

    def reap(self, study: optuna.Study, watch: Watch) -> bool:
        """Fail the trials of dead processes, and lay them out again.

        Args:
            study: The study.
            watch: Watches the trials of other machines.

        Returns:
            Whether any trial was failed.
        """
        lost = [trial for trial in watch.running(study) if watch.is_dead(trial)]
        # Read each trial again: its worker may have finished the trial since, and then ended.
        now = (_optuna.as_stored(study, trial) for trial in lost)
        dead = [trial for trial in now if trial.state is TrialState.RUNNING]
        return sum(self._reap_one(study, trial) for trial in dead) > 0

    def interrupt(self, study: optuna.Study, trial: Trial) -> None:
        """Fail a trial of this process, unless another process runs it by now; lay it out again."""
        with suppress(UpdateFinishedTrialError):
            own_runs.check(_optuna.storage_of(study), _optuna.id_of(trial))
            self._reap_one(study, _optuna.as_stored(study, trial))

    def _reap_one(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Fail a trial whose process left it, and lay it out again unless it was one too many."""
        earlier = sum(one.number < trial.number for one in self.counted(study))
        is_wanted = self._has_room(earlier) and self.conditions.may_go_on(study, trial.number)
        is_needed = self.laid_out is not None or is_wanted
        if not is_needed and not TrialRecord(trial).params:
            return own_runs.withdraw(study, _optuna.id_of(trial))
        # If this process signed the trial, its worker did not die: the trial was interrupted. If
        # nobody signed it, the database gave it to a worker, but the answer got lost.
        return fail_and_retry(study, trial, has_died=Watch.is_elsewhere(trial))


def _is_enqueued(trial: FrozenTrial) -> bool:
    """Whether a WAITING trial has parameters already, from the user or from an earlier worker."""
    return bool(TrialRecord(trial).fixed_params)


def _take_one(study: optuna.Study, waiting: Sequence[FrozenTrial]) -> int | None:
    """Take one of the WAITING trials, and return its id; None if other workers took them all."""
    storage = _optuna.storage_of(study)
    for trial in waiting:
        trial_id = _optuna.id_of(trial)
        with suppress(UpdateFinishedTrialError):  # another worker took it, and it has ended
            if TrialRecord(trial).slot is None:  # the user's own study.enqueue_trial() made it
                storage.set_trial_system_attr(trial_id, TrialRecord.slot, machine())
            # Optuna's storages let only one worker do this.
            if storage.set_trial_state_values(trial_id, TrialState.RUNNING):
                # Before the sampler draws, which may take long: an unsigned trial gets no beats,
                # and other processes cannot tell which process to look for.
                own_runs.sign(study, trial_id)
                return trial_id
    return None


def _print_wait(others: Sequence[FrozenTrial], done: int, size: int | None) -> None:
    """Print which trials a search waits for, and how to end the wait."""
    of = count(done, "trial") if size is None else f"{done} of {count(size, 'trial')}"
    where = ", ".join(f"trial {one.number} runs {Watch.whereabouts(one)}" for one in others)
    _signals.print_line(
        f"{of} done; {where}. Waiting, to run a trial again here if its process dies; Ctrl-C ends "
        "only the wait."
    )
