"""What a search prints: one line when it starts and one for each trial that finished."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optuna.trial import TrialState

from kerastune_optuna._patience import is_away, one_try
from kerastune_optuna._study import finished

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from kerastune_optuna._monitor import Objective


class Progress:
    """Print the lines of one search.

    Args:
        study: The study that is searched.
        objective: Its objective.
        n_trials: The size that the study is to reach; None for no limit.
        silent: Whether to print nothing.
    """

    def __init__(
        self, study: optuna.Study, objective: Objective, n_trials: int | None, *, silent: bool
    ) -> None:
        self._study = study
        self._objective = objective
        self._n_trials = n_trials
        self._silent = silent
        self._told = {trial.number for trial in self._ended()}

    def start(self) -> None:
        """Say how much of an existing study is done."""
        name, done = self._study.study_name, len(finished(self._study))
        of = "" if self._n_trials is None else f" of {self._n_trials}"
        if not self._study.get_trials(deepcopy=False):
            return
        if self._n_trials is not None and done >= self._n_trials:
            self.say(f"Study {name!r} has {done}{of} trials done: pass more n_trials to go on")
        else:
            self.say(f"Going on with study {name!r}: {done}{of} trials done")

    def catch_up(self) -> None:
        """Say how the trials ended that other processes ran since the last call."""
        try:
            with one_try():
                ended = self._ended()
        except Exception as error:
            if not is_away(error):
                raise
            return  # the workers wait for the storage; to tell of them can wait too
        for trial in ended:
            if trial.number not in self._told:
                self.trial(trial)

    def _ended(self) -> list[FrozenTrial]:
        trials = self._study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.state.is_finished()]

    def trial(self, trial: FrozenTrial) -> None:
        """Say how a trial ended."""
        self._told.add(trial.number)
        attrs = trial.user_attrs
        if trial.state is TrialState.FAIL:
            end = f"failed: {attrs.get('stop_reason', 'unknown')}"
        elif "seconds" not in attrs:  # added by hand, or by a plain Optuna script
            end = f"{self._objective.name} {trial.value}"
        else:
            end = (
                f"{self._objective.name} {attrs['best_value']:.4g} at epoch "
                f"{attrs['best_epoch'] + 1}, {attrs['stop_reason']}, {attrs['seconds']:.1f} s"
            )
        self.say(f"Trial {trial.number}: {end}")

    def say(self, line: str) -> None:
        """Print a line, unless the search is silent."""
        if not self._silent:
            print(line, flush=True)
