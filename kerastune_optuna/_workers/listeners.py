"""Call functions of the user's with each trial that ends, in this process, whoever ran it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import keras
import optuna
from optuna.trial import FrozenTrial

from kerastune_optuna import _check, _optuna
from kerastune_optuna._exceptions import ArgumentTypeError
from kerastune_optuna._report import Progress
from kerastune_optuna._search import StopConditions
from kerastune_optuna._storage import unless_away

Listener: TypeAlias = "Callable[[optuna.Study, FrozenTrial], object]"

_NEVER = datetime.max  # of trials that were added without a moment
_STOPPED = "Stopped by study.stop() in on_trial_end"


def listeners(given: Any) -> Sequence[Listener]:
    """Return the functions that a search is to call, one or a list of them, once they are checked.

    Raises:
        ArgumentTypeError: One of them cannot be called with a study and a trial.
    """
    each = [] if given is None else list(given) if isinstance(given, list | tuple) else [given]
    for one in each:
        _check_one(one)
    return tuple(each)


def _check_one(given: Any) -> None:
    instead = "Pass functions that take the study and a trial, as to Optuna's optimize(callbacks=)."
    if isinstance(given, keras.callbacks.Callback):
        instead = "Pass Keras callbacks as callbacks=."
    if not callable(given):
        raise ArgumentTypeError(f"on_trial_end holds {given!r}, which cannot be called. {instead}")
    if (why := _check.why_not(given, 2)) is not None:
        raise ArgumentTypeError(
            f"on_trial_end holds {given!r}, which cannot be called with a study and a trial "
            f"({why}). {instead}"
        )


@dataclass
class Announced(Progress):
    """Hand on what a search tells, and call functions with each trial that ends meanwhile.

    Args:
        progress: What else hears of the search.
        study: The study that is searched.
        functions: What to call. An error of theirs ends the search.
        ending: What study.stop() in one of the functions brings about.
    """

    progress: Progress
    study: optuna.Study
    functions: Sequence[Listener]
    ending: StopConditions

    def __post_init__(self) -> None:
        self._told = {trial.number for trial in self._ended()}

    @contextmanager
    def running(self) -> Iterator[None]:
        """Announce the last trials even if the database has to be waited for."""
        with self.progress.running():
            yield
            self._announce()

    def trial(self, trial: FrozenTrial) -> None:
        """Hear that a trial of this process ended."""
        self.progress.trial(trial)
        self._announce()

    def catch_up(self) -> None:
        """Announce the trials of other processes; where the storage is away, at the next call."""
        self.progress.catch_up()
        ended: list[FrozenTrial] = []
        with unless_away():
            ended = self._ended()
        self._announce(ended)

    def tell(self, line: str | None) -> None:
        """Hand on what else there is to know."""
        self.progress.tell(line)

    def _ended(self) -> list[FrozenTrial]:
        """Return the trials that have ended, in the order in which they did."""
        trials = self.study.get_trials(deepcopy=False)
        ended = [trial for trial in trials if trial.state.is_finished()]
        return sorted(ended, key=lambda trial: (trial.datetime_complete or _NEVER, trial.number))

    def _announce(self, ended: Sequence[FrozenTrial] | None = None) -> None:
        for trial in self._ended() if ended is None else ended:
            if trial.number not in self._told:
                self._told.add(trial.number)
                self._call(trial)

    def _call(self, trial: FrozenTrial) -> None:
        with _optuna.stoppable(self.study, self._stop):
            for function in self.functions:
                function(self.study, copy.deepcopy(trial))

    def _stop(self) -> None:
        self.ending.bring_about(self.study, _STOPPED)
