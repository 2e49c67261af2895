"""What search() and confirm() share: they check arguments, run trials, and remove leftovers."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import optuna

from kerastune_optuna import _check, _optuna, _signals
from kerastune_optuna._backend import Memory, check_threads, let_memory_grow, seeds_kept
from kerastune_optuna._data import Given, check_training
from kerastune_optuna._exceptions import ArgumentError, StudyMismatchError
from kerastune_optuna._generators import borrowed
from kerastune_optuna._keras_tuner import learn_ranges
from kerastune_optuna._report import Lines, Plan, Progress, progress_for
from kerastune_optuna._search import Budget, Chooser, StopConditions, check_finite, check_study
from kerastune_optuna._signals import LOG
from kerastune_optuna._storage import Location
from kerastune_optuna._study import Card, Home, StudyRecord
from kerastune_optuna._trial import (
    Call,
    Recipe,
    check_callback,
    check_steps,
    may_add_metrics,
)
from kerastune_optuna._workers import overwrite
from kerastune_optuna._workers.card import card_in_study, card_of, check_comparable
from kerastune_optuna._workers.listeners import Announced, Listener
from kerastune_optuna._workers.loop import Job, shown_once
from kerastune_optuna._workers.runners import Crew
from kerastune_optuna._workers.start import Source, Start, start_of

_COLD = Start()


@dataclass(frozen=True)
class Run:
    """Hold what is trained, by which workers, until when, and who is notified.

    Args:
        home: The home of the study.
        recipe: What all trials share.
        fit: The arguments of Model.fit.
        keep_best: How many trials keep their weights, as asked for; "auto" if nobody has.
        budget: When to stop.
        crew: The processes or tasks that train.
        verbose: As search() takes it.
        on_trial_end: Functions that are called with each trial that ends.
    """

    home: Home
    recipe: Recipe
    fit: Given
    keep_best: int | str
    budget: Budget
    crew: Crew
    verbose: str | int
    on_trial_end: Sequence[Listener] = ()

    def prepared(self) -> Run:
        """Return this run, checked, with its data loaded if this process trains.

        Raises:
            ArgumentError: An argument cannot work.
            WorkerError: This process cannot train.
        """
        recipe, fit, is_here = self.recipe, self.fit, self.crew.is_this_process
        check_threads()
        if not is_here:  # what this process takes of a GPU, its workers lack
            let_memory_grow()
        if fit.steps_per_execution != "auto":
            check_steps(fit.steps_per_execution)
        _check.one_of("verbose", self.verbose, ("auto", 0, 1, 2))
        if not is_here and Location(self.home.storage_source).is_private:
            raise ArgumentError(
                "storage= is in the memory of this process, where other workers cannot see it. "
                "Leave storage= out for SQLite in directory=, or pass the URL of a database."
            )
        for callback in recipe.callbacks:
            check_callback(callback)
        may_add = any(map(may_add_metrics, recipe.callbacks))
        check_training(fit, recipe.objectives, may_add=may_add)
        with seeds_kept(), borrowed(recipe.build_model, *fit.functions.values()):
            if is_here:
                fit = recipe.loaded(fit)
            else:
                fit.check()
            fit.check_kinds()
            if hasattr(recipe.build_model, "learn_ranges"):  # it was written for KerasTuner
                # If this process trains, run_trials() soon collects all garbage, which takes long.
                with Memory().released(collects=not is_here):
                    learn_ranges(recipe.build_model)
        return replace(self, fit=fit)

    @contextmanager
    def guarded(self, call: str) -> Iterator[None]:
        """Let Ctrl-C end a call of the tuner in good order, and show each warning only once."""
        how_to_go_on = (
            f"{call} was stopped. Call it with the same arguments to continue study "
            f"{self.home.name!r}: finished trials are kept, and unfinished ones are resumed."
        )
        own = borrowed(self.recipe.build_model, *self.fit.functions.values())
        listening, telling = _signals.listening(how_to_go_on), self.home.telling_of_deletion()
        with _optuna.quiet(), shown_once(), seeds_kept(), own, listening, telling:
            yield

    def go(
        self,
        study: optuna.Study,
        card: Card,
        keep_best: int | str,
        *,
        start: Start = _COLD,
        sampler_seed: int | None = None,
        news: Sequence[str] = (),
    ) -> None:
        """Run trials of a study until the budget is spent.

        Args:
            study: The study, with its sampler and pruner.
            card: The card by which this run was compared with the study's trials.
            keep_best: How many trials keep their weights; "auto" if no number was ever set.
            start: The trials from which the search starts; default none.
            sampler_seed: The seed of a sampler that was made for the run. Default None.
            news: Lines that are shown before the first trial. Default none.
        """
        budget, recipe, crew = self.budget, self.recipe, self.crew
        size, key = budget.n_trials, StudyRecord(study).card
        # A call that begins no trial writes no card, which no trial would have.
        if size is None or len(StudyRecord(study).finished) < size:
            card = card_in_study(
                card,
                study,
                recipe,
                len(start.warm_trials),
                trains=crew.is_this_process,
                n_workers=crew.n_workers,
                sampler_seed=sampler_seed,
            )
            card.write(study)
            key = card.key
        call = Call(recipe, self.fit, card, keep_best, start.warm_trials, sampler_seed)
        conditions = budget.conditions.from_now_on(study, key)
        budget = replace(budget, conditions=conditions)
        progress = self._progress(study, conditions)
        chosen = study.study_name, study.sampler, study.pruner
        job = Job(self.home.storage_source, *chosen, call, budget)
        with progress.running():
            for line in filter(None, [*news, start.line]):
                progress.note(line)
            crew.run(study, job, progress, self.home.folder)
            if stop := conditions.stop(study):
                StudyRecord(study).ended = [len(StudyRecord(study).finished), stop]
            if progress.others and (why := conditions.reason(study)):
                progress.note(why)
        if conditions.is_late and not StudyRecord(study).finished:
            _check.warn(
                "The search ended before any trial had a result: its time was over (timeout=)."
            )

    def _progress(self, study: optuna.Study, conditions: StopConditions) -> Progress:
        """Return all that follow the progress: the user, a log, and functions of the user."""
        deadline, recipe = conditions.deadline, self.recipe
        seconds = None if deadline is None else deadline.seconds_left()
        aim, size, epochs = recipe.objectives, self.budget.n_trials, recipe.epochs_in_all(self.fit)
        plan = Plan(study.study_name, aim, size, epochs, seconds)
        followers: list[Progress] = []
        if self.verbose != 0:
            followers.append(progress_for(self.verbose, study, plan))
        if LOG.isEnabledFor(logging.INFO):
            followers.append(Lines(study, plan, partial(LOG.info, "%s: %s", study.study_name)))
        if self.on_trial_end:
            followers.append(Announced(study, self.on_trial_end, conditions))
        return Progress(others=followers)


def search(run: Run, chooser: Chooser, warm_start: Source | list[Source] | None) -> None:
    """Run trials until the budget is spent, and keep the weights of the best ones.

    Args:
        run: What is trained, and how, unchecked.
        chooser: The sampler and the pruner.
        warm_start: Earlier trials, as the tuner takes them.
    """
    run = run.prepared()
    recipe, fit, budget = run.recipe, run.fit, run.budget
    with run.guarded("search()"):
        card = card_of(recipe, fit)
        if chooser.sampler == "grid":
            with Memory().released():
                check_finite(recipe.build_model, tuple(fit.functions.values()))
        start = _COLD if warm_start is None else start_of(warm_start, recipe, fit, card)
        study = writable_study(run.home)  # this may delete the study that the start was read from
        keeping = recipe.keeping(study, run.keep_best)
        if keeping.most:
            recipe.store.check()
        if study.get_trials(deepcopy=False):
            check_comparable(study, card, fit)
        keeping = keeping.settled()
        drawn, chosen = chooser.start(
            study,
            budget.n_trials,
            recipe.epochs_in_all(fit),
            deadline=budget.conditions.deadline,
            terminator=budget.conditions.terminator,
        )
        if start.first:
            start.lay_out(study)
        keeping.tidy()
        run.go(study, card, keeping.asked, start=start, sampler_seed=drawn, news=chosen)
        keeping.tidy()
        check_study(study)


def writable_study(home: Home) -> optuna.Study:
    """Return the study that is about to be written to.

    If `overwrite` is set, the first call in a process replaces the study by a new one. If the study
    has trials, that call reseeds the sampler: otherwise, a pickled or seeded sampler would draw
    their parameters again.
    """
    if not home.has_begun:
        if home.overwrite:
            home.forget()
            overwrite.clear(home)
        try:
            _ = home.study
        except StudyMismatchError:
            if not overwrite.is_replaced(home):
                raise
        # A storage that may only be read refuses this before anything else happens. Optuna writes
        # no value that is there already, so it is the time.
        StudyRecord(home.study).written = time.time_ns()
        home.name_metrics(home.study)
        if home.study.get_trials(deepcopy=False):
            home.study.sampler.reseed_rng()
        home.has_begun = True
    return home.study
