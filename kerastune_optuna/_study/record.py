"""The attributes that we write into studies and trials: their names and types are defined here.

So is how the seed of a trial follows from that of the search.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, ClassVar, Generic, TypeVar, overload

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _check, _optuna
from kerastune_optuna._storage import EXCLUDED
from kerastune_optuna._study.ending import Ending

DONE = (TrialState.COMPLETE, TrialState.PRUNED)  # the states that count towards n_trials
T = TypeVar("T")


class _Attr(Generic[T]):
    """A user attribute: on a record it returns its value or None, and on the class its name.

    A value of another type, which other code may have written, counts as None.
    """

    _is_of_system: ClassVar[bool] = False

    def __init__(self, kind: type[T], name: str = "") -> None:
        self._kinds = (int, float) if kind is float else (kind,)
        self._name = name

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = self._name or name

    @overload
    def __get__(self, record: None, owner: type) -> str: ...

    @overload
    def __get__(self, record: Any, owner: type) -> T | None: ...

    def __get__(self, record: Any, owner: type) -> T | str | None:
        if record is None:
            return self._name
        attrs = _optuna.attrs_of(record.of) if self._is_of_system else record.of.user_attrs
        value = attrs.get(self._name)
        fits = isinstance(value, self._kinds) and not isinstance(value, bool)
        return value if fits else None

    def __set__(self, record: Any, value: T | None) -> None:
        if self._is_of_system:
            _optuna.set_attr(record.of, self._name, value)
        else:
            record.of.set_user_attr(self._name, value)


class _SystemAttr(_Attr[T]):
    """A system attribute, which optuna-dashboard does not show."""

    _is_of_system = True


class TrialRecord:
    """Read and write our attributes of a trial, except MARK, which `_storage` writes.

    Args:
        of: The trial. A finished one is only read.
    """

    seed = _Attr(int)  # the seed of its training
    seeds = _Attr(list)  # the seeds of its trainings, if there are several
    values = _Attr(list)  # the values of its trainings, if there are several
    std = _Attr(float)  # their standard deviation
    best_value = _Attr(float)  # the value of the best epoch
    best_epoch = _Attr(int)  # the best epoch; 0 is the first that was trained
    best_epochs = _Attr(list)  # the best epochs of its trainings, if there are several
    epochs = _Attr(int)  # the most epochs that it may run in all; set once its model is built
    epochs_run = _Attr(int)  # the number of epochs that it ran
    seconds = _Attr(float)  # how long it took
    code = _Attr(str, "ending")  # the name of its Ending, which is asked for by `ending`
    stop_reason = _Attr(str)  # why it ended, for people alone: nothing is decided by this text
    card = _Attr(str)  # the key of its card
    repeat_of = _Attr(int)  # the number of the trial whose result it took over
    retry_of = _Attr(int)  # the number of the trial that it runs again
    confirms = _Attr(int)  # the number of the trial whose configuration it trains
    fits = _Attr(list)  # the epochs of each fit, if there were several
    not_finite = _Attr(str)  # where the data has NaN or infinity
    inputs = _Attr(str)  # the inputs by which the model creates variables that it lacks
    n_params = _Attr(int)  # how many parameters its model has
    flops = _Attr(int)  # how many floating-point operations its model takes for one row
    expected_gain = _Attr(float)  # by how much its sampler expected it to improve the best value
    worker = _Attr(str)  # the signature of the process that runs or ran it

    excluded = _SystemAttr(str, EXCLUDED)  # why the user has excluded it; see _storage/excluded.py
    slot = _SystemAttr(str, "kerastune_optuna:slot")  # the machine that laid it out
    beat = _SystemAttr(int, "kerastune_optuna:beat")  # a number that its process increases
    sameness = _SystemAttr(str, "kerastune_optuna:failure")  # equal for errors of one cause
    weights = _SystemAttr(str, "kerastune_optuna:weights_sha256")  # the checksum of the file
    history = _SystemAttr(str, "kerastune_optuna:history_sha256")  # that of its history.csv
    variables = _SystemAttr(str, "kerastune_optuna:variables")  # the checksum of its variables
    backup = _SystemAttr(dict, "kerastune_optuna:backup")  # where its last backup is
    deaths = _SystemAttr(dict, "kerastune_optuna:deaths")  # how many workers died running it
    fixed_params = _SystemAttr(dict, _optuna.FIXED_PARAMS)  # parameters that no sampler chooses

    def __init__(self, of: Any) -> None:
        self.of = of

    @property
    def process(self) -> str | None:
        """The signature of the process that runs or ran the trial, without its file and run."""
        return None if self.worker is None else re.split("[@#]", self.worker)[0]

    @property
    def is_foreign(self) -> bool:
        """Whether other code runs or ran the trial: no worker took it as a slot, or signed it."""
        return self.worker is None and self.slot is None

    def first_try(self, trials: Sequence[FrozenTrial]) -> FrozenTrial:
        """Return the first try of the trial, which may be a retry, or a retry of a retry.

        Args:
            trials: All trials of the study, ordered by number.
        """
        trial: FrozenTrial = self.of
        while (before := TrialRecord(trial).retry_of) is not None:
            trial = trials[before]
        return trial

    def place_in(self, trials: Sequence[FrozenTrial]) -> int:
        """Return how many trials have lower numbers than its first try, retries aside.

        What is drawn by a seed depends on it, so that a search that was stopped goes on as one that
        was not.

        Args:
            trials: All trials of the study, ordered by number.
        """
        before = trials[: self.first_try(trials).number]
        return sum(TrialRecord(trial).retry_of is None for trial in before)

    @classmethod
    def latest_gains(cls, trials: Sequence[FrozenTrial], most: int) -> list[float]:
        """Return what the latest trials were expected to gain, the latest first.

        Args:
            trials: All trials of the study, ordered by number.
            most: The most values to return.
        """
        expected = (cls(trial).expected_gain for trial in reversed(trials))
        return list(islice((gain for gain in expected if gain is not None), most))

    @property
    def why(self) -> str:
        """Why the training ended or the trial is excluded, as a part of a sentence."""
        return self.ended_because or "unknown"

    @property
    def ended_because(self) -> str | None:
        """Why the training ended or the trial is excluded; None if nothing tells."""
        return self.stop_reason if self.excluded is None else f"excluded: {self.excluded}"

    @property
    def ending(self) -> Ending:
        """Why a trial ended."""
        state = self.of.state
        if not state.is_finished():
            return Ending.OPEN
        if state is TrialState.PRUNED and self.excluded is not None:
            return Ending.EXCLUDED
        own = Ending.__members__.get(self.code or "")
        if own is not None and state in own.states:
            return own
        # Other code ran it, or it came to its result while another process cut it off, so that it
        # has the code of one of them and the state of the other.
        if state is TrialState.FAIL:
            return Ending.FAILED if own is None else Ending.CUT_OFF
        if self.repeat_of is not None:
            return Ending.REPEAT
        if state is TrialState.COMPLETE:
            return Ending.COMPLETE
        if not self.of.intermediate_values:
            return Ending.FORBIDDEN
        return Ending.OVER_LIMIT if self.breaks_constraint else Ending.PRUNED

    @property
    def has_begun(self) -> bool:
        """Whether a worker has taken a trial; one that was laid out for none is no trial."""
        if self.of.state is TrialState.FAIL:
            return self.ending is not Ending.WITHDRAWN
        return self.of.state is not TrialState.WAITING

    @property
    def has_no_result(self) -> bool:
        """Whether a trial has not begun, or failed because of its configuration or the code."""
        return self.ending.works is False or not self.has_begun

    @property
    def breaks_constraint(self) -> bool:
        """Whether a finished trial broke a constraint."""
        return any(value > 0 for value in self.of.constraints.values())

    @property
    def params(self) -> dict[str, Any]:
        """The parameters that a trial has or will have."""
        return {**(self.fixed_params or {}), **self.of.params}

    def seed_of(self, training: int, seed: int | None, trials: Sequence[FrozenTrial] = ()) -> int:
        """Return the seed of a training: the recorded one, or one derived from the search's.

        Args:
            training: The number of the training of the trial.
            seed: The seed of the search.
            trials: All trials of the study, ordered by number; none (default) for a trial of other
                code, which has no recorded seed.
        """
        if training:
            return int((self.seeds or [])[training])
        return derive(seed, self.place_in(trials)) if self.seed is None else self.seed


class StudyRecord:
    """Read and write our attributes of a study.

    A constant in capitals is the prefix of several attributes.

    Args:
        of: The study.
    """

    part_of = _Attr(str, "kerastune_optuna:part_of")  # the study with which it is deleted
    confirmation = _Attr(dict, "kerastune_optuna:confirmation")  # what was confirmed, and where

    CARD = "card:"  # of the cards of its searches; the rest of a name is the key in its trials
    card = _SystemAttr(str, "kerastune_optuna:card")  # the key of the card of its latest search
    keep_best = _SystemAttr(int, "kerastune_optuna:keep_best")  # how many models it keeps
    written = _SystemAttr(int, "kerastune_optuna:written")  # when the latest process began to write
    asked_to_stop = _SystemAttr(int, "kerastune_optuna:asked_to_stop")  # how often, from outside
    ended = _SystemAttr(list, "kerastune_optuna:ended")  # after how many trials, and why

    def __init__(self, of: Any) -> None:
        self.of = of

    @property
    def finished(self) -> list[FrozenTrial]:
        """The trials that count towards n_trials: COMPLETE and PRUNED."""
        trials: list[FrozenTrial] = self.of.get_trials(deepcopy=False, states=DONE)
        return trials

    @property
    def parts(self) -> dict[str, optuna.Study]:
        """The studies that are part of this one, by name."""
        storage, parts = _optuna.storage_of(self.of), {}
        # Optuna's study summaries would read all trials too.
        for study in storage.get_all_studies():
            if StudyRecord(study).part_of == self.of.study_name:
                with suppress(KeyError):  # another process deleted it meanwhile
                    name = study.study_name
                    parts[name] = optuna.load_study(study_name=name, storage=storage)
        return parts

    @property
    def told_of_others(self) -> str:
        """A sentence about the trials that ended without being COMPLETE; "" if none did."""
        records = map(TrialRecord, self.of.get_trials(deepcopy=False))
        begun = [record for record in records if record.has_begun]
        others = [one for one in begun if one.ending not in (Ending.COMPLETE, Ending.OPEN)]
        if not others:
            return ""
        number, why = others[-1].of.number, others[-1].why.rstrip(".")
        many = _check.count(len(others), "trial")
        return f"{many} ended as PRUNED or FAIL, the last one (trial {number}) with: {why}."


def derive(seed: int | None, *path: int) -> int:
    """Return a 31-bit seed that depends only on the search's seed and a path of numbers.

    Seeds with different paths give independent streams, since `numpy.random.SeedSequence` takes the
    seed as its entropy and the path as its spawn key. With seed=None, each call returns another
    seed.
    """
    state = np.random.SeedSequence(seed, spawn_key=path).generate_state(1)
    return int(state[0] >> 1)
