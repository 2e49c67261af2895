"""Call the user's functions in this process with each trial that ends, whichever worker ran it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import keras
import optuna
from optuna.trial import FrozenTrial

from kerastune_optuna import _check, _optuna
from kerastune_optuna._exceptions import ArgumentTypeError
from kerastune_optuna._report import Told
from kerastune_optuna._search import StopConditions

Listener: TypeAlias = "Callable[[optuna.Study, FrozenTrial], object]"

_INSTEAD = "Pass functions that take the study and a trial, as to Optuna's optimize(callbacks=)."
_STOPPED = "Stopped by study.stop() in on_trial_end"


def listeners(given: Any) -> Sequence[Listener]:
    """Check the functions that a search should call, one or a list of them, and return them.

    Raises:
        ArgumentTypeError: One of them cannot be called with a study and a trial.
    """
    functions = list(given) if isinstance(given, list | tuple) else [given]
    for function in functions:
        if (why := _check.why_not(function, 2)) is not None:
            is_keras = isinstance(function, keras.callbacks.Callback)
            instead = "Pass Keras callbacks as callbacks=." if is_keras else _INSTEAD
            raise ArgumentTypeError(
                f"on_trial_end holds {function!r}, which cannot be called with a study and a trial "
                f"({why}). {instead}"
            )
    return tuple(functions)


@dataclass(eq=False)
class Announced(Told):
    """Call functions with each trial that ends during a search.

    Args:
        study: The study that is searched.
        functions: The functions to call. An error in one of them ends the search.
        conditions: The conditions by which study.stop() in one of the functions ends the search.
    """

    functions: Sequence[Listener]
    conditions: StopConditions

    @contextmanager
    def running(self) -> Iterator[None]:
        """Announce the last trials at the end, even if that has to wait for the database."""
        yield
        self.catch_up(waits=True)

    def trial(self, trial: FrozenTrial) -> None:
        """Call the functions with a trial that ended."""
        stop = partial(self.conditions.bring_about, self.study, _STOPPED)
        with _optuna.stoppable(self.study, stop):
            for function in self.functions:
                function(self.study, copy.deepcopy(trial))
