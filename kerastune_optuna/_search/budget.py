"""The budget of a search: which trial may run next, exact for any number of workers.

Each trial is a slot, and only one worker gets it. Optuna numbers trials atomically. Workers may
take only the first `n_trials` slots that count, so that no race makes a study too large. The worker
that took the last slot lays out the next one, when it takes its slot or when it comes back for
another; other workers do so only if it does not come back for a while. So no slot is laid out twice
either.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from kerastune_optuna import _optuna, _signals
from kerastune_optuna._check import count
from kerastune_optuna._search import slots as _slots
from kerastune_optuna._search.stopping import StopConditions
from kerastune_optuna._study import Watch, liveness, opening, retry

# Not the global generator of the module random, which a trial seeds for the user's code: a wait
# that draws from it would change the training.
_chance = random.Random()
_PATIENCE = 0.5  # seconds for which others wait at least for the worker that took the last slot
_FIRST_PATIENCE = 0.05  # the same after the first slot of a study, whose worker lays out no other
_POLL = 0.02  # seconds between two looks at the slots
_POLL_OTHERS = 1.0  # seconds between two looks at the trials of other machines

# The threads of a process have the same signature: without the lock, each would lay out the slot
# after the one that its process took.
_one_thread = threading.Lock()


@dataclass(frozen=True)
class Budget:
    """Give workers trials to run, until the study has its size or the search should stop.

    Args:
        n_trials: Size of the study; None for no limit.
        ending: The conditions that may end the search before that.
        laid_out: Returns the only trials of a study that may run, ordered by number; they were laid
            out before with all their parameters. None (default) lays out slots for a sampler.
    """

    n_trials: int | None
    ending: StopConditions = field(default_factory=StopConditions)
    laid_out: Callable[[optuna.Study], list[FrozenTrial]] | None = None

    def slots(self, study: optuna.Study) -> list[FrozenTrial]:
        """Return the trials that count towards the size, ordered by number."""
        return (self.laid_out or _slots.of)(study)

    def _lacks_slots(self, slots: Sequence[FrozenTrial]) -> bool:
        """Whether the study has fewer slots than its size, which may have no limit."""
        is_small = self.n_trials is None or len(slots) < self.n_trials
        return self.laid_out is None and is_small

    def claim(self, study: optuna.Study, watch: Watch) -> Trial | None:
        """Return a trial to run, or None when nothing is left to do here."""
        if watch.is_due():
            self.reap(study, watch)
        turn = _Turn()
        for slots, free in self._looks(study):
            if (trial := _slots.take_one(study, free, self._lay_out_after)) is not None:
                return trial
            if free:  # others took them
                time.sleep(_POLL)
            elif self._lacks_slots(slots):
                self._lay_out_in_turn(study, watch, slots, turn)
            elif not self.reap(study, watch):
                running = [one for one in slots if one.state is TrialState.RUNNING]
                if not any(map(watch.is_in_doubt, running)):
                    return None
                time.sleep(_POLL_OTHERS)
        return None

    def _looks(self, study: optuna.Study) -> Iterator[tuple[list[FrozenTrial], list[FrozenTrial]]]:
        """Read and yield the slots, and those that are free, until no further trial may start."""
        while not self.ending.is_over():
            slots = self.slots(study)
            free = _slots.free(slots[: self.n_trials])
            is_any_left = any(map(_slots.is_enqueued, free)) or self.ending.may_go_on(study)
            if not is_any_left or self.ending.stop(study, asks=True):
                return
            yield slots, free

    def prepare(self, study: optuna.Study) -> None:
        """Lay out a slot if none is free: workers that start together would each lay out one."""
        self._lay_out_where(study, _is_none_free)

    def _lay_out_after(self, study: optuna.Study, taken: FrozenTrial) -> None:
        """Lay out the next slot if this worker took the last one."""

        def is_last(slots: Sequence[FrozenTrial]) -> bool:
            # Not before the builder has suggested parameters: there may be only one configuration.
            return any(map(_slots.has_asked, slots)) and slots[-1].number == taken.number

        self._lay_out_where(study, is_last)

    def _lay_out_in_turn(
        self, study: optuna.Study, watch: Watch, slots: Sequence[FrozenTrial], turn: _Turn
    ) -> None:
        """Lay out the next slot if none is free and it is this worker's turn."""
        if turn.has_come(slots):
            self._lay_out_where(study, _is_none_free)
        if watch.is_due():  # a dead worker will never suggest the parameters we wait for
            self.reap(study, watch)
        time.sleep(_POLL if slots else 0)

    def _lay_out_where(
        self, study: optuna.Study, is_due: Callable[[Sequence[FrozenTrial]], bool]
    ) -> None:
        """Lay out a slot, unless trials without parameters will try all configurations left.

        A slot for which no configuration is left would wait forever, or train one again.

        Args:
            study: The study.
            is_due: Returns whether another slot is needed after these.
        """
        with _one_thread:
            slots = self.slots(study)
            waiting = len(_slots.free(slots))
            is_wanted = is_due(slots) and self._lacks_slots(slots)
            if is_wanted and self.ending.may_go_on(study, waiting):
                retry.lay_out(study)

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
        while not self.ending.is_over():
            slots = self.slots(study)
            if self._lacks_slots(slots) or _slots.free(slots[: self.n_trials]):
                break
            theirs = {slot.number for slot in slots[: self.n_trials]}
            # A living process may have abandoned its trial, as where its search raised an error.
            running = [one for one in watch.running(study) if one.number in theirs]
            elsewhere = filter(liveness.is_signed_elsewhere, running)
            others = [one for one in elsewhere if not watch.has_lapsed(one)]
            # After reading the others: a trial whose lease had lapsed by then is reaped now.
            if self.reap(study, watch):
                return True
            if not others:
                return False
            if looks == 1:  # not at the first look: many trials end within a moment
                _tell_of(others, len(opening.finished(study)), self.n_trials)
            looks += 1
            time.sleep(_POLL_OTHERS)
        return looks > 0 and not self.ending.is_over()

    def make_up(self, study: optuna.Study, failed: FrozenTrial) -> None:
        """Lay out a slot in place of a failed trial, unless a slot is free already."""
        if not _slots.counts(failed):
            self._lay_out_where(study, _is_none_free)

    def reap(self, study: optuna.Study, watch: Watch) -> bool:
        """Fail the trials of dead processes, and lay them out again.

        Args:
            study: The study.
            watch: Watches the trials of other machines.

        Returns:
            Whether there were any.
        """
        lost = [trial for trial in watch.running(study) if watch.is_dead(trial)]
        # Read each trial again: its worker may have finished the trial since, and then ended.
        now = (_optuna.as_stored(study, trial) for trial in lost)
        dead = [trial for trial in now if trial.state is TrialState.RUNNING]
        return sum(self._reap_one(study, trial) for trial in dead) > 0

    def interrupt(self, study: optuna.Study, trial: Trial) -> None:
        """Fail a trial of this process, unless it is another's by now; lay it out again."""
        with suppress(UpdateFinishedTrialError):
            liveness.check_signature(_optuna.storage_of(study), _optuna.id_of(trial))
            self._reap_one(study, _optuna.as_stored(study, trial))

    def _reap_one(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        # If this process signed the trial, its worker did not die: the trial was interrupted.
        is_ours = retry.fail_and_retry(study, trial, has_died=not liveness.is_signed_here(trial))
        if is_ours:  # if the trial is not run again, another configuration takes its place
            self.make_up(study, _optuna.as_stored(study, trial))
        return is_ours


def _is_none_free(slots: Sequence[FrozenTrial]) -> bool:
    """Whether no slot may be taken."""
    return not _slots.free(slots)


class _Turn:
    """Decide when a waiting worker should lay out the next slot."""

    def __init__(self) -> None:
        self._seen: object = None
        self._moment = float("inf")

    def has_come(self, slots: Sequence[FrozenTrial]) -> bool:
        """Whether this process took the last slot, or the worker that took it is late.

        Args:
            slots: The slots of the study, of which none is free.
        """
        if not slots or liveness.is_signed_here(slots[-1]):
            return True
        last = slots[-1]
        seen = last.number, last.state, _slots.has_asked(last)
        if seen != self._seen:
            # The worker of the first trial laid out no slot: it did not know if there is a second
            # configuration.
            is_running = last.state is TrialState.RUNNING
            is_first = len(slots) == 1 and is_running and _slots.has_asked(last)
            patience = _FIRST_PATIENCE if is_first else _PATIENCE
            # A random wait, so that of several waiting workers one is the first.
            self._seen, self._moment = seen, time.monotonic() + patience * _chance.uniform(1, 2)
        return time.monotonic() > self._moment


def _tell_of(others: Sequence[FrozenTrial], done: int, size: int | None) -> None:
    """Print which trials a search waits for, and how to end the wait."""
    of = count(done, "trial") if size is None else f"{done} of {count(size, 'trial')}"
    where = ", ".join(f"trial {one.number} runs {liveness.whereabouts(one)}" for one in others)
    _signals.tell(
        f"{of} done; {where}. Waiting, to run a trial again here if its process dies; Ctrl-C ends "
        "only the wait."
    )
