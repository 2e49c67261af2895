"""The budget of a search: which trial may run next, exact for any number of workers.

Each trial is a slot. A WAITING one is free, and the worker that sets it to RUNNING has it: that
step is atomic in Optuna's databases and journals, and `claim` makes it so elsewhere. Optuna numbers
trials atomically too. Only the first `n_trials` slots that count may be taken, so that no race
makes a study too large. The worker that took the last slot lays out the next one, when it takes its
own or when it comes back; others do so only where it does not come for a while. So no slot is laid
out twice either.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import ClassVar

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import GridSampler
from optuna.trial import FrozenTrial, Trial, TrialState

from kerastune_optuna import _optuna, _signals
from kerastune_optuna._check import count
from kerastune_optuna._exceptions import TooManyFailuresError
from kerastune_optuna._search import finished_trials
from kerastune_optuna._search import points as _points
from kerastune_optuna._search.grid import Grid, is_grid
from kerastune_optuna._search.stopping import Deadline, Ending
from kerastune_optuna._storage import database
from kerastune_optuna._study import (
    N_PARAMS,
    Watch,
    are_broken,
    divergence,
    is_claimed,
    lay_out,
    liveness,
    opening,
    record,
    retry,
    take,
    was_cut_off,
)

# Not the generator of the module random, which a trial seeds for the user's code: a wait that draws
# from it would change the training.
_chance = random.Random()
_PATIENCE = 0.5  # seconds for which others wait at least for who took the last slot
_FIRST_PATIENCE = 0.05  # the same for who took the first slot of a study, and lays out no other
_POLL = 0.02  # seconds between two looks at the slots
_POLL_OTHERS = 1.0  # seconds between two looks at the trials of other machines


@dataclass(frozen=True)
class Budget:
    """Hold what ends a search.

    Args:
        n_trials: Size of the study; None for no limit.
        deadline: After which no trial starts; None for no limit.
        max_failed_trials: How many trials may fail in a row; None for ten, or two alike before any
            succeeds.
        first_trial: Number of the first trial of this search: earlier failures do not count.
        ending: What may end it before all of this is spent.
    """

    draws: ClassVar[bool] = True  # whether the sampler chooses the parameters of its trials

    n_trials: int | None
    deadline: Deadline | None
    max_failed_trials: int | None
    first_trial: int = 0
    ending: Ending = field(default_factory=Ending)

    @property
    def runs_all(self) -> bool:
        """Whether it runs all its trials, unless one is good enough or the user stops it."""
        return self.deadline is None and not self.ending.gives_up

    @property
    def most_failures(self) -> int:
        """How many trials may fail in a row, and workers die."""
        return self.max_failed_trials or divergence.MOST

    def claim(self, study: optuna.Study, watch: Watch) -> Trial | None:
        """Return a trial to run, or None when the budget is spent."""
        if watch.is_due():
            self.reap(study, watch)
        size = self.size(study)
        if size is None:
            return self._claim_any(study, watch)
        return self._claim_slot(study, watch, size)

    def _looks(self, study: optuna.Study, watch: Watch) -> Iterator[list[FrozenTrial]]:
        """Yield the slots at each look, until no further trial may start."""
        while not self.is_over():
            slots = _slots(study)
            # These are asked of the trials that _slots() has just read.
            if self._is_nothing_left(study, slots) or self.ending.stop(study, asks=True):
                return
            yield slots

    def _is_nothing_left(self, study: optuna.Study, slots: Sequence[FrozenTrial]) -> bool:
        """Whether all configurations were tried, and the user has enqueued none of them again."""
        if self.ending.may_go_on(study, 0):
            return False
        free = _free(study, slots[: self.size(study)])
        return not any(_points.order(one) == _points.ENQUEUED for one in free)

    def prepare(self, study: optuna.Study) -> None:
        """Lay out a slot where none is free: workers that start at once would each do so."""
        slots = _slots(study)
        if not _free(study, slots):
            self._lay_out_next(study, slots)

    def _claim_any(self, study: optuna.Study, watch: Watch) -> Trial | None:
        """Return a trial of a study without a size, where each worker lays out its own slots."""
        for slots in self._looks(study, watch):
            if (trial := take_one(study, _free(study, slots))) is not None:
                return trial
            lay_out(study)
        return None

    def _claim_slot(self, study: optuna.Study, watch: Watch, size: int) -> Trial | None:
        turn = _Turn()
        for slots in self._looks(study, watch):
            free = _free(study, slots[:size])
            if (trial := take_one(study, free, self._lay_out_after)) is not None:
                return trial
            if len(slots) >= size and not free and not self.reap(study, watch):
                if not _is_any_in_doubt(study, watch):
                    return None
                time.sleep(_POLL_OTHERS)
            if len(slots) < size and not free:
                self._lay_out_in_turn(study, watch, slots, turn)
            time.sleep(_POLL if slots else 0)
        return None

    def _lay_out_after(self, study: optuna.Study, taken: FrozenTrial) -> None:
        """Lay out the next slot where this worker took the last one."""
        slots = _slots(study)
        # The first trial may find that its configuration is the only one.
        if any(map(_has_asked, slots)) and slots[-1].number == taken.number:
            self._lay_out_next(study, slots)

    def _lay_out_in_turn(
        self, study: optuna.Study, watch: Watch, slots: Sequence[FrozenTrial], turn: _Turn
    ) -> None:
        """Lay out the next slot where none is free, and it is for this worker to do."""
        if turn.has_come(slots):
            self._lay_out_next(study, slots)
        if watch.is_due():  # what a dead worker was about to ask for is never known
            self.reap(study, watch)

    def _lay_out_next(self, study: optuna.Study, slots: Sequence[FrozenTrial]) -> None:
        """Lay out a slot, unless the trials that have not asked yet will ask for all that is left.

        A slot for which nothing is left would wait for ever, or train a configuration again.
        """
        size = self.size(study)
        unasked = sum(map(_is_unasked, finished_trials.not_ended(study, slots)))
        if size is not None and len(slots) < size and self.ending.may_go_on(study, unasked):
            lay_out(study)

    def wait_for_others(self, study: optuna.Study, watch: Watch) -> bool:
        """Wait where all that is left to do is running in other processes.

        Without this wait nobody would be left to run a trial again whose machine vanishes.

        Args:
            study: The study.
            watch: What has been seen of the trials of other machines.

        Returns:
            Whether there may be something to run here now.
        """
        looks = 0
        while not self.is_over() and self._is_left_to_others(study):
            others = self._at_work_elsewhere(study, watch)
            # After the look at others: a trial whose lease had lapsed then is reaped now.
            if self.reap(study, watch):
                return True
            if not others:
                return False
            if looks == 1:  # only at the second look: many end in a moment
                _tell_of(others, len(opening.finished(study)), self.size(study))
            looks += 1
            time.sleep(_POLL_OTHERS)
        return looks > 0 and not self.is_over()

    def _is_left_to_others(self, study: optuna.Study) -> bool:
        """Whether no slot is free, nor missing."""
        size, slots = self.size(study), _slots(study)
        return size is not None and len(slots) >= size and not any(map(is_free, slots[:size]))

    def _at_work_elsewhere(self, study: optuna.Study, watch: Watch) -> list[FrozenTrial]:
        """Return the trials of this budget's size that another process runs, and beats for."""
        theirs = {slot.number for slot in _slots(study)[: self.size(study)]}
        # A process that lives may have left its trial, as where its search broke off.
        running = [one for one in watch.running(study) if one.number in theirs]
        elsewhere = filter(liveness.is_signed_elsewhere, running)
        return [one for one in elsewhere if not watch.has_lapsed(one)]

    def make_up(self, study: optuna.Study, failed: FrozenTrial) -> None:
        """Lay out a slot in place of a failed trial where no worker is about to do so."""
        if _counts(study, failed):
            return
        slots, size = _slots(study), self.size(study)
        free = any(slot.state is TrialState.WAITING for slot in slots)
        if size is not None and len(slots) < size and not free:
            lay_out(study)

    def reap(self, study: optuna.Study, watch: Watch) -> bool:
        """Fail the trials of dead processes, and lay them out again.

        Args:
            study: The study.
            watch: What has been seen of the trials of other machines.

        Returns:
            Whether there were any.
        """
        lost = [trial for trial in _taken(study, watch) if _is_lost(trial, watch)]
        # Read a trial once more: its worker may be gone because it ended the trial well meanwhile.
        dead = [trial for trial in lost if is_taken(_optuna.as_stored(study, trial))]
        return sum(self._reap_one(study, trial, _why(trial)) for trial in dead) > 0

    def interrupt(self, study: optuna.Study, trial: Trial) -> None:
        """Leave a trial of this process to be resumed."""
        self._reap_one(study, _optuna.as_stored(study, trial), retry.INTERRUPTED)

    def _reap_one(self, study: optuna.Study, trial: FrozenTrial, reason: str) -> bool:
        is_ours = retry.fail_and_retry(study, trial, reason)
        if is_ours:  # where it is not run again, another configuration takes its place
            self.make_up(study, _optuna.as_stored(study, trial))
        return is_ours

    def check_failures(self, study: optuna.Study) -> None:
        """Raise where the last trials of this search failed one after the other.

        Raises:
            TooManyFailuresError: There were `max_failed_trials` of them; or, where that is None,
                two of one cause before any trial succeeded, or could still succeed.
        """
        trials, most = study.get_trials(deepcopy=False), self.most_failures
        if self.max_failed_trials is None and not any(map(_succeeded, trials)):
            _check_alike(trials[self.first_trial :], trials)
        trials = trials[self.first_trial :]
        last = [one for one in trials if finished_trials.by_itself(one)][-most:]
        if len(last) < most:
            return
        if all(trial.state is TrialState.FAIL for trial in last):
            reason = last[-1].user_attrs.get(record.STOP_REASON, "unknown")
            raise TooManyFailuresError(
                f"{_in_a_row(len(last))} (trial {last[-1].number}) with: "
                f"{reason.rstrip('.')}. Mend build_model or its ranges; search() then goes on. "
                "max_failed_trials= allows more."
            )

    def check_values(self, study: optuna.Study) -> None:
        """Raise where enough trials of this search ended, and all of them failed or diverged.

        Raises:
            TooManyFailuresError: There were `max_failed_trials` of them; or, where that is None,
                two whose data has values that are not finite.
        """
        trials = study.get_trials(deepcopy=False)
        divergence.check(_tried(trials[self.first_trial :]), self.max_failed_trials, trials)

    def is_over(self) -> bool:
        """Whether no further trial may start, whatever is left to do."""
        return self.is_late() or _signals.requested()

    def is_late(self) -> bool:
        """Whether the time for the search is over."""
        return self.deadline is not None and self.deadline.has_passed()

    def size(self, study: optuna.Study) -> int | None:
        """Return how many slots there may be: no more than a grid has points."""
        if isinstance(study.sampler, Grid):
            points = len(_slots(study))  # lay_out_grid() has laid them all out before
        elif isinstance(study.sampler, GridSampler):
            points = _optuna.size_of_grid(study.sampler)
        else:
            return self.n_trials
        return points if self.n_trials is None else min(points, self.n_trials)


