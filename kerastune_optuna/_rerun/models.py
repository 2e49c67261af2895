"""Rebuild kept models: those of the best trials, and that of the winner of confirm()."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import keras
import optuna
from optuna.trial import FrozenTrial

from kerastune_optuna import _architecture, _check, _digest
from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._generators import borrowed
from kerastune_optuna._report import say
from kerastune_optuna._rerun.confirm import confirmed
from kerastune_optuna._rerun.confirmation import Confirmation
from kerastune_optuna._rerun.executions import best_of_each
from kerastune_optuna._study import Card, Home, Keeping, StudyRecord
from kerastune_optuna._trial import Builder, MissingWeightsError, rebuild


@dataclass(frozen=True)
class Models:
    """Rebuild the models whose weights a study keeps.

    Args:
        home: The home of the study.
        build_model: The builder.
        keep_best: How many trials keep their weights; "auto" for the number on record.
    """

    home: Home
    build_model: Builder
    keep_best: int | str

    @property
    def most(self) -> int:
        """How many trials of the study keep their weights at most."""
        home = self.home
        return Keeping(home.existing, home.files, home.objectives, self.keep_best).most

    def best(self, trial: int | FrozenTrial | None) -> keras.Model:
        """Return a trial's model; for None, that of confirm()'s winner or else of the best one."""
        chosen, existing = self.home.best(trial), self.home.existing
        if trial is None:
            if not self.most:
                return self.top(1)[0]  # raises: no weights are kept
            found = confirmed(self.home) if StudyRecord(existing).confirmation else None
            # The search may have found a better trial since.
            if (
                found is not None
                and not found.missing
                and found.is_decided
                and chosen.number in [row.number for row in found.ranking]
            ):
                return self._of_winner(found)
        return self.of(existing, chosen)

    def top(self, n: int) -> list[keras.Model]:
        """Return the models of the best `n` trials, or as many as are kept, the best first."""
        _check.integer("n", n, least=1, instead="Pass how many models to rebuild.")
        count = self.most
        trials = self.home.top(min(n, max(count, 1)))
        if not count:
            raise ArgumentError(
                f"n={n} is more than keep_best=0, the number of trials that keep their weights. "
                f"Pass keep_best={n} to the tuner before it searches."
            )
        # Of the first one, missing weights are an error: the list would begin with a worse trial.
        models = {trials[0].number: self.of(self.home.existing, trials[0])}
        models |= self.of_each(trials[1:])
        if len(models) < n:
            are = "1 is" if len(models) == 1 else f"{len(models)} are"
            of = f"best first, those of trials {', '.join(map(str, models))}"
            say(f"{n} models were asked for, and {are} kept: {of}.")
        return list(models.values())

    def _of_winner(self, found: Confirmation) -> keras.Model:
        """Return the model of the winner's best execution, and print its value."""
        number, objective = found.winner.number, self.home.objectives.watched
        study = StudyRecord(self.home.existing).parts[found.study_name]
        execution = best_of_each(study, objective)[number]
        say(  # before an error of its weights, which names the trial of the study of executions
            f"The best model is the best execution of trial {number}, which won confirm(), with "
            f"{objective.name} {execution.values[0]:.6g}"
        )
        return self.of(study, execution)

    def of_each(self, trials: Iterable[FrozenTrial]) -> dict[int, keras.Model]:
        """Return the models of trials of the search by number, as far as their weights are kept."""
        models: dict[int, keras.Model] = {}
        for trial in trials:
            with suppress(MissingWeightsError):  # keep_best= may have been raised later
                models[trial.number] = self.of(self.home.existing, trial)
        return models

    def of(self, study: optuna.Study, trial: FrozenTrial) -> keras.Model:
        """Return the model of a trial; warn if it may differ from the model that was trained."""
        with borrowed(self.build_model, of_keras=False):
            model = rebuild(self.build_model, self.home.files, trial)
        if _architecture.has_own_code(model) and _digest.changed(
            Card.of(study, trial).code, _digest.digests(self.build_model)
        ):
            _check.warn(
                f"The code of build_model has changed since trial {trial.number} was trained, and "
                "its model has layers whose settings do not show what they compute. If that has "
                "changed, the model is wrong although the trial's value is right: restore that "
                "search's builder."
            )
        return model
