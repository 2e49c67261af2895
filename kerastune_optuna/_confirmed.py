"""What confirm() found, read from the study; the winner's model comes before the search's best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras
import optuna

from kerastune_optuna import _check
from kerastune_optuna._exceptions import NoTrialsError, TooManyFailuresError, WeightsError
from kerastune_optuna._rerun import Confirmation, asked_for, best_of_each, confirmation_of
from kerastune_optuna._results import Results
from kerastune_optuna._study import opening
from kerastune_optuna._trial import keeps

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_LINK = "confirmation"  # the user attr of a search's study that says what was confirmed, and where


class ConfirmedResults(Results):
    """Read what was confirmed of a search."""

    @property
    def confirmation(self) -> Confirmation:
        """What the last confirm() found, read from the study.

        Raises:
            NoTrialsError: confirm() was not called, or has not ended.
            TooManyFailuresError: No configuration completed two executions.
        """
        found = self._found()
        if found is None or found.missing:
            missing = found.missing if found else 0
            lack = f"{_check.count(missing, 'execution')} {'is' if missing == 1 else 'are'} missing"
            lack = lack if found else "Nothing is confirmed"
            raise NoTrialsError(f"{lack} in study {self._name!r}. Call confirm() with its data.")
        if not found.is_decided:
            raise TooManyFailuresError(
                f"No configuration completed two executions in study {found.study_name!r}. Look at "
                "the stop_reason of its trials, mend build_model, and call confirm() again."
            )
        return found

    def best_model(self, trial: int | None = None) -> keras.Model:
        """Rebuild the best trial's model, compiled, with the weights of its best epoch.

        After confirm() it is the best execution of the winner, and one line says so with the value
        that it evaluates to. Once the search finds a trial that is better than those confirmed, it
        is that trial again. best_models(1) is the search's best at any time.

        Args:
            trial: Number of another trial of the search whose weights are kept. Default None: the
                best, which there is of one objective alone.

        Returns:
            The model; evaluating it on the validation data gives `best_value`, or the value of the
            line.

        Raises:
            ArgumentError: There are several objectives, and no trial was named.
            NoTrialsError: No trial is COMPLETE yet, or not the one of that number.
            WeightsError: The weights are not kept, are damaged, or no longer fit what build_model
                returns; the text names the next best trial whose weights are whole.
        """
        found = self._found() if trial is None and keeps(self._existing, self.keep_best) else None
        if found is None or not self._is_up_to_date(found):
            return super().best_model(trial)
        number = found.winner.number
        study = self._load(found.study_name)
        execution = best_of_each(study, self._objectives.watched)[number]
        model = self._model_of_execution(study, execution, number)
        print(
            f"The best model is of trial {number}, which won confirm(): its best execution, with "
            f"{self._objectives.watched.name} {opening.value_of(execution):.6g}",
            flush=True,
        )
        return model

    def _is_up_to_date(self, found: Confirmation) -> bool:
        """Whether there is a winner, and the search found nothing better since."""
        numbers = [row.number for row in found.ranking]
        return not found.missing and found.is_decided and self.best_trial.number in numbers

    def _model_of_execution(
        self, study: optuna.Study, execution: FrozenTrial, number: int
    ) -> keras.Model:
        try:
            return self._rebuilt(study, execution)
        except WeightsError as error:
            raise WeightsError(
                f"{error} That is an execution of trial {number}, which won confirm(). "
                "best_models(1) gives the best model of the search."
            ) from error.__cause__

    def _found(self) -> Confirmation | None:
        """Return what was confirmed so far; None before any confirm(), or where it was deleted."""
        link = self._existing.user_attrs.get(_LINK)
        if link is None or link["study"] not in optuna.get_all_study_names(self._connected):
            return None
        trials = self.study.get_trials(deepcopy=False)
        chosen = [trials[number] for number in link["trials"]]
        asked = asked_for(chosen, link.get("executions", 0))
        return confirmation_of(self._load(link["study"]), chosen, asked, self._objectives.watched)

    def _link(self, study: optuna.Study, chosen: Sequence[FrozenTrial], count: int) -> None:
        """Write into the search's study where these trials are confirmed, and how often."""
        numbers = [trial.number for trial in chosen]
        link = {"study": study.study_name, "trials": numbers, "executions": count}
        self.study.set_user_attr(_LINK, link)

    def _load(self, name: str) -> optuna.Study:
        with opening.quiet_optuna():
            return optuna.load_study(study_name=name, storage=self._connected)
