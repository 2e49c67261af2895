"""Confirm a search: train its best configurations again, and see what was luck."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import optuna
from optuna.pruners import NopPruner

from kerastune_optuna import _check, _signals
from kerastune_optuna._confirmed import ConfirmedResults
from kerastune_optuna._data import FitArguments, check_fit_arguments, digest
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError, NoTrialsError
from kerastune_optuna._report import progress_for
from kerastune_optuna._rerun import (
    Confirmation,
    Executions,
    NoSampler,
    asked_for,
    best_of_each,
    executions,
    key_of,
    lay_out_missing,
)
from kerastune_optuna._search import Ending
from kerastune_optuna._search import asked as _asked
from kerastune_optuna._storage import check_store
from kerastune_optuna._study import Constraints, make_part, opening
from kerastune_optuna._trainer import Trainer, plan_of
from kerastune_optuna._trial import Recipe, backup, keeps, weights
from kerastune_optuna._workers import Crew, comparable, shown_once

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


class Confirming(Trainer, ConfirmedResults):
    """Train the best configurations of a search again."""

    def confirm(
        self,
        top: int = 3,
        executions: int = 5,
        x: Any = None,
        y: Any = None,
        validation_data: Any = None,
        *,
        epochs: int | None = None,
        validation_split: float = 0.0,
        callbacks: Any = None,
        verbose: str | int = "auto",
        n_workers: int = 1,
        executor: Executor | None = None,
        steps_per_execution: int | str = "auto",
        **fit_kwargs: Any,
    ) -> Confirmation:
        """Train the best configurations again under fresh seeds, and tell skill from luck.

        The best of many noisy values is too good by chance. Here each configuration gets a mean and
        its interval; none is pruned, and constraints are not asked again. Best pass data that the
        search did not see: the configurations were chosen on its validation data, while an
        execution chooses its best epoch alone.

        Executions are trials of a study of their own beside the search's. Called again with the
        same data and arguments, say after a kill or with more or fewer executions, it trains only
        what is missing of them, or failed. Data is compared by its content; a function by its code,
        and a PyDataset or DataLoader by its plain attributes alone.

        Args:
            top: How many of the best configurations. Default 3.
            executions: How often each is trained, 2 times at least. Default 5.
            x: Training data as search() takes it; a study does not store it.
            y: Targets, where `x` does not hold them.
            validation_data: What the executions are measured on, as search() takes it.
            epochs: Epochs of an execution. Default None: as many as the last search had.
            validation_split: As for Model.fit. Default 0.0.
            callbacks: As search() takes them, like the EarlyStopping of the search.
            verbose: As for search().
            n_workers: As for search().
            executor: As for search().
            steps_per_execution: As for search().
            **fit_kwargs: Anything else that Model.fit takes.

        Returns:
            The `ranking`, the `winner`, whether it `is_clear`, and the `luck` of the search; it
            prints as a table.

        Raises:
            ArgumentError: An argument cannot work, or there are several objectives. Nothing was
                trained.
            NoTrialsError: The search has fewer COMPLETE configurations.
            TooManyFailuresError: No configuration completed two executions.
            TunerError: What search() raises, for the same reasons.
        """
        _check_counts(top, executions)
        _check_data(x)
        check_fit_arguments(fit_kwargs, "confirm()")
        self._check_one_objective()
        chosen = self._chosen(top)
        first = int(fit_kwargs.get("initial_epoch", 0))
        fit = FitArguments(
            x,
            y,
            first + self._epochs_of_the_search() if epochs is None else epochs,
            validation_data,
            validation_split,
            fit_kwargs,
            steps_per_execution,
        )
        crew, recipe = self._prepared(fit, callbacks, verbose, n_workers, executor)
        how = self._how_to_confirm()
        quiet, told = opening.quiet_optuna(), self._telling_of_deletion()
        with quiet, shown_once(), _signals.Brief(), _signals.listening(how), told:
            study = self._study_of_executions(fit, recipe)
            self._execute(study, chosen, executions, recipe, fit, crew, verbose)
        return self.confirmation

    def _check_one_objective(self) -> None:
        """Refuse several objectives, of which no mean says who wins."""
        if self._objectives.are_several:
            raise ArgumentError(
                f"confirm() ranks configurations by one objective, and study {self._name!r} is to "
                f"{self._objectives.aim}. Train trials of its front again by refit(x, y, "
                f"trial=...), or search for objective={self._objectives.watched.name!r} alone, "
                "with limits like max_params= for what else counts, and confirm that."
            )

    def _chosen(self, top: int) -> list[FrozenTrial]:
        """Return the trials of the best configurations, each configuration once."""
        chosen: list[FrozenTrial] = []
        for trial in opening.ranked(self._existing, self._objectives.watched):
            if len(chosen) < top and all(trial.params != one.params for one in chosen):
                chosen.append(trial)
        if not chosen:
            self._ranked(1)  # which says that nothing was searched yet
        if len(chosen) < top:
            raise NoTrialsError(
                f"Study {self._name!r} has {_check.count(len(chosen), 'COMPLETE configuration')}, "
                f"fewer than top={top}. Pass top={len(chosen)} at most, or search on."
            )
        return chosen

    def _epochs_of_the_search(self) -> int:
        epochs = opening.epochs_known(self.study)
        if epochs is None:
            raise ArgumentError(
                f"epochs=None: study {self._name!r} does not say how many its search had. Pass "
                "epochs=."
            )
        return epochs

    def _how_to_confirm(self) -> str:
        return (
            "The confirmation was stopped. Call confirm() with the same arguments to go on: what "
            "it finished is kept, and what it was running is resumed."
        )

    def _study_of_executions(self, fit: FitArguments, recipe: Recipe) -> optuna.Study:
        """Open the study of executions for these data and arguments, made where there is none."""
        comparable.warn_if_builder_changed(self.study, recipe)
        parts = [fit.x, fit.y, fit.epochs, fit.validation_data, fit.validation_split]
        others = sorted(fit.others.items())
        search = opening.identity(self.study)
        name = f"{self._name}-confirm-{digest(search, parts, others, recipe.callbacks)}"
        study = opening.open_study(self._connected, name, self._objectives)
        study.sampler, study.pruner = NoSampler(_asked.defaults(self.build_model)), NopPruner()
        make_part(study, self._name)
        opening.note_epochs(study, fit.epochs_of_a_trial)
        return study

    def _execute(
        self,
        study: optuna.Study,
        chosen: Sequence[FrozenTrial],
        count: int,
        recipe: Recipe,
        given: FitArguments,
        crew: Crew,
        verbose: str | int,
    ) -> None:
        """Lay out what is missing, and let the crew work on it."""
        if keep_best := keeps(self.study, self.keep_best):
            check_store(self._store)
        self._link(study, chosen, count)
        began_with = len(study.get_trials(deepcopy=False))
        asked = asked_for(chosen, count)
        lay_out_missing(study, asked)
        there = executions(study)
        left = [one for one in there if key_of(one) in asked and not one.state.is_finished()]
        size = len(left) + sum(one.state.is_finished() for one in there)
        ending = Ending(train_repeats=True)
        budget = Executions(
            size, None, self.max_failed_trials, began_with, ending, frozenset(asked)
        )
        # All keep their weights until the winner is known, have their own seeds, and were allowed.
        kept = size if keep_best else 0
        recipe = replace(
            recipe,
            seed=None,
            keep_best=kept,
            train_repeats=True,
            executions=1,
            constraints=Constraints(),
        )
        if left:
            progress = progress_for(verbose, study, plan_of(study, recipe, budget), size)
            job = self._job(study, recipe, budget, self._known(recipe, given, None, crew.n_workers))
            with progress.running():
                crew.run(study, job, progress, self._folder)
        elif verbose:
            print(f"Study {study.study_name!r} has all of its {size} executions", flush=True)
        _tidy(study, recipe)


def _check_counts(top: object, executions: object) -> None:
    _check.integer("top", top, least=1, instead="Pass how many configurations to train again.")
    instead = "Pass 2 or more: one value has no spread."
    _check.integer("executions", executions, least=2, instead=instead)


def _check_data(x: object) -> None:
    if x is None:
        raise ArgumentTypeError(
            "x=None: confirm() trains anew, and a study does not store data. Pass x=, y= and "
            "validation_data= as to search(), best with validation data that it did not see."
        )


def _tidy(study: optuna.Study, recipe: Recipe) -> None:
    """Keep the weights of the best execution of each configuration alone: any may win later."""
    finished = [one for one in study.get_trials(deepcopy=False) if one.state.is_finished()]
    kept = {one.number for one in best_of_each(study, recipe.objectives.watched).values()}
    for trial in finished:  # as they were before the best were read
        if trial.number not in kept:
            weights.discard(recipe.store, study._storage, trial)
    backup.discard_orphans(recipe.store, study)
