"""OptunaTuner: takes the arguments of a search, runs it, and returns its results."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import keras
import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from kerastune_optuna import _report, _rerun, _search, _study, _trial, _workers
from kerastune_optuna._arguments import budget_of, check_names, check_tuner
from kerastune_optuna._backend import let_memory_grow
from kerastune_optuna._data import Given, as_list, check_fit_arguments, cross_validated
from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._generators import borrowed
from kerastune_optuna._keras_tuner import absent, check_hooks
from kerastune_optuna._rerun import Confirmation, Ensemble
from kerastune_optuna._signals import readable
from kerastune_optuna._storage import StoreSource
from kerastune_optuna._study import Home
from kerastune_optuna._trial import Builder, Recipe

if TYPE_CHECKING:
    import pandas
    import plotly.graph_objects as go


class OptunaTuner:
    """Tune the hyperparameters of a Keras model with Optuna.

    Each trial calls `build_model`, trains the model and reports the objective after each epoch, so
    that the pruner can stop a weak trial early. The value of a trial is that of its best epoch, and
    the weights of that epoch are kept. The study holds everything: a new process that passes the
    same arguments sees the same results and continues where the last one stopped.

    Args:
        build_model: Function that takes an Optuna trial and returns a compiled keras.Model, or a
            tuple of the model and a dict of arguments for Model.fit, such as batch_size. The dict
            takes precedence over the arguments of search(), but its callbacks are added to those of
            search(). If build_model has a method `fit(trial, model, **fit_arguments)`, that method
            trains the model instead of Model.fit, and the model need not be compiled.
        objective: Name of a metric in the epoch logs, or a list of names. Default "val_accuracy",
            which also matches the categorical, sparse and binary accuracies of Keras. A list may
            also contain "n_params", "flops" and "seconds"; the first metric in it decides which
            epoch is best and which trials are pruned. An Objective of KerasTuner, which includes
            its direction, may replace a name.
        direction: "minimize", "maximize", or "auto" (default), which infers the direction if the
            name of the objective makes it certain; or a list with one of these for each objective.
        n_trials: How many COMPLETE and PRUNED trials the study may have, over all calls of
            search(). Default 30; None for no limit.
        timeout: Seconds after which a call of search() starts no further trial. Default None: no
            limit.
        sampler: Chooses the parameters of each trial: an Optuna sampler, or one of these names.
            "gp" is GaussianProcessSampler, "grid" tries each configuration once, and "tpe",
            "cmaes", "random" and "qmc" are Optuna's samplers. They use `seed`. Default "auto": "gp"
            for the first 200 trials (fewer with more than 15 parameters), then "tpe".
        pruner: Decides which trials end early: an Optuna pruner, or "wilcoxon", "median",
            "percentile", "halving", "hyperband" or "none". "wilcoxon" ends a trial whose learning
            curve is worse than that of the best trial by Wilcoxon's signed-rank test (1945), with a
            p-value below 0.2, or below 0.05 if a trial has 12 epochs or more. It never ends a trial
            that has had a better epoch than the best trial. Default "auto": "wilcoxon", after short
            trials if the search is long: the first six trials end after a tenth of their epochs (at
            least three), and the next six if they start badly, until a trial is COMPLETE. This
            needs one objective, sampler="auto", `n_trials` of 15 or more (or None and a `timeout`),
            12 epochs or more, at least 50 configurations and twice `n_trials`, time for ten
            trainings within `timeout`, and no `terminator` other than "auto".
        terminator: Number of trials without a better value after which the search ends; or "auto",
            which ends it once the Gaussian process of the sampler expects a further trial to gain
            less than a hundredth of the distance from the median to the best value, or less than
            the standard error of the best value, three times in a row (for one objective, and
            sampler="auto" or "gp"); or an object whose
            `should_terminate(study)`, called after each trial, returns whether to end it. Default
            None: never.
        stop_at: Value of the objective that is good enough: once a trial reaches it, no further
            trial starts. Default None: no value is.
        train_repeats: Whether to train a configuration that was trained before. Default False: a
            trial that repeats an earlier one takes over its result, and the search ends when no
            configuration is left.
        warm_start: Earlier trials: an Optuna study, a DataFrame like `results()`, or a list of
            these. Trials with the same data, arguments of fit and objective are only shown to the
            sampler; of the others, the best three configurations are run first in a new study.
            Default None: no earlier trials.
        seed: Seed of the sampler and of the training of each trial. Default None: seeds are drawn
            at random and recorded with the trials.
        directory: Folder for the database and the weights. Default "tuning".
        study_name: Name of the study. Default None: the name of the builder.
        storage: A database URL or an Optuna storage object. Default None: SQLite in `directory`.
        artifact_store: Where weights are kept: an Optuna artifact store, or a function that each
            worker calls to open one. Default None: a folder in `directory`.
        executions_per_trial: How often each configuration is trained, each time with another seed.
            Default 1. The mean of the executions counts, for the pruner too; the weights of the
            best execution are kept.
        keep_best: How many trials keep their weights. With several objectives, the whole front
            keeps them. With 0, epoch logs are not kept either. Default "auto": as many as in the
            last search of the study. In a new study these are 5, but only the best one of models
            with more than a million parameters (4 MB).
        max_params: The most parameters that a model may have; larger models are not trained.
            Default None: no limit.
        max_flops: The most floating-point operations that a model may take for a forward pass of
            one row; larger models are not trained. Default None: no limit.
        max_seconds_per_trial: Seconds after which the training of a trial is stopped. Default None:
            no limit.
        constraints: Functions that take a trial and its model and return a number. If the number is
            above 0, the model is not trained, and the trial is PRUNED. Where the parameters alone
            show that a configuration is not allowed, let build_model raise FailedTrialError:
            the trial is FAIL, and another one takes its place. Default (): no constraints.
        max_failed_trials: Number of trials that fail in a row before search() gives up. Default
            "auto": 10, or 2 with the same error before any trial succeeds.
        backup_every: Seconds between two backups of a running trial, which is resumed from the last
            backup if its process dies. Default 60; 0 for a backup at each epoch, None for none.
        overwrite: Whether to delete an existing study of this name when search(), enqueue() or
            `study` is first used. Until then, its trials are not shown. If several copies of a
            script share a study, pass it to only one of them. Default False.
        **others: Other names raise an error, which suggests the argument with a similar name.

    Raises:
        ArgumentError: An argument cannot work; the message says what to pass instead.

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
        sampler: BaseSampler | str = "auto",
        pruner: BasePruner | str = "auto",
        terminator: Any = None,
        stop_at: float | None = None,
        train_repeats: bool = False,
        warm_start: _workers.Source | list[_workers.Source] | None = None,
        seed: int | None = None,
        directory: str | Path = "tuning",
        study_name: str | None = None,
        storage: str | BaseStorage | None = None,
        artifact_store: StoreSource | None = None,
        executions_per_trial: int = 1,
        keep_best: int | str = "auto",
        max_params: int | None = None,
        max_flops: int | None = None,
        max_seconds_per_trial: float | None = None,
        constraints: Sequence[Callable[[optuna.Trial, keras.Model], Any]] = (),
        max_failed_trials: int | str = "auto",
        backup_every: float | None = 60,
        overwrite: bool = False,
        **others: NoReturn,
    ) -> None:
        if others:
            check_names(others, OptunaTuner)
        self.build_model = build_model
        self.objective = objective
        self.direction = direction
        self.n_trials = n_trials
        self.timeout = timeout
        self.sampler = sampler
        self.pruner = pruner
        self.terminator = terminator
        self.stop_at = stop_at
        self.train_repeats = train_repeats
        self.warm_start = warm_start
        self.seed = seed
        self.directory = directory
        self.study_name = study_name
        self.storage = storage
        self.artifact_store = artifact_store
        self.executions_per_trial = executions_per_trial
        self.keep_best = keep_best
        self.max_params = max_params
        self.max_flops = max_flops
        self.max_seconds_per_trial = max_seconds_per_trial
        self.constraints = constraints
        self.max_failed_trials = max_failed_trials
        self.backup_every = backup_every
        self.overwrite = overwrite
        if type(self) is not OptunaTuner:
            check_hooks(type(self))
        check_tuner(self)
        _ = self._constraints  # refuses limits that cannot work

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
        on_trial_end: Any = None,
        verbose: str | int = "auto",
        n_trials: int | None = None,
        timeout: float | None = None,
        n_workers: int = 1,
        executor: Executor | None = None,
        steps_per_execution: int | str = "auto",
        **fit_kwargs: Any,
    ) -> OptunaTuner:
        """Run trials until the study has `n_trials`, continuing a study that exists.

        If other processes are running the last trials, you see a line about it, and this call waits
        for them; if one of these processes dies, this call runs its trial again. Ctrl-C or
        `timeout` ends the wait. Tasks of an executor do not wait, so that their machines become
        free.

        Args:
            x: Training data as Model.fit takes it: arrays with one row per example, a dict or list
                of them, or batches such as a tf.data.Dataset. Or a function without arguments that
                returns it or (x, y). If such a function returns a generator (with
                `steps_per_epoch=`), it is called for each trial. A function that takes the trial
                may suggest parameters; it is called for each trial, before build_model. Default
                None, for a builder whose own fit needs no data.
            y: Targets with as many rows as `x`, or a function as for `x`. Default None, for an `x`
                that contains them.
            epochs: Epochs of a trial that is not stopped early. Default 10.
            validation_data: (x, y), (x, y, sample_weight) or batches, as for Model.fit; or a
                function as for `x`. Default None: none.
            validation_split: Share of the last rows to validate on, as for Model.fit. Default 0.0.
            cv: Cross-validation with scikit-learn: a number of folds, a splitter such as
                GroupKFold(5), or a list of (train, test) pairs of row numbers. Each trial trains
                once on each fold of the arrays, and the mean counts. Default None: one training.
            groups: The group of each row, which the splitter gets. Default None: no groups.
            callbacks: List of Keras callbacks, which are copied for each trial. A function in the
                list is called with the trial and returns a callback. Default None: no callbacks.
            on_trial_end: A function or list of functions, each called in this process as
                `function(study, trial)` with each trial that ends during this call, whichever
                worker ran the trial. An error in one of them ends the search; `study.stop()` ends
                it once the running trials have ended. Default None: no functions.
            verbose: 0 prints no progress, and 2 prints a line for each trial. 1 draws a live
                display in a terminal or notebook, and elsewhere acts like 2. "auto" (default) is 1.
                Warnings, and notices such as a worker that died, always go to standard error.
            n_trials: Size of the study for this call. Default None: the tuner's `n_trials`.
            timeout: Limit in seconds for this call. Default None: the tuner's `timeout`.
            n_workers: Number of processes that run trials. With 1 (default), this process runs them
                itself; with more, it starts that many, and replaces those that die.
            executor: Where the workers run instead: any concurrent.futures.Executor, such as
                `client.get_executor(pure=False)` of a Dask client. Default None: on this machine.
            steps_per_execution: Number of training steps in one call into TensorFlow. "auto"
                (default) chooses as many as save time, if only the time can change: the size of the
                data is known, no callback acts on batches, and the builder left the setting at 1.
            **fit_kwargs: Other arguments of Model.fit. If the builder has its own fit, that fit may
                take other arguments, and no data at all.

        Returns:
            The tuner itself.

        Raises:
            ArgumentError: An argument cannot work. Nothing was trained.
            BuilderError: build_model returned no compiled model, or one that shares its optimizer
                or trained variables with an earlier one; or its own fit put other variables into
                the model. The trials before it are kept.
            MetricNotFoundError: The model does not log the objective.
            StudyMismatchError: The study exists with another objective, direction, validation data
                or number of trainings per trial, or has a parameter with other choices, another
                type or another scale; overwrite=True would delete a study while it is being
                searched; or another process has deleted the study.
            StorageError: The storage cannot be used, or did not answer for five minutes.
            WeightsError: Weights or backups cannot be saved; the results of trials are kept.
            KeyboardInterrupt: Ctrl-C was pressed. The running trials ended after their epoch, or at
                the next batch if an epoch takes long. The next search() continues them from that
                epoch, or from their last backup. A second Ctrl-C ends the search at once. SIGTERM
                and SIGHUP do the same, but raise SystemExit.
            TooManyFailuresError: Too many trials failed in a row, the first two failed with the
                same error, or none of them was trained to a value.
            WorkerError: Workers died one after another, or this process was forked after TensorFlow
                had started its threads.

        Example:
            With the tuner and the data of the example of OptunaTuner, two more trials:

            >>> tuner = tuner.search(x, y, validation_split=0.25, epochs=2, n_trials=4, verbose=0)
            >>> len(tuner.study.trials)
            4
        """
        given = x, y, epochs, validation_data, validation_split, fit_kwargs, steps_per_execution
        fit = self._given("search()", given)
        if cv is not None or groups is not None:
            metrics = [one.name for one in self._home.objectives.metrics]
            fit = cross_validated(fit, cv, groups, self.seed, metrics)
        recipe = self._recipe(callbacks)
        listeners = () if on_trial_end is None else _workers.listeners(on_trial_end)
        budget, crew = budget_of(self, n_trials, timeout), _workers.Crew(n_workers, executor)
        run = _workers.Run(
            self._home, recipe, fit, self.keep_best, budget, crew, verbose, listeners
        )
        chooser = _search.Chooser(self.sampler, self.pruner, self.seed)
        _workers.search(run, chooser, self.warm_start)
        return self

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
        """Train the best configurations again with new seeds, to see how much was luck.

        The best of many noisy values is too good by chance. Here each configuration gets a mean and
        a confidence interval. No execution is pruned, and constraints are not checked again. Pass
        data that the search did not see, if you can: the search chose the configurations by its
        validation data, whereas an execution only chooses its best epoch by the data passed here.

        The executions are trials of a separate study next to that of the search. If confirm() is
        called again with the same data and arguments, for example after its process was killed or
        with another number of executions, it trains only executions that are missing or failed.
        Arrays are compared by content, functions by their code, and a PyDataset or DataLoader only
        by its plain attributes.

        Args:
            top: Number of best configurations to train again. Default 3.
            executions: How often each configuration is trained, at least 2 times. Default 5.
            x: Training data as search() takes it; a study does not store it.
            y: Targets. Default None, for an `x` that contains them.
            validation_data: Data that the executions are evaluated on, as search() takes it.
            epochs: Epochs of an execution. Default None: as many as in the best trial's search.
            validation_split: As for Model.fit. Default 0.0.
            callbacks: As search() takes them; pass the EarlyStopping of the search, if it had one.
            verbose: As for search().
            n_workers: As for search().
            executor: As for search().
            steps_per_execution: As for search().
            **fit_kwargs: Other arguments of Model.fit. Those that are left out are as in the search
                of the best trial, except `sample_weight`; a warning names each that differs.

        Returns:
            A Confirmation with the `ranking`, the `winner`, whether it `is_clear`, and the `luck`
            of the search. It prints as a table.

        Raises:
            ArgumentError: An argument cannot work, or there are several objectives. Nothing was
                trained.
            NoTrialsError: The search has fewer COMPLETE configurations.
            TooManyFailuresError: No configuration completed two executions.
            TunerError: Other errors of search(), for the same reasons.

        Example:
            With the tuner and the data of the example of OptunaTuner:

            >>> found = tuner.confirm(2, 2, x[:48], y[:48], (x[48:], y[48:]), verbose=0)
            >>> [len(one.values) for one in found.ranking]
            [2, 2]
            >>> low, high = found.winner.interval
            >>> low < found.winner.mean < high
            True
        """
        given = x, y, epochs, validation_data, validation_split, fit_kwargs, steps_per_execution
        fit, recipe = self._given("confirm()", given), self._recipe(callbacks, again=True)
        budget, crew = budget_of(self), _workers.Crew(n_workers, executor)
        run = _workers.Run(self._home, recipe, fit, self.keep_best, budget, crew, verbose)
        _rerun.confirm(run, top, executions)
        return self.confirmation

    @property
    def confirmation(self) -> Confirmation:
        """The Confirmation that the last confirm() returned, read from the study.

        Raises:
            NoTrialsError: confirm() was not called, or has not finished.
            TooManyFailuresError: No configuration completed two executions.
        """
        return _rerun.confirmation(self._home)

    def refit(
        self,
        x: Any = None,
        y: Any = None,
        epochs: int | None = None,
        *,
        trial: int | FrozenTrial | None = None,
        validation_data: Any = None,
        validation_split: float = 0.0,
        callbacks: Any = None,
        verbose: str | int = "auto",
        steps_per_execution: int | str = "auto",
        **fit_kwargs: Any,
    ) -> tuple[keras.Model, Any]:
        """Train the best configuration again from its seed, for example on all data.

        If a trial had several trainings, because of executions_per_trial= or cv=, the seed of the
        best training is used.

        Args:
            x: Training data, as search() takes it.
            y: Targets. Default None, for an `x` that contains them.
            epochs: Number of epochs. Default None: as many as the trial ran up to its best epoch.
            trial: Another COMPLETE trial, or its number. Default None: the best trial, which only a
                study with one objective has.
            validation_data: As for Model.fit. Default None: none.
            validation_split: As for Model.fit. Default 0.0.
            callbacks: List of Keras callbacks, which are not copied. A function in the list is
                called with the trial and returns a callback. Default None: no callbacks.
            verbose: As for Model.fit. Default "auto".
            steps_per_execution: As for search(). Default "auto".
            **fit_kwargs: Other arguments of Model.fit. Default: those that search() got, as far as
                the study has them, for example `batch_size`. Arguments that build_model returns
                with its model take precedence over these, except `epochs`.

        Returns:
            The model with the weights of its last epoch, and the keras.callbacks.History that
            Model.fit returned. If the builder has its own fit, what that fit returned replaces the
            History.

        Raises:
            ArgumentError: An argument cannot work. Nothing was trained.
            NoTrialsError: No trial is COMPLETE yet, or the trial of that number is not.

        Example:
            With the tuner and the data of the example of OptunaTuner:

            >>> model, history = tuner.refit(x, y, epochs=3, verbose=0)
            >>> len(history.history["loss"])
            3
        """
        given = x, y, 1, validation_data, validation_split, fit_kwargs, steps_per_execution
        fit, recipe = self._given("refit()", given), self._recipe(callbacks, again=True)
        return _rerun.refit(self._home, recipe, fit, trial, epochs, verbose)

    def enqueue(self, params: Mapping[str, Any] | None = None, *functions: Any) -> None:
        """Add a trial with these parameters, which runs before those that the sampler chooses.

        The trial waits in the study until a worker is free, and counts towards `n_trials`. A
        configuration that the study already has is not added again, so that running a script twice
        adds nothing. build_model is called once with the parameters to check them; nothing is
        trained.

        Args:
            params: Values of parameters by name. The sampler chooses the parameters that are left
                out. If the builder has its own fit, its parameters may be given too, but they are
                not checked. Default None: what the builder's function `default_params` returns, or,
                if it has none, the first of the choices and the middle of each range (of its
                logarithm with log=True).
            *functions: Functions of the trial that will be passed to search() as data, if they
                suggest some of the parameters. They are called once too.

        Raises:
            ArgumentError: build_model does not suggest a parameter of this name or does not allow
                its value, or it suggests no parameters at all.

        Example:
            With the tuner of the example of OptunaTuner:

            >>> tuner.enqueue({"units": 16})
            >>> tuner.study.trials[-1].state.name
            'WAITING'
        """
        if isinstance(self.build_model, _rerun.FromFiles):
            raise self.build_model.error()
        let_memory_grow()  # before this process makes a model, since workers may train
        with borrowed(self.build_model, *functions):
            wanted = _search.chosen(self.build_model, params, functions)
            _search.enqueue(_workers.writable_study(self._home), wanted)

    @property
    def study(self) -> optuna.Study:
        """The optuna.Study, with all that Optuna offers; it is created if it does not exist.

        Raises:
            StorageError: The storage cannot be used.
            StudyMismatchError: The study exists with another objective or direction.
        """
        return _workers.writable_study(self._home) if self._home.overwrite else self._home.study

    @property
    def best_trial(self) -> FrozenTrial:
        """The COMPLETE trial with the best value; the earliest one if several are equal.

        Raises:
            ArgumentError: There are several objectives; `best_trials` then has the front.
            NoTrialsError: No trial is COMPLETE.
        """
        return copy.deepcopy(self._home.best(None))

    @property
    def best_trials(self) -> list[FrozenTrial]:
        """The trials that no other trial dominates; with one objective, only the best trial.

        With several objectives, the list is empty as long as no trial is COMPLETE.

        Raises:
            NoTrialsError: There is no study, or, with one objective, no trial is COMPLETE.
        """
        if self._home.objectives.are_several:
            return copy.deepcopy(_study.Ranking.front(self._home.existing))
        return [self.best_trial]

    def top_trials(self, n: int) -> list[FrozenTrial]:
        """Return the best `n` COMPLETE trials, best first, with weights or without them.

        Args:
            n: The most trials to return. If the builder was written for KerasTuner,
                `HyperParameters(trial)` has the values of each.

        Returns:
            The trials, each with its `value` and `params`.

        Raises:
            ArgumentError: There are several objectives; best_trials then returns the front.
            NoTrialsError: No trial is COMPLETE.
        """
        return copy.deepcopy(self._home.top(n))

    @property
    def best_params(self) -> dict[str, Any]:
        """The parameters of the best trial, as a dict. It raises the errors of `best_trial`."""
        return self.best_trial.params

    @property
    def best_value(self) -> float:
        """The objective of the best trial at its best epoch; with several trainings, their mean.

        It raises the errors of `best_trial`.
        """
        return self._home.objectives.watched.value_of(self.best_trial)

    @property
    def best_epoch(self) -> int | None:
        """The best epoch of the best trial, counted from 0.

        It is None if a fit of your own reported no epochs. It raises the errors of `best_trial`.
        """
        return _study.TrialRecord(self.best_trial).best_epoch

    def best_model(self, trial: int | FrozenTrial | None = None) -> keras.Model:
        """Rebuild the best trial's model, compiled, with the weights of its best epoch.

        After confirm(), this is the model of the winner's best execution, and you see a line with
        the value that the model evaluates to. Once the search finds a better trial than the
        confirmed ones, this is the model of that trial again. best_models(1) always returns the
        best model of the search. If a function of the trial made the data,
        `function(tuner.best_trial)` makes the data of the search's best trial again.

        Args:
            trial: Another trial of the search whose weights are kept, or its number. Default None:
                the best trial, which only a study with one objective has.

        Returns:
            The model. Evaluating it on the validation data gives `best_value`, or the printed
            value. It may give another one if the trial had several trainings, of which this is the
            best, or if a callback or a fit of your own makes the objective. With BatchNormalization
            under a strategy of TensorFlow, it gives about this value.

        Raises:
            ArgumentError: There are several objectives, and `trial` was not given.
            NoTrialsError: No trial is COMPLETE yet, or the trial of that number is not.
            WeightsError: The weights are not kept, are damaged, or no longer fit the model that
                build_model returns.
        """
        return _rerun.Models(self._home, self.build_model, self.keep_best).best(trial)

    def best_models(self, n: int) -> list[keras.Model]:
        """Rebuild the models of the best `n` trials, the best first.

        Args:
            n: Number of models. At most `keep_best` are kept: by default 5, or only the best one
                of models with more than a million parameters. If fewer than `n` are kept, you get
                these, and see a line with the numbers of their trials.

        Returns:
            The models, compiled, each with the weights of its best epoch.

        Raises:
            ArgumentError: `keep_best` is 0, or there are several objectives.
            NoTrialsError: No trial is COMPLETE.
            WeightsError: The weights of the best trial are not kept, or weights no longer fit the
                model that build_model returns.
        """
        return _rerun.Models(self._home, self.build_model, self.keep_best).top(n)

    def ensemble(
        self,
        x: Any = None,
        y: Any = None,
        *,
        top: int = 10,
        sample_weight: Any = None,
        batch_size: int | None = None,
    ) -> Ensemble:
        """Average the models of the best trials, with weights that suit the objective.

        Ensemble selection (Caruana et al., 2004) picks models one after the other. Each time it
        picks the model with which the mean of the picked models' outputs has the best objective on
        the rows that you pass, possibly again. For classifiers, this is the mean of probabilities,
        also if the outputs are logits. Each model predicts the rows once, and nothing is trained.

        The model that you get needs only Keras: you can save it as a .keras file, and load and
        serve it without this package. It is compiled with the loss and metrics of the best model.
        Its members are frozen, so that penalties from weight regularizers are left out of its loss.

        Args:
            x: Rows to choose the weights by, as Model.evaluate takes them: arrays, or batches with
                targets, such as a tf.data.Dataset. Rows that the search did not see are best. In
                any case, the value is optimistic, because these rows chose the weights.
            y: Targets. Default None, for an `x` that contains them.
            top: How many of the best trials to choose from, at least 2. Only trials that keep
                their weights count, so pass at least as much as `keep_best` to the tuner before it
                searches. Default 10.
            sample_weight: One weight for each row. Default None: all rows count alike.
            batch_size: Rows per batch. Default None: 32, as for Model.evaluate.

        Returns:
            An Ensemble with the `model`, its `value`, and its `members` with their weights and the
            value of each alone. It prints as a table.

        Raises:
            ArgumentError: An argument cannot work, there are several objectives, the models take
                or return different shapes, or have no loss, or their loss and metrics do not give
                the objective.
            NoTrialsError: No trial is COMPLETE yet.
            WeightsError: Fewer than two models are kept, or one cannot be rebuilt.

        Example:
            With the tuner and the data of the example of OptunaTuner:

            >>> found = tuner.ensemble(x[48:], y[48:])
            >>> sum(member.weight for member in found.members)
            1.0
            >>> found.model.predict(x[48:], verbose=0).shape
            (16, 1)
        """
        rows = _rerun.Rows(x, y, sample_weight, batch_size)
        kept = _rerun.Models(self._home, self.build_model, self.keep_best)
        return _rerun.ensemble(kept, rows, top)

    def exclude(self, trial: int | FrozenTrial, why: str) -> None:
        """Exclude a trial whose result is wrong, for example because its data leaked.

        From then on it is never the best trial, and neither the sampler nor the pruner sees it. It
        still counts towards `n_trials`, keeps its weights, and is marked in summary(), report() and
        results(). Searches that are running see the change within a second.

        Args:
            trial: A COMPLETE or PRUNED trial, or its number.
            why: The reason, which summary() and results() show.

        Raises:
            ArgumentError: `why` is empty.
            NoTrialsError: There is no such trial.
        """
        instead = "Pass a few words that say what is wrong with the trial."
        if not isinstance(why, str) or not why.strip():
            raise ArgumentError(f"why={why!r} gives no reason. {instead}")
        self._home.exclude(trial, why.strip())

    def include(self, trial: int | FrozenTrial) -> None:
        """Include a trial again that was excluded.

        Args:
            trial: The trial, or its number.

        Raises:
            NoTrialsError: There is no such trial.
        """
        self._home.exclude(trial, None)

    def space(self, *functions: Any) -> None:
        """Print the parameters that build_model suggests, each with its values and its default.

        build_model is called once with its default values, which are those that enqueue() without
        parameters would add. If it was written for KerasTuner, the parameters that it suggests only
        with other values are printed too. Nothing is trained, and no study is created.

        Args:
            *functions: Functions of the trial that you will pass to search() as data, to print
                their parameters too.

        Raises:
            BuilderError: It belongs to open_study(), which has no builder.
        """
        if isinstance(self.build_model, _rerun.FromFiles):
            raise self.build_model.error()
        let_memory_grow()
        with borrowed(self.build_model, *functions):
            _report.say(_search.outlined(self.build_model, functions), end="")

    def results(self) -> pandas.DataFrame:
        """Return a pandas DataFrame with one row for each trial that has begun.

        Returns:
            A DataFrame with the columns number, state, value (with several objectives, one column
            `values_<name>` for each), `params_<name>` for each parameter, best_value, best_epoch
            (counted from 0), epochs (the most that the trial may run), epochs_run, seconds, seed,
            stop_reason, n_params and worker. If the FLOPs of models count, there is also flops. If
            a trial was run again, retry_of has the number of the earlier trial. If trials have
            several trainings, there are also std, values, seeds and best_epochs.

        Raises:
            NoTrialsError: There is no study.

        Example:
            With the tuner of the example of OptunaTuner:

            >>> tuner.results()[["number", "state"]].values.tolist()
            [[0, 'COMPLETE'], [1, 'COMPLETE']]
        """
        return _report.results(self._home.existing)

    def history(self, trial: int | FrozenTrial | None = None) -> pandas.DataFrame:
        """Return what Keras logged in each epoch of a trial, which may also be a pruned one.

        Args:
            trial: A trial that has begun, or its number. Default None: the best trial, which only
                a study with one objective has.

        Returns:
            A DataFrame with one row for each epoch, with its number, counted from 0, and a column
            for each metric. If trials have several trainings, there is also the number of the
            training. If no histories are kept (`keep_best=0`), or the trial was cut off, the only
            metric is the objective.

        Raises:
            ArgumentError: There are several objectives, and `trial` was not given.
            NoTrialsError: There is no such trial.
        """
        return _trial.history_of(self._home, self._home.begun(trial))

    def importances(self) -> dict[str, float]:
        """Return how much each parameter mattered for the first metric.

        Optuna computes it by PED-ANOVA (Watanabe et al., 2023). A PRUNED trial counts with its best
        value.

        Returns:
            The shares by the names of the parameters, the most important first; an empty dict if
            fewer than four trials have a value.

        Raises:
            NoTrialsError: There is no study.
        """
        return _report.Facts(self._home.existing).importances

    def summary(self, n: int = 10) -> None:
        """Print the best `n` trials and the totals of the search, as Model.summary prints a model.

        Args:
            n: Number of trials to list. Default 10.

        Raises:
            NoTrialsError: There is no study.
        """
        _report.say(_report.summary(self._home.existing, n), end="")

    def report(self, path: str | Path = "report.html") -> Path:
        """Write one HTML page about the search, which can be opened without a network.

        Args:
            path: The file to write. Default "report.html".

        Returns:
            The path of the file.

        Raises:
            NoTrialsError: There is no study.
            MissingExtraError: `pip install "kerastune_optuna[plots]"` is needed.
        """
        return _report.write_page(self._home.existing, path)

    def plot_history(self) -> go.Figure:
        """Return a plotly figure of the value of each trial and of the best value so far.

        Returns:
            A plotly.graph_objects.Figure.

        Raises:
            MissingExtraError: `pip install "kerastune_optuna[plots]"` is needed.
        """
        return _report.plot("history", self._home.existing)

    def plot_front(self) -> go.Figure:
        """Return a plotly figure of the first two objectives and the front between them.

        Returns:
            A plotly.graph_objects.Figure.

        Raises:
            ArgumentError: The study has one objective.
            MissingExtraError: `pip install "kerastune_optuna[plots]"` is needed.
        """
        return _report.plot("front", self._home.existing)

    def plot_curves(self) -> go.Figure:
        """Return a plotly figure of the learning curves of all trials.

        Returns:
            A plotly.graph_objects.Figure.

        Raises:
            MissingExtraError: `pip install "kerastune_optuna[plots]"` is needed.
        """
        return _report.plot("curves", self._home.existing)

    def plot_importance(self) -> go.Figure:
        """Return a plotly figure of importances(), how much each parameter mattered.

        Returns:
            A plotly.graph_objects.Figure; it has no bars if too few trials have a value.

        Raises:
            MissingExtraError: `pip install "kerastune_optuna[plots]"` is needed.
        """
        return _report.plot("importance", self._home.existing)

    if not TYPE_CHECKING:  # with __getattr__, a type checker would accept any attribute

        def __getattr__(self, name):
            """Raise an error that says what replaces an attribute of KerasTuner's tuners."""
            return absent(self, name)

    def __repr__(self) -> str:
        # A debugger asks for this at any time, so it reads nothing from the study.
        aim = self._home.objectives.aim
        return f"OptunaTuner({readable(f'study {self._home.name!r}: {aim}')})"

    def _repr_html_(self) -> str:
        """Return the HTML that a notebook shows for the tuner, without creating a study."""
        if not self._home.may_be_read:
            return f"<p>Study <b>{escape(self._home.name)}</b> is not open yet: call search().</p>"
        return _report.summary_html(self._home.existing, 10)

    @cached_property
    def _home(self) -> Home:
        """Where the study lives: all methods of the tuner share this Home."""
        builder = getattr(self.build_model, "func", self.build_model)  # that of a partial, too
        name = getattr(builder, "__name__", type(builder).__name__)
        return Home(
            self.study_name or ("study" if name == "<lambda>" else name),
            self.directory,
            _study.Objectives.parse(self.objective, self.direction),
            self.storage,
            self.artifact_store,
            self.sampler if isinstance(self.sampler, BaseSampler) else None,
            _search.Chooser(self.sampler, self.pruner).pruner_for,
            overwrite=self.overwrite,
        )

    @property
    def _constraints(self) -> _study.Constraints:
        """What each trial must keep to."""
        return _study.Constraints(
            self.max_params, self.max_flops, self.max_seconds_per_trial, self.constraints
        )

    def _given(self, call: str, given: tuple[Any, ...]) -> Given:
        """Check the arguments of Model.fit that a call got; return them."""
        if isinstance(self.build_model, _rerun.FromFiles):
            raise self.build_model.error()
        is_free = callable(getattr(self.build_model, "fit", None))  # it replaces Model.fit
        fit = replace(Given(*given), is_free=is_free)
        check_fit_arguments(fit.others, call, is_free=is_free)
        return fit

    def _recipe(self, callbacks: Any, *, again: bool = False) -> Recipe:
        """Return what all trials share; if finished trials train again, each does so once."""
        return Recipe(
            self.build_model,
            self._home.objectives,
            as_list(callbacks),
            self.seed,
            self._home.store,
            self.backup_every,
            train_repeats=again or self.train_repeats,
            executions=1 if again else self.executions_per_trial,
            # The search has checked finished trials against its constraints already.
            constraints=_study.Constraints() if again else self._constraints,
        )
