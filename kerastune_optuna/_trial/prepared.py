"""The data that functions of the trial make: kept for trials that ask for the same values."""

from __future__ import annotations

from optuna.trial import BaseTrial

from kerastune_optuna._backend import set_all
from kerastune_optuna._data import FitArguments, made, size_in_memory
from kerastune_optuna._search import Answers, Interview, Questions, answered_by

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
        self._questions: Questions = {}
        self._kept: dict[Answers, FitArguments] = {}  # in the order of their last use

    def of(self, trial: BaseTrial) -> FitArguments:
        """Return the arguments of Model.fit with the data of a trial.

        Raises:
            ArgumentError: A function made nothing that can be trained on.
            StudyMismatchError: A function asks for another parameter than in trials before.
        """
        answers = answered_by(trial, self._questions)
        fit = self._kept.pop(answers, None)
        if fit is None:
            interview = Interview(trial, self._questions)
            set_all(_SEED)
            fit, answers = made(self._fit, interview.stand_in), interview.answers
        self._kept[answers] = fit
        self._make_room()
        return fit

    def _make_room(self) -> None:
        """Drop what was not used for longest, but never the latest."""
        sizes = {answers: size_in_memory(fit) for answers, fit in self._kept.items()}
        *others, _ = sizes
        for answers in others:
            if sum(sizes.values()) > _MOST:
                del self._kept[answers], sizes[answers]