class _Turn:
    """Tell when it is for a worker that waits to lay out the next slot."""

    def __init__(self) -> None:
        self._seen: object = None
        self._moment = float("inf")

    def has_come(self, slots: Sequence[FrozenTrial]) -> bool:
        """Whether it has: this process took the last slot, or who took it has not come for long.

        Args:
            slots: Those of the study; none of them is free.
        """
        if not slots or liveness.is_signed_here(slots[-1]):
            return True
        last = slots[-1]
        seen = last.number, last.state, _has_asked(last)
        if seen != self._seen:
            # Who runs the first trial did not know whether there is a second configuration.
            is_first = len(slots) == 1 and is_taken(last) and _has_asked(last)
            patience = _FIRST_PATIENCE if is_first else _PATIENCE
            # Of several that wait, one is to be the first.
            self._seen, self._moment = seen, time.monotonic() + patience * _chance.uniform(1, 2)
        return time.monotonic() > self._moment


def _slots(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that count towards the size of the study, by their numbers."""
    trials = _optuna.known_trials(study, anew=True)
    others = finished_trials.unusual(study, trials)  # a usual trial counts
    left_out = {one.number for one in others if not _counts(study, one)} | _points.doubles(others)
    left_out |= {one.number for one in _left_running(study, others)}
    left_out |= retry.idle_retries(trials, finished_trials.not_ended(study, trials))
    return [one for one in trials if one.number not in left_out] if left_out else trials


def _left_running(study: optuna.Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the RUNNING trials of other code of which nothing says that it lives."""
    running = (one for one in trials if one.state is TrialState.RUNNING)
    if not (foreign := list(filter(liveness.is_foreign, running))):
        return foreign  # without a query
    held = database.held(_optuna.storage_of(study), set(map(_optuna.id_of, foreign)))
    return [one for one in foreign if _optuna.id_of(one) not in held]


def told_of_left(study: optuna.Study) -> str | None:
    """Return the line on trials that other code left RUNNING; None where there are none."""
    left = _left_running(study, study.get_trials(deepcopy=False))
    numbers = ", ".join(str(one.number) for one in left)
    what = count(len(left), "RUNNING trial")
    return f"Not counted: {what} of other code without a heartbeat ({numbers})" if left else None


def room(study: optuna.Study, n_trials: int | None) -> int | None:
    """Return how many trials may be added to a study of this size; None for no limit."""
    return None if n_trials is None else max(0, n_trials - len(_slots(study)))


def _counts(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Whether a trial counts: a failed one only where its point of a grid would fail again."""
    if trial.state is TrialState.FAIL:
        return is_grid(study.sampler) and not was_cut_off(trial)
    # A grid has no use for the slot that a search with another sampler left behind.
    is_left = trial.state is TrialState.WAITING and _points.order(trial) == _points.FREE
    return not (is_left and isinstance(study.sampler, Grid))


def _tried(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials whose own training decided how they ended, by their numbers."""
    own = [one for one in trials if record.REPEAT_OF not in one.user_attrs and not are_broken(one)]
    return [one for one in own if finished_trials.by_itself(one) and divergence.has_begun(one)]


def check_study(study: optuna.Study) -> None:
    """Raise where trials of the study ended, and none was trained, or all failed or diverged.

    Raises:
        TooManyFailuresError: Says how the last one ended.
    """
    trials = study.get_trials(deepcopy=False)
    divergence.check_trained(list(filter(finished_trials.by_itself, trials)))
    if tried := _tried(trials):
        divergence.check(tried, 1)


def _succeeded(trial: FrozenTrial) -> bool:
    """Whether a trial showed that the code, the data and the arguments can work."""
    is_done = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    # A trial that broke a constraint was not trained, and has neither values nor reports.
    return is_done and (trial.values is not None or bool(trial.intermediate_values))


def _check_alike(trials: Sequence[FrozenTrial], others: Sequence[FrozenTrial]) -> None:
    """Raise where two trials failed with the same error, as all others would."""
    by_cause: dict[str | None, list[FrozenTrial]] = defaultdict(list)
    for trial in trials:
        by_cause[trial.system_attrs.get(record.SAMENESS)].append(trial)
    by_cause.pop(None, None)
    for first, *more in by_cause.values():
        if more and not divergence.is_any_to_succeed(others, more[0]):
            raise TooManyFailuresError(
                f"{len(more) + 1} trials failed with the same error before any succeeded: "
                f"{first.user_attrs[record.STOP_REASON].rstrip('.')}. Mend build_model, the data "
                "or the arguments; the same call then goes on. Where other configurations work, "
                "enqueue() lets one of them go first in a search, or max_failed_trials= says how "
                "many may fail."
            )


def _in_a_row(n: int) -> str:
    return f"{n} trials failed in a row, the last one" if n > 1 else "The trial failed"


def _why(dead: FrozenTrial) -> str:
    """Return why nobody runs a trial: one that this living process signed was interrupted."""
    return retry.INTERRUPTED if liveness.is_signed_here(dead) else retry.DIED


def _is_unasked(trial: FrozenTrial) -> bool:
    """Whether the builder of a trial may still ask for parameters."""
    return not trial.state.is_finished() and N_PARAMS not in trial.user_attrs


def _has_asked(trial: FrozenTrial) -> bool:
    """Whether a trial's builder has asked for parameters, or for none."""
    return bool(trial.params) or trial.state.is_finished()


def is_free(trial: FrozenTrial) -> bool:
    """Whether a trial waits, and nobody is about to take it."""
    return trial.state is TrialState.WAITING and not is_claimed(trial)


def _free(study: optuna.Study, slots: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the slots that may be taken, in the order in which workers are to take them."""
    return sorted(filter(is_free, finished_trials.not_ended(study, slots)), key=_points.order)


def is_taken(trial: FrozenTrial) -> bool:
    """Whether a worker runs a trial, or is about to."""
    return trial.state is TrialState.RUNNING or is_claimed(trial)


def _tell_of(others: Sequence[FrozenTrial], done: int, size: int | None) -> None:
    """Say what a search waits for, and how to end that."""
    of = count(done, "trial") if size is None else f"{done} of {count(size, 'trial')}"
    where = ", ".join(f"trial {one.number} runs {liveness.whereabouts(one)}" for one in others)
    _signals.tell(
        f"{of} done; {where}. Waiting for the end, to run again here what dies there; Ctrl-C ends "
        "the waiting alone."
    )


def _taken(study: optuna.Study, watch: Watch) -> list[FrozenTrial]:
    """Return the trials that a worker runs, or is about to run."""
    return list(filter(is_taken, watch.unfinished(study)))


def _is_lost(trial: FrozenTrial, watch: Watch) -> bool:
    """Whether nobody runs a trial that was taken, nor is about to."""
    return watch.has_lapsed(trial) if is_claimed(trial) else watch.is_dead(trial)


def _is_any_in_doubt(study: optuna.Study, watch: Watch) -> bool:
    """Whether a trial of another machine may have to be run again."""
    return any(is_claimed(one) or watch.is_in_doubt(one) for one in _taken(study, watch))


def take_one(
    study: optuna.Study,
    free: Sequence[FrozenTrial],
    then: Callable[[optuna.Study, FrozenTrial], None] = lambda study, taken: None,
) -> Trial | None:
    """Set one of the free slots to RUNNING; None where other workers were first.

    Args:
        study: The study.
        free: Its free slots.
        then: Called with the slot before its sampler draws, which may take long.
    """
    for slot in free:
        with suppress(UpdateFinishedTrialError):  # another worker has had it, and it has ended
            if take(study, slot):
                then(study, slot)
                return _begin(study, _optuna.id_of(slot))
    return None


def _begin(study: optuna.Study, trial_id: int) -> Trial:
    """Return the running trial, for which its sampler has begun to draw."""
    with ExitStack() as undo:
        # Trial() asks the sampler, which may raise, or think for so long that others take this
        # process for dead.
        undo.callback(liveness.leave, study, trial_id)
        trial = Trial(study, trial_id)
        undo.pop_all()
    return trial
