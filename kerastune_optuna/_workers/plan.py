"""What search() and confirm() share: they check arguments, run trials, and remove leftovers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import optuna

from kerastune_optuna import _check, _signals, _source
from kerastune_optuna._backend import Memory, check_threads, keras_settings, seeds_kept
from kerastune_optuna._data import (
    Given,
    check_training,
    cross_validated,
    key_of_folds,
)
from kerastune_optuna._generators import borrowed
from kerastune_optuna._report import Plan, progress_for
from kerastune_optuna._search import (
    Budget,
    Chooser,
    check_ends,
    check_study,
    learn_ranges,
)
from kerastune_optuna._storage import database, unless_away
from kerastune_optuna._study import Constraints, Home, StudyRecord, opening, retry
from kerastune_optuna._trial import (
    Recipe,
    check_steps,
    claim_keeping,
    keeps,
    tidy,
    user_callbacks,
)
from kerastune_optuna._workers import comparable
from kerastune_optuna._workers.listeners import Announced, Listener
from kerastune_optuna._workers.loop import Job
from kerastune_optuna._workers.overwrite import opened
from kerastune_optuna._workers.runners import Crew
from kerastune_optuna._workers.start import Start, start_of
from kerastune_optuna._workers.warnings import shown_once


@dataclass(frozen=True)
class Run:
    """Hold what is trained, by which workers, until when, and who is notified.

    Args:
        home: The home of the study.
        recipe: What all trials share; its data is open if this process trains.
        budget: When to stop.
        crew: The processes or tasks that train.
        verbose: As search() takes it.
        on_trial_end: Functions that are called with each trial that ends.
    """

    home: Home
    recipe: Recipe
    budget: Budget
    crew: Crew
    verbose: str | int
    on_trial_end: Sequence[Listener] = ()

    def go(
        self,
        study: optuna.Study,
        *,
        news: Iterable[str | None] = (),
    ) -> None:
        """Run trials of a study until the budget is spent.

        Args:
            study: The study, with its sampler and pruner.
            news: Lines that are shown before the first trial.
        """
        budget, recipe = self.budget, self.recipe
        plan = self._plan(study)
        budget = replace(budget, ending=budget.ending.from_now_on(study))
        progress = progress_for(self.verbose, study, plan)
        if self.on_trial_end:
            progress = Announced(progress, study, self.on_trial_end, budget.ending)
        job = Job(
            self.home.storage_source,
            study.study_name,
            study.sampler,
            study.pruner,
            recipe,
            budget,
            keras_settings(),
            {
                "builder": _source.fingerprint(recipe.build_model),
                "sampler_seed": recipe.sampler_seed,
                "n_workers": self.crew.n_workers,
            },
        )
        with progress.running():
            for line in news:
                progress.tell(line)
            try:
                self.crew.run(study, job, progress, self.home.folder)
            finally:
                with unless_away():
                    retry.withdraw_unused(study)
            if (stop := budget.ending.stop(study)) is not None:
                StudyRecord(study).ended = [len(opening.finished(study)), stop]
            progress.tell(budget.ending.reason(study))
        if budget.ending.is_late() and not opening.finished(study):
            _check.warn(
                "The search ended before any trial had a result: its time was over (timeout=)."
            )

    def _plan(self, study: optuna.Study) -> Plan:
        """Return the plan of this run, for the progress display."""
        deadline, recipe = self.budget.ending.deadline, self.recipe
        return Plan(
            study.study_name,
            recipe.objectives.watched,
            self.budget.n_trials,
            recipe.epochs_in_all,
            None if deadline is None else deadline.seconds_left(),
            done=len(opening.finished(study)),
            others=recipe.objectives.others,
        )


def recipe_of(
    given: Any, home: Home, fit: Given, callbacks: Any, cv: Any = None, groups: Any = None
) -> Recipe:
    """Return what all trainings of one call of a tuner share.

    Args:
        given: The tuner, with its arguments.
        home: The home of its study.
        fit: The arguments for Model.fit.
        callbacks: As search() takes them.
        cv: As search() takes it.
        groups: As search() takes them.
    """
    metrics = [one.name for one in home.objectives.metrics]
    return Recipe(
        given.build_model,
        home.objectives,
        cross_validated(fit, cv, groups, given.seed, metrics),
        user_callbacks.as_list(callbacks),
        given.seed,
        given.keep_best,
        home.store,
        given.backup_every,
        given.train_repeats,
        given.executions_per_trial,
        constraints=Constraints.of(given),
    )


def prepared(
    home: Home, recipe: Recipe, n_workers: int, executor: Executor | None, verbose: str | int
) -> tuple[Crew, Recipe]:
    """Return the crew and a checked recipe, whose data is open if this process trains.

    Args:
        home: The home of the study.
        recipe: What all trainings share, unchecked.
        n_workers: As search() takes it.
        executor: As search() takes it.
        verbose: As search() takes it.

    Raises:
        ArgumentError: An argument cannot work.
        WorkerError: This process cannot train.
    """
    check_threads()
    check_steps(recipe.fit.steps_per_execution)
    _check.one_of("verbose", verbose, ("auto", 0, 1, 2))
    crew = Crew(n_workers, executor)
    if not crew.is_this_process:
        database.check_shared(home.storage_source)
    user_callbacks.check_callbacks(recipe.callbacks)
    check_training(
        recipe.fit, home.objectives, may_add=user_callbacks.may_add_metrics(recipe.callbacks)
    )
    with seeds_kept(), borrowed(recipe.build_model, *recipe.fit.functions.values()):
        ready = recipe.opened_fit() if crew.is_this_process else recipe.fit.checked()
        ready.check_kinds()
        # If this process trains, run_trials() soon collects all garbage, which takes a while.
        with Memory().released(collects=not crew.is_this_process):
            learn_ranges(recipe.build_model)
    return crew, replace(recipe, fit=ready)


@contextmanager
def guarded(run: Run, call: str) -> Iterator[None]:
    """Let Ctrl-C end a call of the tuner in good order, and show each warning only once."""
    home, recipe = run.home, run.recipe
    how_to_go_on = (
        f"{call} was stopped. Call it with the same arguments to continue study {home.name!r}: "
        "finished trials are kept, and unfinished ones are resumed."
    )
    listening, telling = _signals.listening(how_to_go_on), home.telling_of_deletion()
    own = borrowed(recipe.build_model, *recipe.fit.functions.values())
    with opening.quiet_optuna(), shown_once(), seeds_kept(), own, listening, telling:
        yield


def search(run: Run, given: Any) -> None:
    """Run trials until the budget is spent, and keep the weights of the best ones.

    Args:
        run: What is trained, and how.
        given: The tuner, with its arguments.
    """
    if given.sampler == "grid":
        with Memory().released():
            check_ends(run.recipe.build_model, tuple(run.recipe.fit.functions.values()))
    chooser = Chooser(given.sampler, given.pruner, given.seed)
    start = start_of(given.warm_start, run.recipe)
    study = opened(run.home)  # this may delete the study that the start was read from
    keep_best = _claim(study, run.recipe, run.budget)
    drawn, news = _set_up(study, run.recipe, run.budget, start, chooser)
    recipe = replace(run.recipe, known=start.known, keep_best=keep_best, sampler_seed=drawn)
    tidy(study, recipe)
    replace(run, recipe=recipe).go(study, news=news)
    tidy(study, recipe)
    check_study(study)


def _claim(study: optuna.Study, recipe: Recipe, budget: Budget) -> int | str:
    """Check that new trials compare with those of a study, and record their data and arguments.

    Returns:
        How many trials keep their weights; "auto" if nobody has asked for a number.
    """
    if keeps(study, recipe.keep_best):
        recipe.store.check()
    opening.claim_trainings(study, recipe.executions, key_of_folds(recipe.fit.folds))
    comparable.claim(study, recipe, budget.n_trials)
    return claim_keeping(study, recipe.keep_best)


def _set_up(
    study: optuna.Study, recipe: Recipe, budget: Budget, start: Start, chooser: Chooser
) -> tuple[int | None, list[str | None]]:
    """Give a study its sampler and pruner, and lay out the trials that go first.

    Returns:
        The seed of the sampler, if we gave it one; and lines about what was chosen.
    """
    gives_up = budget.ending.gives_up
    drawn, chosen = chooser.start(study, budget.n_trials, recipe.epochs_in_all, gives_up=gives_up)
    start.lay_out(study)
    return drawn, [*chosen, start.line]
