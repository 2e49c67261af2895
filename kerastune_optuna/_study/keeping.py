"""The models that a study keeps: those of its best trials, or of its Pareto front."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import optuna
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _signals
from kerastune_optuna._study.files import TrialFiles
from kerastune_optuna._study.liveness import Watch
from kerastune_optuna._study.objectives import Objectives
from kerastune_optuna._study.ranking import Ranking
from kerastune_optuna._study.record import StudyRecord, TrialRecord

_UNASKED = 5  # how many trials keep their weights if no search has set a number
_LARGE = 1_000_000  # parameters, 4 MB: of larger models, only the best one is kept unasked


@dataclass(frozen=True)
class Keeping:
    """Decide which trials of a study keep their weights, and delete the files of the others.

    Args:
        study: The study.
        files: The files of its trials.
        objectives: The objectives by which its trials are ranked.
        asked: How many trials keep their weights; "auto" for the number that the study has on
            record, or the default. A search goes by `settled`.
    """

    study: optuna.Study
    files: TrialFiles
    objectives: Objectives
    asked: int | str

    @property
    def most(self) -> int:
        """How many trials keep their weights at most; of several objectives, it is the front."""
        if not isinstance(self.asked, str):
            return self.asked
        return _UNASKED if (found := StudyRecord(self.study).keep_best) is None else found

    def settled(self) -> Keeping:
        """Record a number that was asked for, and say so if models are deleted for it.

        Returns:
            What decides from now on: by this number, or by one that was asked for earlier.
        """
        record = StudyRecord(self.study)
        if isinstance(self.asked, str):
            return self if (before := record.keep_best) is None else replace(self, asked=before)
        if self.asked < (had := replace(self, asked="auto").most) and record.finished:
            _signals.print_line(
                f"keep_best={self.asked}: study {self.study.study_name!r} kept its best {had} "
                f"models and now deletes all but {self.asked}"
            )
        record.keep_best = self.asked
        return self

    def among(self, trials: Iterable[FrozenTrial]) -> set[int]:
        """Return the numbers of those trials that keep their weights, if these were all."""
        most, objectives = self.most, self.objectives
        if objectives.are_several and most:
            return {one.number for one in Ranking(objectives.directions).first(trials)}
        # If nobody asked for more, a model that is large is kept only if it is the best.
        return {
            one.number
            for rank, one in enumerate(Ranking.by(objectives.watched, trials, most))
            if rank == 0 or self.asked != "auto" or (TrialRecord(one).n_params or 0) <= _LARGE
        }

    def discard_outranked(self, kept_by: Callable[[], set[int]] | None = None) -> list[FrozenTrial]:
        """Delete the weights of finished trials that do not keep them; return the finished trials.

        An excluded trial keeps its weights, since the user may include it again. If the study was
        copied, trials that ran before keep their weights: the original may need them.

        Args:
            kept_by: Returns the numbers of the trials that keep their weights. Default: the best.
        """
        # The finished trials are read before those that keep weights. Otherwise a trial that ended
        # in between would lose weights that it should keep. A RUNNING trial may just have saved
        # such weights.
        finished = [one for one in Watch.own_trials(self.study) if one.state.is_finished()]
        kept = kept_by() if kept_by else self.among(self.study.get_trials(deepcopy=False))
        for trial in finished:
            if trial.number not in kept and TrialRecord(trial).excluded is None:
                self.files.discard(trial, TrialFiles.WEIGHTS)
        return finished

    def tidy(self, kept_by: Callable[[], set[int]] | None = None) -> None:
        """Delete the files of finished trials from the store, except those that are to be kept.

        Args:
            kept_by: Returns the numbers of the trials that keep their weights. Default: the best.
        """
        files, finished = self.files, self.discard_outranked(kept_by)
        running = (
            one for one in self.study.get_trials(deepcopy=False) if not one.state.is_finished()
        )
        needed = {name for trial in running for name in files.ids(trial, TrialFiles.BACKUP)}
        for trial in finished:
            if needed.isdisjoint(files.ids(trial, TrialFiles.BACKUP)):
                files.discard(trial, TrialFiles.BACKUP)
            # The process of a FAIL trial may have died before it told the result.
            if trial.state is TrialState.FAIL:
                files.discard(trial, TrialFiles.HISTORY)
