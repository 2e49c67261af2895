"""The data that functions of the trial make: kept for trials that ask for the same values."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from optuna.trial import BaseTrial

from kerastune_optuna import _check
from kerastune_optuna._backend import set_all
from kerastune_optuna._data import FitArguments, data_of_trial, size_in_memory
from kerastune_optuna._search import Interview

# What a function draws by chance depends on its answers alone, not on the trial that came first.
_SEED = 0
_MOST = 1 << 30  # bytes of data that a process keeps, besides that of the latest trial


class PreparedData:
    """Make the data of trials, and keep it by what the functions asked for.

    Args:
        fit: What search() got, with functions of the trial among its data.
    """

    def __init__(self, fit: FitArguments) -> None:
        self._fit = fit
        self._questions: dict[Any, Any] = {}  # what is asked for after which answers
        self._kept: dict[Hashable, FitArguments] = {}  # in the order of their last use
        self._rows: set[int] = set()  # that trials validate with

    def of(self, trial: BaseTrial) -> FitArguments:
        """Return the arguments of Model.fit with the data of a trial.

        Raises:
            ArgumentError: A function made nothing that can be trained on.
            StudyMismatchError: A function asks for another parameter than in trials before.
        """
        answers: Hashable = Interview(trial, self._questions).ask_again()
        fit = self._kept.pop(answers, None)
        if fit is None:
            interview = Interview(trial, self._questions)
            set_all(_SEED)
            fit, answers = data_of_trial(self._fit, interview.stand_in), interview.answers
            self._note_rows(fit)
        self._kept[answers] = fit
        self._make_room()
        return fit

    def _note_rows(self, fit: FitArguments) -> None:
        """Warn where a trial is the first to be validated with another number of rows."""
        rows = fit.rows_to_validate
        if rows is None or rows in self._rows:
            return
        self._rows.add(rows)
        if len(self._rows) == 2:
            fewer, more = sorted(self._rows)
            _check.warn(
                f"The functions of the data give trials {fewer} or {more} rows to validate with, "
                "so that their values may not compare. Validate all trials with the same targets."
            )

    def _make_room(self) -> None:
        """Drop what was not used for longest, but never the latest."""
        sizes = {answers: size_in_memory(fit) for answers, fit in self._kept.items()}
        *others, _ = sizes
        for answers in others:
            if sum(sizes.values()) > _MOST:
                del self._kept[answers], sizes[answers]
