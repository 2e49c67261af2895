"""What search() and confirm() share: their arguments checked, and the job for a crew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

from kerastune_optuna import _check, _source
from kerastune_optuna._backend import keras_settings
from kerastune_optuna._data import VERBOSITIES, FitArguments, check_kinds, check_training
from kerastune_optuna._report import Plan
from kerastune_optuna._results import Results
from kerastune_optuna._storage import database
from kerastune_optuna._study import Constraint, Constraints, finished
from kerastune_optuna._trial import (
    UNASKED,
    Recipe,
    as_list,
    check_callbacks,
    check_steps,
    may_add_metrics,
    trains_itself,
)
from kerastune_optuna._workers import Crew, Job, bundle, card

if TYPE_CHECKING:
    import optuna

    from kerastune_optuna._search import Budget


class Trainer(Results):
    """Prepare trainings of the builder's models."""

    seed: int | None
    max_failed_trials: int
    backup_every: float | None
    train_repeats: bool
    executions_per_trial: int
    max_params: int | None
    max_seconds_per_trial: float | None
    constraints: Sequence[Constraint]

    def _prepared(
        self,
        fit: FitArguments,
        callbacks: Any,
        verbose: str | int,
        n_workers: int,
        executor: Executor | None,
    ) -> tuple[Crew, Recipe]:
        """Return who trains, and what all trainings share, its data open where this process trains.

        Raises:
            ArgumentError: An argument cannot work.
        """
        check_steps(fit.steps_per_execution)
        _check.one_of("verbose", verbose, VERBOSITIES)
        crew = Crew(n_workers, executor)
        if not crew.is_this_process:
            database.check_shared(self._storage_source)
        given = as_list(callbacks)
        check_callbacks(given)
        may_add = may_add_metrics(given) or trains_itself(self.build_model)
        check_training(fit, self._objectives, may_add=may_add)
        ready = fit.opened() if crew.is_this_process else fit.checked()
        if not trains_itself(self.build_model):  # a fit of its own may take anything
            check_kinds(ready)
        return crew, self._recipe(ready, given)

    def _recipe(self, fit: FitArguments, callbacks: Sequence[Any]) -> Recipe:
        keep_best = UNASKED if self.keep_best is None else self.keep_best  # until the study is open
        return Recipe(
            self.build_model,
            self._objectives,
            fit,
            callbacks,
            self.seed,
            keep_best,
            self._store,
            self.backup_every,
            self.train_repeats,
            self.executions_per_trial,
            constraints=self._constraints,
        )

    @property
    def _constraints(self) -> Constraints:
        return Constraints(self.max_params, self.max_seconds_per_trial, self.constraints)

    def _known(
        self, recipe: Recipe, given: FitArguments, sampler_seed: int | None, n_workers: int
    ) -> dict[str, Any]:
        """Return what only the process that begins a search knows of it, for its card."""
        folder = self._folder if self._has_directory else None
        return {
            "command": card.command(),
            "builder": _source.combined(recipe.digests),
            "sampler_seed": sampler_seed,
            "n_workers": n_workers,
            "kept": bundle.keep(folder, recipe, given),
        }

    def _job(
        self, study: optuna.Study, recipe: Recipe, budget: Budget, known: Mapping[str, Any]
    ) -> Job:
        return Job(
            self._storage_source,
            study.study_name,
            study.sampler,
            study.pruner,
            recipe,
            budget,
            keras_settings(),
            self.storage_patience,
            known,
        )


def plan_of(study: optuna.Study, recipe: Recipe, budget: Budget) -> Plan:
    """Return what a search is to do, for who tells of it."""
    seconds = None if budget.deadline is None else budget.deadline.seconds_left()
    return Plan(
        study.study_name,
        recipe.objectives.watched,
        budget.size(study),
        recipe.last_epoch,
        recipe.last_epoch - recipe.epochs_of_a_trial,
        seconds,
        done=len(finished(study)),
        others=recipe.objectives.others,
    )
