"""OptunaTuner: the arguments of a search, and the search."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from kerastune_optuna import _signals
from kerastune_optuna._again import Again
from kerastune_optuna._arguments import check_limits, check_names, check_tuner
from kerastune_optuna._backend import Memory
from kerastune_optuna._confirm import Confirming
from kerastune_optuna._data import FitArguments, check_fit_arguments, cross_validated, told
from kerastune_optuna._queue import Queue
from kerastune_optuna._report import progress_for
from kerastune_optuna._search import (
    Budget,
    Deadline,
    Ending,
    check_study,
    lay_out_grid,
    room,
    samplers,
)
from kerastune_optuna._storage import StoreSource, check_store
from kerastune_optuna._study import Constraint, opening
from kerastune_optuna._trainer import plan_of
from kerastune_optuna._trial import Builder, Recipe, backup, claim_keeping, discard_outranked, keeps
from kerastune_optuna._workers import Crew, comparable, shown_once

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage


class OptunaTuner(Queue, Again, Confirming):
    """Tune the hyperparameters of a Keras model with Optuna.

    Each trial calls `build_model`, trains the model, reports the objective of each epoch, and is
    pruned where it is weak. Its value is that of its best epoch, and the weights kept are those of
    that epoch. The study is the only state: a new process with the same arguments sees the same
    results and goes on where the last one stopped.

    Args:
        build_model: Takes an Optuna trial and returns a compiled keras.Model, or a tuple of it and
            a dict of arguments of Model.fit, like batch_size, which go before those of search();
            callbacks among them are added to those of search(). Where it has a method
            `fit(trial, model, **fit_arguments)`, that one trains the model in place of Model.fit.
        objective: Name of a metric in the epoch logs. Default "val_accuracy", which also finds the
            categorical, sparse and binary accuracies of Keras. Or a list of names, also "n_params",
            "seconds" and "inference_ms"; its first metric decides on best epochs and on pruning.
        direction: "minimize", "maximize", or "auto" (default) where the name leaves no doubt; or a
            list.
        n_trials: Size of the study, over all calls of search(); COMPLETE and PRUNED trials count.
            Default 30; None for no limit.
        timeout: Seconds after which one search() starts no further trial. Default None.
        sampler: "tpe", "gp", "cmaes", "random", "qmc", or "grid", which tries each configuration of
            the builder once; or an Optuna sampler. Default "tpe". Names are seeded from `seed`.
        pruner: "wilcoxon", "median", "percentile", "halving", "hyperband", "none", or an Optuna
            pruner. Default "wilcoxon", with p_threshold=0.2, which ends a trial whose curve is
            worse than that of the best one; it saved most epochs for what it lost.
        terminator: After how many trials without a better value the search ends; or an object of
            which `should_terminate(study)` is asked after each trial. Default None: never.
        train_repeats: Train a configuration again that was trained before. Default False: a trial
            that repeats another takes its result over, and the search ends where nothing is left.
        seed: Fixes the sampler and the training of each trial. Default None: seeds are drawn, and
            recorded with the trials.
        directory: Folder for the database and the weights. Default "tuning".
        study_name: Default: the builder's name.
        storage: A database URL or an Optuna storage object. Default None: SQLite in `directory`.
        artifact_store: Where weights are kept: an Optuna artifact store, or a function that each
            worker calls to open one. Default None: a folder in `directory`.
        executions_per_trial: How often each configuration is trained, each time with a seed of its
            own. Default 1. The mean counts, and prunes; the weights of the best execution are kept.
        keep_best: How many trials keep their weights; of several objectives it is the whole front.
            0 keeps no histories either. Default None: as many as before, in a new study 1. Fewer
            than before has the others deleted, once no other search is at work.
        max_params: The most parameters that a model may have to be trained. Default None.
        max_seconds_per_trial: Seconds after which the training of a trial is ended. Default None.
        constraints: Functions that take a trial and its model, which is not trained where one
            returns a number above 0. A trial that breaks a constraint is PRUNED.
        max_failed_trials: How many trials may fail in a row before search() gives up. Default 10.
            Before any succeeded, two that fail with the same error are enough.
        backup_every: Seconds between two backups of a running trial, from which it is resumed when
            its process dies. Default 60; 0 for one at each epoch, None for none.
        storage_patience: Seconds for which a database that went away is waited for. Default 300.
        overwrite: Delete a study of that name when search() or enqueue() is first called, unless a
            process runs a trial of it, which is an error. Copies of a script that run already when
            one of them makes the study anew share that one: on one machine, or as one step of
            SLURM or one mpirun. Default False.
        **others: None: a name that there is not gets an error that says which one is near.

    Raises:
        ArgumentError: An argument cannot work; the text says what to pass.

    Example:
        >>> import keras, numpy, tempfile
        >>> from kerastune_optuna import OptunaTuner
        >>> x = numpy.random.default_rng(0).normal(size=(64, 4))
        >>> y = x.sum(axis=1)
        >>> def build_model(trial):
        ...     units = trial.suggest_int("units", 4, 16)
        ...     model = keras.Sequential([keras.layers.Dense(units), keras.layers.Dense(1)])
        ...     model.compile("adam", "mse")
        ...     return model
        >>> folder = tempfile.mkdtemp()
        >>> tuner = OptunaTuner(build_model, "val_loss", n_trials=2, seed=0, directory=folder)
        >>> tuner = tuner.search(x, y, validation_split=0.25, epochs=2, verbose=0)
        >>> sorted(tuner.best_params)
        ['units']
        >>> loss = tuner.best_model().evaluate(x[48:], y[48:], verbose=0)
        >>> abs(loss - tuner.best_value) < 1e-6
        True
    """

    def __init__(
        self,
        build_model: Builder,
        objective: str | Sequence[str] = "val_accuracy",
        *,
        direction: str | Sequence[str] = "auto",
        n_trials: int | None = 30,
        timeout: float | None = None,
        sampler: BaseSampler | str | None = None,
        pruner: BasePruner | str | None = None,
        terminator: Any = None,
        train_repeats: bool = False,
        seed: int | None = None,
        directory: str | Path = "tuning",
        study_name: str | None = None,
        storage: str | BaseStorage | None = None,
        artifact_store: StoreSource | None = None,
        executions_per_trial: int = 1,
        keep_best: int | None = None,
        max_params: int | None = None,
        max_seconds_per_trial: float | None = None,
        constraints: Sequence[Constraint] = (),
        max_failed_trials: int = 10,
        backup_every: float | None = 60,
        storage_patience: float = 300,
        overwrite: bool = False,
        **others: NoReturn,
    ) -> None:
        check_names(others, OptunaTuner)
        self.build_model = build_model
        self.objective = objective
        self.direction = direction
        self.n_trials = n_trials
        self.timeout = timeout
        self.sampler = sampler
        self.pruner = pruner
        self.terminator = terminator
        self.train_repeats = train_repeats
        self.seed = seed
        self.directory = directory
        self.study_name = study_name
        self.storage = storage
        self.artifact_store = artifact_store
        self.executions_per_trial = executions_per_trial
        self.keep_best = keep_best
        self.max_params = max_params
        self.max_seconds_per_trial = max_seconds_per_trial
        self.constraints = constraints
        self.max_failed_trials = max_failed_trials
        self.backup_every = backup_every
        self.storage_patience = storage_patience
        self.overwrite = overwrite
        self._has_searched = False
        check_tuner(self)

    def search(
        self,
        x: Any = None,
        y: Any = None,
        *,
        epochs: int = 10,
        validation_data: Any = None,
        validation_split: float = 0.0,
        cv: Any = None,
        groups: Any = None,
        callbacks: Any = None,
        verbose: str | int = "auto",
        n_trials: int | None = None,
        timeout: float | None = None,
        n_workers: int = 1,
        executor: Executor | None = None,
        steps_per_execution: int | str = "auto",
        **fit_kwargs: Any,
    ) -> OptunaTuner:
        """Run trials until the study has `n_trials`, going on with a study that exists.

        Where the last trials run in other processes, it waits for them and says so, and runs again
        what is left undone by one that dies; Ctrl-C ends the waiting, and `timeout` does. Tasks of
        an executor end before, and free their machines.

        Args:
            x: Training data as Model.fit takes it, or a function without arguments that returns it,
                which is called for each trial where that is a generator (with `steps_per_epoch=`);
                a tf.data.Dataset of single rows goes in batches of `batch_size`.
            y: Targets, where `x` does not hold them; or such a function.
            epochs: Epochs of a trial that is not stopped early. Default 10.
            validation_data: As for Model.fit, or a function that returns it.
            validation_split: As for Model.fit. Default 0.0.
            cv: A number of folds (with scikit-learn), a splitter like GroupKFold(5), or a list of
                (train, test) rows: each trial trains once for each fold of the arrays, and the mean
                counts. Default None.
            groups: What the splitter gets as groups.
            callbacks: Keras callbacks, of which each trial gets copies; a function in the list is
                called with the trial and returns a callback.
            verbose: 0 prints nothing, 2 a line for each trial. 1 draws a live display in a terminal
                or notebook, and is 2 elsewhere. "auto" (default) is 1.
            n_trials: Another size of the study than the constructor's.
            timeout: Another limit in seconds than the constructor's.
            n_workers: How many processes search. 1 (default) is this one; more are started beside
                it, and replaced when they die.
            executor: Where the workers run instead: any concurrent.futures.Executor, like
                `client.get_executor(pure=False)` of a Dask client.
            steps_per_execution: How many training steps one call into TensorFlow makes. "auto"
                (default) makes as many as save time, where nothing but time can differ: the size of
                the data is known, no callback acts on batches, and the builder left it at 1.
            **fit_kwargs: Anything else that Model.fit takes.

        Returns:
            The tuner itself.

        Raises:
            ArgumentError: An argument cannot work. Nothing was trained.
            BuilderError: build_model returned no compiled model. Nothing was trained.
            MetricNotFoundError: The model does not log the objective.
            StudyMismatchError: The study exists with another objective, direction or validation
                data, or with other values of a parameter; overwrite=True would delete it while it
                is searched, or another process has deleted it.
            StorageError: The storage cannot be used, or was away for longer than its patience.
            WeightsError: Weights or backups cannot be saved; the results of trials are kept.
            KeyboardInterrupt: Ctrl-C: the running trials ended after the epoch, or where that
                lasts at the next batch, and the next search() goes on from their last whole epoch
                (where a builder's own fit trains in phases, from the last of the first phase). A
                second one ends at once. SIGTERM does the same, and ends in SystemExit.
            TooManyFailuresError: Too many trials failed in a row, the first two for one cause, or
                none came to anything.
            WorkerError: Workers died one after the other.
        """
        check_fit_arguments(fit_kwargs)
        given = FitArguments(
            x, y, epochs, validation_data, validation_split, fit_kwargs, steps_per_execution
        )
        budget = self._budget(n_trials, timeout)
        metrics = [one.name for one in self._objectives.metrics]
        fit = cross_validated(given, cv, groups, self.seed, metrics)
        crew, recipe = self._prepared(fit, callbacks, verbose, n_workers, executor)
        given = replace(given, folds=fit.folds)  # with the functions that load data as they came
        how = self._how_to_go_on()
        quiet, told = opening.quiet_optuna(), self._telling_of_deletion()
        with quiet, shown_once(), _signals.Brief(), _signals.listening(how), told:
            self._search(recipe, given, budget, crew, verbose)
        return self

    def _search(
        self, recipe: Recipe, given: FitArguments, budget: Budget, crew: Crew, verbose: str | int
    ) -> None:
        """Open the study for writing and let the crew work on it."""
        study = self._opened()
        if keeps(study, self.keep_best):
            check_store(self._store)
        comparable.warn_if_builder_changed(study, recipe)
        opening.claim_trainings(study, recipe.executions, told(recipe.fit.folds))
        comparable.claim(study, recipe, budget.n_trials)
        recipe = replace(recipe, keep_best=claim_keeping(study, self.keep_best))
        _tidy(study, recipe)
        study.pruner = samplers.made_pruner(self.pruner, recipe.last_epoch)
        is_new = not self._has_searched
        drawn = samplers.start_sampler(study, self.sampler, self.seed, fresh_process=is_new)
        self._has_searched = True
        space = room(study, budget.n_trials)
        grid = lay_out_grid(study, self.build_model, space, self.seed, Memory(share=1.0))
        progress = progress_for(verbose, study, plan_of(study, recipe, budget), budget.n_trials)
        budget = replace(budget, first_trial=len(study.get_trials(deepcopy=False)))
        if self.overwrite:
            budget.prepare(study)
            self._settle()
        known = self._known(recipe, given, drawn, crew.n_workers)
        job = self._job(study, recipe, budget, known)
        with progress.running():
            progress.tell(grid)
            crew.run(study, job, progress, self._folder)
            progress.tell(budget.ending.reason(study))
        self._settle()
        _tidy(study, recipe)
        check_study(study)

    def _how_to_go_on(self) -> str:
        return (
            f"The search was stopped. Call search() again to go on with study {self._name!r}: "
            "what it finished is kept, and what it was running is resumed."
        )

    def _budget(self, n_trials: int | None, timeout: float | None) -> Budget:
        check_limits(n_trials, timeout)
        seconds = self.timeout if timeout is None else timeout
        return Budget(
            self.n_trials if n_trials is None else n_trials,
            None if seconds is None else Deadline(seconds),
            self.max_failed_trials,
            ending=Ending(self.terminator, self.train_repeats),
        )


def _tidy(study: optuna.Study, recipe: Recipe) -> None:
    """Delete what killed processes left in the store."""
    discard_outranked(study, recipe)
    backup.discard_orphans(recipe.store, study)
