"""What we write into studies and trials: each attribute has its name and its type here alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar, overload

from kerastune_optuna import _optuna
from kerastune_optuna._seeds import derive
from kerastune_optuna._storage import WORKER

T = TypeVar("T")

DIED = "its worker died"  # the stop_reason of a trial whose process is gone
INTERRUPTED = "interrupted"  # the stop_reason of a trial that Ctrl-C or SIGTERM ended
TWICE = "laid out twice"  # the stop_reason of a second retry of one trial


class _Attr(Generic[T]):
    """A user attribute: a record has its value, or None, and the record's class has its name.

    What other code wrote under the name counts only where it has the type.
    """

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
        value: Any = self._attrs(record.of).get(self._name)
        fits = isinstance(value, self._kinds) and not isinstance(value, bool)
        return value if fits else None

    def __set__(self, record: Any, value: T | None) -> None:
        record.of.set_user_attr(self._name, value)

    def _attrs(self, of: Any) -> Mapping[str, Any]:
        return of.user_attrs  # type: ignore[no-any-return] # Optuna's are mappings


class _SystemAttr(_Attr[T]):
    """A system attribute, which the dashboard does not show."""

    def __set__(self, record: Any, value: T | None) -> None:
        _optuna.set_attr(record.of, self._name, value)

    def _attrs(self, of: Any) -> Mapping[str, Any]:
        return _optuna.attrs_of(of)


class TrialRecord:
    """Read and write what a trial holds of ours; `_storage` has one more attribute, MARK.

    Args:
        of: The trial. A finished one is only read.
    """

    seed = _Attr(int)  # what a training starts from
    seeds = _Attr(list)  # the same of each of several trainings
    values = _Attr(list)  # the values of several trainings
    std = _Attr(float)  # their standard deviation
    best_value = _Attr(float)  # the value of the best epoch
    best_epoch = _Attr(int)  # the best epoch, counted from 0 from the first that was trained
    best_epochs = _Attr(list)  # the same of each of several trainings
    epochs = _Attr(int)  # how many epochs it may run in all; there once its model is built
    epochs_run = _Attr(int)  # how many it ran
    seconds = _Attr(float)  # how long it took
    stop_reason = _Attr(str)  # why its training ended
    card = _Attr(str)  # the key of its card
    repeat_of = _Attr(int)  # the number of the trial whose result it has
    retry_of = _Attr(int)  # the number of the trial that is run again
    confirms = _Attr(int)  # the number of the trial whose configuration it trains
    fits = _Attr(list)  # the epochs of each fit, where it had several
    diverged = _Attr(int)  # the epochs that it ran until its loss was NaN
    not_finite = _Attr(str)  # where the data holds NaN or infinity
    inputs = _Attr(str)  # the inputs by which a model makes variables that it came without
    n_params = _Attr(int)  # how many parameters its model has
    worker = _Attr(str, WORKER)  # which process signed it

    slot = _SystemAttr(str, "kerastune_optuna:slot")  # which machine laid it out
    beat = _SystemAttr(int, "kerastune_optuna:beat")  # what its process counts up
    sameness = _SystemAttr(str, "kerastune_optuna:failure")  # equal for equal errors
    weights = _SystemAttr(str, "kerastune_optuna:weights_sha256")  # the checksum of their file
    variables = _SystemAttr(str, "kerastune_optuna:variables")  # the checksum of those in it
    backup = _SystemAttr(dict, "kerastune_optuna:backup")  # where its last backup is
    deaths = _SystemAttr(dict, "kerastune_optuna:deaths")  # how many workers died of it
    fixed_params = _SystemAttr(dict, _optuna.FIXED_PARAMS)  # what no sampler chooses

    def __init__(self, of: Any) -> None:
        self.of = of

    @property
    def why(self) -> str:
        """Why its training ended, for a sentence."""
        return self.stop_reason or "unknown"

    @property
    def was_cut_off(self) -> bool:
        """Whether a FAIL trial says nothing about its configuration."""
        return self.stop_reason in (DIED, INTERRUPTED, TWICE)

    @property
    def ended_by_itself(self) -> bool:
        """Whether its configuration ended it, or its training."""
        return self.of.state.is_finished() and not self.was_cut_off

    @property
    def breaks_constraint(self) -> bool:
        """Whether a finished trial broke a constraint."""
        return any(value > 0 for value in self.of.constraints.values())

    @property
    def params(self) -> dict[str, Any]:
        """The parameters that a trial has, or is to have."""
        return {**(self.fixed_params or {}), **self.of.params}

    def seed_of(self, training: int, seed: int | None) -> int:
        """Return the seed of a training: the recorded one, or one derived from the search's."""
        if training:
            return int((self.seeds or [])[training])
        return derive(seed, self.of.number) if self.seed is None else self.seed


class StudyRecord:
    """Read and write what a study holds of ours.

    What is written in capitals begins the names of several attributes.

    Args:
        of: The study.
    """

    part_of = _Attr(str, "kerastune_optuna:part_of")  # the study that it is deleted with
    trainings = _Attr(dict, "kerastune_optuna:trainings")  # what a value is the mean of
    given = _Attr(dict, "kerastune_optuna:given")  # what its latest search gave to trials
    confirmation = _Attr(dict, "kerastune_optuna:confirmation")  # what was confirmed, and where
    epochs = _Attr(int, "kerastune_optuna:epochs")  # how many a trial of its latest search may run

    CARD = "card:"  # of those with the cards of its searches, by the keys that trials have
    keep_best = _SystemAttr(int, "kerastune_optuna:keep_best")  # how many models it keeps
    epochs_since = _SystemAttr(int, "kerastune_optuna:epochs_since")  # the first trial that may
    ended = _SystemAttr(list, "kerastune_optuna:ended")  # after how many trials, and why

    def __init__(self, of: Any) -> None:
        self.of = of
