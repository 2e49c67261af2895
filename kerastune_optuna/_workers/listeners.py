"""Call the user's functions in this process with each trial that ends, whichever worker ran it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeAlias

import keras
import optuna
from optuna.trial import FrozenTrial

from kerastune_optuna import _check, _optuna
from kerastune_optuna._exceptions import ArgumentTypeError
from kerastune_optuna._report import Progress
from kerastune_optuna._search import StopConditions
from kerastune_optuna._storage import unless_away
from kerastune_optuna._study import TrialRecord

Listener: TypeAlias = "Callable[[optuna.Study, FrozenTrial], object]"

_NEVER = datetime.max  # for trials that were added without an end time
_INSTEAD = "Pass functions that take the study and a trial, as to Optuna's optimize(callbacks=)."
_STOPPED = "Stopped by study.stop() in on_trial_end"


def listeners(given: Any) -> Sequence[Listener]:
    """Check the functions that a search should call, one or a list of them, and return them.

    Raises:
        ArgumentTypeError: One of them cannot be called with a study and a trial.
    """
    functions = list(given) if isinstance(given, list | tuple) else [given]
    for function in functions:
        is_keras = isinstance(function, keras.callbacks.Callback)
        instead = "Pass Keras callbacks as callbacks=." if is_keras else _INSTEAD
        if not callable(function):
            raise ArgumentTypeError(
                f"on_trial_end holds {function!r}, which cannot be called. {instead}"
            )
        if (why := _check.why_not(function, 2)) is not None:
            raise ArgumentTypeError(
                f"on_trial_end holds {function!r}, which cannot be called with a study and a trial "
                f"({why}). {instead}"
            )
    return tuple(functions)


@dataclass(eq=False)
class Announced(Progress):
    """Call functions with each trial that ends during a search.

    Args:
        study: The study that is searched.
        functions: The functions to call. An error in one of them ends the search.
        ending: The conditions by which study.stop() in one of the functions ends the search.
    """

    study: optuna.Study
    functions: Sequence[Listener]
    ending: StopConditions

    def __post_init__(self) -> None:
        self._told = {trial.number for trial in self._ended()}

    @contextmanager
    def running(self) -> Iterator[None]:
        """Announce the last trials at the end, even if that has to wait for the database."""
        yield
        self._announce(self._ended())

    def trial(self, trial: FrozenTrial) -> None:
        """Announce a trial of this process that ended."""
        self._announce(self._ended())

    def catch_up(self) -> None:
        """Announce the trials of other processes, at the next call if the storage is away now."""
        ended: list[FrozenTrial] = []
        with unless_away():
            ended = self._ended()
        self._announce(ended)

    def _ended(self) -> list[FrozenTrial]:
        """Return the trials that have ended, in the order in which they ended."""
        trials = self.study.get_trials(deepcopy=False)
        ended = [one for one in trials if one.state.is_finished() and TrialRecord(one).has_begun]
        return sorted(ended, key=lambda trial: (trial.datetime_complete or _NEVER, trial.number))

    def _announce(self, ended: Sequence[FrozenTrial]) -> None:
        """Call the functions with each of these trials that they do not know yet."""
        stop = partial(self.ending.bring_about, self.study, _STOPPED)
        for trial in ended:
            if trial.number not in self._told:
                self._told.add(trial.number)
                with _optuna.stoppable(self.study, stop):
                    for function in self.functions:
                        function(self.study, copy.deepcopy(trial))
