"""OptunaTuner: the arguments of a search, and what can be done with its study."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
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
from kerastune_optuna._arguments import absent, budget_of, check_names, check_tuner
from kerastune_optuna._backend import policy_kept
from kerastune_optuna._data import FitArguments, check_fit_arguments
from kerastune_optuna._rerun import Confirmation
from kerastune_optuna._storage import StoreSource
from kerastune_optuna._study import Constraint, Home
from kerastune_optuna._trial import Builder, Recipe

if TYPE_CHECKING:
    import pandas
    import plotly.graph_objects as go


class OptunaTuner:
    """Tune the hyperparameters of a Keras model with Optuna.

    Each trial calls `build_model`, trains the model, reports the objective of each epoch, and is
    pruned where it is weak. Its value is that of its best epoch, and the weights kept are those of
    that epoch. The study is the only state: a new process with the same arguments sees the same
    results and goes on where the last one stopped.

    Args:
        build_model: Takes an Optuna trial and returns a compiled keras.Model, or a tuple of it and
            a dict of arguments of Model.fit, like batch_size, which take precedence over those of
            search(); callbacks among them are added to those of search(). Where it has a method
            `fit(trial, model, **fit_arguments)`, that method trains the model in place of
            Model.fit, and the model need not be compiled.
        objective: Name of a metric in the epoch logs. Default "val_accuracy", which also finds the
            categorical, sparse and binary accuracies of Keras. Or a list of names, also "n_params",
            "seconds" and "inference_ms"; its first metric decides on best epochs and on pruning.
            KerasTuner's Objective, which has a direction, may stand for a name.
        direction: "minimize", "maximize", or "auto" (default) where the name leaves no doubt; or a
            list.
        n_trials: Size of the study, over all calls of search(); COMPLETE and PRUNED trials count.
            Default 30; None for no limit.
        timeout: Seconds after which one search() starts no further trial. Default None.
        sampler: "auto", "tpe", "gp", "cmaes", "random", "qmc", or "grid", which tries each
            configuration of the builder once; or an Optuna sampler. Names are seeded from `seed`.
            Default "auto": "gp" draws the first 200 trials (fewer with more than 15 parameters),
            and "tpe" those after them, or, without `seed`, once a draw of "gp" takes longer than a
            twentieth of a trial.
        pruner: "wilcoxon", "median", "percentile", "halving", "hyperband", "none", or an Optuna
            pruner. "wilcoxon", with p_threshold=0.2, ends a trial whose curve is worse than that
            of the best one: of these names it saved the most epochs for what it lost in value.
            Default None: as "wilcoxon"; and where the sampler is "auto", there is one objective, a
            trial has 12 epochs or more (all its trainings counted), `n_trials` is 15 or more, and
            no `timeout` or `terminator` may end the search before, the first six trials end after
            a tenth of their epochs (three at least), and of the next six those that begin no
            better, until one is COMPLETE. Enqueued trials are spared.
        terminator: After how many trials without a better value the search ends; or an object of
            which `should_terminate(study)` is asked after each trial. Default None: never.
        stop_at: A value of the objective that is good enough: once a trial came to it, no further
            one starts. Default None: go on.
        train_repeats: Train a configuration again that was trained before. Default False: a trial
            that repeats another takes its result over, and the search ends where nothing is left.
        warm_start: Earlier trials: an Optuna study, a DataFrame like `results()`, or a list of
            these. Trials that had the same data, epochs and objective are shown to the sampler, and
            count nowhere; of others the best three go first in a new study. Default None.
        seed: Fixes the sampler and the training of each trial. Default None: seeds are drawn, and
            recorded with the trials.
        directory: Folder for the database and the weights. Default "tuning".
        study_name: Default: the builder's name.
        storage: A database URL or an Optuna storage object. Default None: SQLite in `directory`.
        artifact_store: Where weights are kept: an Optuna artifact store, or a function that each
            worker calls to open one. Default None: a folder in `directory`.
        executions_per_trial: How often each configuration is trained, each time with a seed of its
            own. Default 1. The mean counts, for the pruner too; the weights of the best execution
            are kept.
        keep_best: How many trials keep their weights; with several objectives the whole front does.
            0 keeps no histories either. Default None: as many as before, in a new study 1. Where
            it is less than before, the other weights are deleted.
        max_params: The most parameters that a model may have to be trained. Default None.
        max_seconds_per_trial: Seconds after which the training of a trial is ended. Default None.
        constraints: Functions that take a trial and its model, which is not trained where one
            returns a number above 0. A trial that breaks a constraint is PRUNED.
        max_failed_trials: How many trials may fail in a row before search() gives up. Default None:
            10, or 2 with the same error before any trial succeeds.
        backup_every: Seconds between two backups of a running trial, from which it is resumed when
            its process dies. Default 60; 0 for one at each epoch, None for none.
        overwrite: Delete a study of that name when search(), enqueue() or `study` is first used,
            unless a process runs a trial of it, which is an error; until then its trials are not
            shown. Where copies of a script share a study, let one of them pass it. Default False.
        **others: Nothing: an unknown name raises an error that says which known one is near.

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
        stop_at: float | None = None,
        train_repeats: bool = False,
        warm_start: _workers.Source | list[_workers.Source] | None = None,
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
        max_failed_trials: int | None = None,
        backup_every: float | None = 60,
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
        self.max_seconds_per_trial = max_seconds_per_trial
        self.constraints = constraints
        self.max_failed_trials = max_failed_trials
        self.backup_every = backup_every
        self.overwrite = overwrite
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
        on_trial_end: Any = None,
        verbose: str | int = "auto",
        n_trials: int | None = None,
        timeout: float | None = None,
        n_workers: int = 1,
        executor: Executor | None = None,
        steps_per_execution: int | str = "auto",
        **fit_kwargs: Any,
    ) -> OptunaTuner:
        """Run trials until the study has `n_trials`, going on with a study that exists.

        Where other processes run the last trials, this call waits for them and says so, and runs
        again the trial of a process that dies; Ctrl-C or `timeout` ends the waiting. Tasks of an
        executor do not wait, so that their machines are free.

        Args:
            x: Training data as Model.fit takes it, or a function without arguments that returns it,
                which is called for each trial if it returns a generator (with `steps_per_epoch=`).
                Or a function of the trial, which may suggest parameters and return (x, y): it is
                called for each trial, before build_model.
            y: Targets, where `x` does not hold them; or such a function.
            epochs: Epochs of a trial that is not stopped early. Default 10.
            validation_data: As for Model.fit, or such a function that returns it.
            validation_split: As for Model.fit. Default 0.0.
            cv: With scikit-learn, a number of folds, a splitter like GroupKFold(5), or a list of
                (train, test) rows: each trial trains once for each fold of the arrays, and the mean
                counts. Default None.
            groups: What the splitter gets as groups.
            callbacks: Keras callbacks, of which each trial gets copies; a function in the list is
                called with the trial and returns a callback.
            on_trial_end: Functions that are called with the study and each trial that ends while
                this call runs, in this process, whichever worker ran the trial; an error in one
                ends the search, and so does `study.stop()`, once running trials have ended.
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
            **fit_kwargs: Anything else that Model.fit takes. A fit of the builder's own may take
                other names, and no data at all.

        Returns:
            The tuner itself.

        Raises:
            ArgumentError: An argument cannot work. Nothing was trained.
            BuilderError: build_model returned no compiled model. Nothing was trained.
            MetricNotFoundError: The model does not log the objective.
            StudyMismatchError: The study exists with another objective, direction or validation
                data, or with other choices, another type or another scale of a parameter;
                overwrite=True would delete it while it is searched; or another process has deleted
                it.
            StorageError: The storage cannot be used, or was away for longer than its patience.
            WeightsError: Weights or backups cannot be saved; the results of trials are kept.
            KeyboardInterrupt: Ctrl-C was pressed: the running trials ended after their epoch, or at
                the next batch where an epoch takes long. The next search() goes on from that epoch,
                or from their last backup. A second Ctrl-C ends at once. SIGTERM and SIGHUP do the
                same, and raise SystemExit.
            TooManyFailuresError: Too many trials failed in a row, the first two with the same
                error, or all failed or diverged in their first epoch.
            WorkerError: Workers died one after the other, or this process was forked after
                TensorFlow had begun to work.
        """
        told = _workers.listeners(on_trial_end)
        budget = budget_of(self, n_trials, timeout)
        given = x, y, epochs, validation_data, validation_split, fit_kwargs, steps_per_execution
        recipe = self._recipe("search()", given, callbacks, cv=cv, groups=groups)
        crew, recipe = _workers.prepared(self._home, recipe, n_workers, executor, verbose)
        run = _workers.Run(self._home, recipe, budget, crew, verbose, told)
        with _workers.guarded(self._home, "search()"):
            _workers.search(run, self)
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
        """Train the best configurations again under fresh seeds, and tell skill from luck.

        The best of many noisy values is too good by chance. Here each configuration gets a mean and
        its interval; none is pruned, and constraints are not asked again. Best pass data that the
        search did not see: the configurations were chosen on its validation data, while an
        execution chooses its best epoch alone.

        Executions are trials of a study of their own beside the search's. Called again with the
        same data and arguments, say after a kill or with more or fewer executions, it trains only
        the executions that are missing or failed. Data is compared by its content; a function by
        its code, and a PyDataset or DataLoader by its plain attributes alone.

        Args:
            top: How many of the best configurations. Default 3.
            executions: How often each is trained, 2 times at least. Default 5.
            x: Training data as search() takes it; a study does not store it.
            y: Targets, where `x` does not hold them.
            validation_data: What the executions are measured on, as search() takes it.
            epochs: Epochs of an execution. Default None: as many as a training of the last search
                had.
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
        home = self._home
        has_data = x is not None or _trial.trains_itself(self.build_model)
        chosen = _rerun.configurations(home, top, executions, has_data=has_data)
        if epochs is None:
            epochs = int(fit_kwargs.get("initial_epoch", 0)) + _rerun.epochs_of_the_search(home)
        given = x, y, epochs, validation_data, validation_split, fit_kwargs, steps_per_execution
        recipe = self._recipe("confirm()", given, callbacks)
        crew, ready = _workers.prepared(home, recipe, n_workers, executor, verbose)
        run = _workers.Run(home, ready, budget_of(self, None, None), crew, verbose)
        with _workers.guarded(home, "confirm()"):
            _rerun.confirm(run, recipe.fit, chosen, executions)
        return self.confirmation

    @property
    def confirmation(self) -> Confirmation:
        """What the last confirm() found, read from the study.

        Raises:
            NoTrialsError: confirm() was not called, or has not ended.
            TooManyFailuresError: No configuration completed two executions.
        """
        return _rerun.confirmation(self._home)

    def refit(
        self,
        x: Any = None,
        y: Any = None,
        epochs: int | None = None,
        *,
        trial: int | None = None,
        validation_data: Any = None,
        validation_split: float = 0.0,
        callbacks: Any = None,
        verbose: str | int = "auto",
        steps_per_execution: int | str = "auto",
        **fit_kwargs: Any,
    ) -> tuple[keras.Model, Any]:
        """Train the best configuration anew, from its seed, say on all data.

        Where a trial had several trainings, by executions_per_trial= or cv=, the seed is that of
        the best one.

        Args:
            x: Training data, as search() takes it.
            y: Targets, where `x` does not hold them.
            epochs: How many to train. Default None: as many as led to the trial's best epoch.
            trial: Number of another COMPLETE trial. Default None: the best, which only a study of
                one objective has.
            validation_data: As for Model.fit; none is needed.
            validation_split: As for Model.fit. Default 0.0.
            callbacks: Keras callbacks, which are taken as they are; a function in the list is
                called with the trial and returns a callback.
            verbose: As for Model.fit. Default "auto".
            steps_per_execution: As for search(). Default "auto".
            **fit_kwargs: Anything else that Model.fit takes. Arguments that build_model returns
                beside its model take precedence over these, except `epochs`.

        Returns:
            The model with the weights of its last epoch, and the History that Model.fit returned,
            or whatever the builder's own fit returned.

        Raises:
            ArgumentError: An argument cannot work. Nothing was trained.
            NoTrialsError: No trial is COMPLETE yet, or not the one of that number.
        """
        given = x, y, 1, validation_data, validation_split, fit_kwargs, steps_per_execution
        recipe = self._recipe("refit()", given, callbacks)
        return _rerun.refit(self._home, recipe, trial, epochs, verbose)

    def enqueue(self, params: Mapping[str, Any] | None = None, *functions: Any) -> None:
        """Let the next trial have these parameters, before the sampler chooses for itself.

        It waits in the study, counts towards `n_trials`, and is taken by whichever worker is first.
        A configuration that the study already has is not added again, so that a script that is run
        once more adds nothing. build_model is called once with the parameters, and nothing is
        trained.

        Args:
            params: Values by the names that build_model suggests, or a fit of its own, which is
                not called to check them. What is suggested besides is left to the sampler. Default
                None: what the builder's function `default_params` returns, if it has one, or else
                the first of the choices and the middle of each range (of its logarithm with
                log=True).
            *functions: Functions of the trial that search() is to get as data, where they ask for
                some of the parameters. They are called once too.

        Raises:
            ArgumentError: build_model does not ask for a name, or does not allow a value; or it
                asks for no parameters.
        """
        with policy_kept():
            wanted = _search.chosen(self.build_model, params, functions)
            _search.enqueue(_trial.opened(self._home), wanted)

    @property
    def study(self) -> optuna.Study:
        """The Optuna study, with everything that Optuna offers for it; made where there is none."""
        return _trial.opened(self._home) if self.overwrite else self._home.study

    @property
    def best_trial(self) -> FrozenTrial:
        """The COMPLETE trial with the best value; the earliest of equals."""
        return copy.deepcopy(self._home.best(None))

    @property
    def best_trials(self) -> list[FrozenTrial]:
        """The trials that no other one dominates; of one objective, the best trial alone."""
        if self._home.objectives.are_several:
            return copy.deepcopy(_study.ranking.front(self._home.existing))
        return [self.best_trial]

    def top_trials(self, n: int) -> list[FrozenTrial]:
        """Return the best `n` COMPLETE trials, best first, with weights or without them.

        Args:
            n: How many at most. For a builder of KerasTuner's, `HyperParameters(trial)` has the
                values of each.

        Returns:
            The trials, each with its `value` and `params`.

        Raises:
            ArgumentError: There are several objectives, of which best_trials is the front.
            NoTrialsError: No trial is COMPLETE.
        """
        return copy.deepcopy(self._home.top(n))

    @property
    def best_params(self) -> dict[str, Any]:
        """The parameters of the best trial."""
        return self.best_trial.params

    @property
    def best_value(self) -> float:
        """The objective of the best trial at its best epoch; of several trainings the mean."""
        return self._home.objectives.watched.value_of(self.best_trial)

    def best_model(self, trial: int | None = None) -> keras.Model:
        """Rebuild the best trial's model, compiled, with the weights of its best epoch.

        After confirm() the model is that of the winner's best execution, and a printed line says so
        with the value that the model evaluates to. Once the search finds a trial that is better
        than those confirmed, the model is that trial's again. best_models(1) has the search's best
        at any time. Where a function of the trial made the data, `function(tuner.best_trial)` makes
        the data of the search's best trial again.

        Args:
            trial: Number of another trial of the search whose weights are kept. Default None: the
                best, which only a study of one objective has.

        Returns:
            The model; evaluating it on the validation data gives `best_value`, or the value of the
            line.

        Raises:
            ArgumentError: There are several objectives, and no trial was named.
            NoTrialsError: No trial is COMPLETE yet, or not the one of that number.
            WeightsError: The weights are not kept, are damaged, or no longer fit what build_model
                returns.
        """
        return _rerun.best_model(self._home, self.build_model, self.keep_best, trial)

    def best_models(self, n: int) -> list[keras.Model]:
        """Rebuild the models of the best `n` trials, the best first.

        Args:
            n: How many; at most `keep_best`, and at most the number of COMPLETE trials.

        Returns:
            The models, compiled, each with the weights of its best epoch.

        Raises:
            ArgumentError: More than `keep_best` were asked for.
            NoTrialsError: Fewer trials are COMPLETE.
            WeightsError: Weights are not kept, or no longer fit what build_model returns.
        """
        return _rerun.best_models(self._home, self.build_model, self.keep_best, n)

    def space(self, *functions: Any) -> None:
        """Print the parameters that build_model asks for, each with its values and its default.

        One call of build_model with its defaults shows them, which are those that enqueue() without
        parameters would let go first. A builder for KerasTuner says also what it asks for with
        other values. Nothing is trained, and no study is made.

        Args:
            *functions: Functions of the trial that search() is to get as data, to print what they
                ask for too.
        """
        with policy_kept():
            _report.say(_search.outlined(self.build_model, functions), end="")

    def results(self) -> pandas.DataFrame:
        """Return a pandas DataFrame with one row for each trial that began.

        Returns:
            Columns number, state, value (of several objectives `values_<name>` for each),
            `params_<name>` for each parameter, best_value, best_epoch (counted from 0), epochs (how
            many it was given), epochs_run, seconds, seed, stop_reason, n_params, worker; retry_of
            where a trial was run again, with the number of the earlier one; and where trials have
            several trainings std, values, seeds, best_epochs.
        """
        return _report.results(self._home.existing)

    def summary(self, n: int = 10) -> None:
        """Print the best `n` trials and what the search came to, as Model.summary prints a model.

        Args:
            n: How many trials to list. Default 10.
        """
        _report.say(_report.summary(self._home.existing, n), end="")

    def report(self, path: str | Path = "report.html") -> Path:
        """Write one HTML page about the search, which opens anywhere without a network.

        Args:
            path: The file to write. Default "report.html".

        Returns:
            The path of the file.

        Raises:
            ArgumentError: The path is not that of a file.
            MissingExtraError: `pip install "kerastune_optuna[plots]"` is needed.
        """
        return _report.write_page(self._home.existing, path)

    def plot_history(self) -> go.Figure:
        """Return a plotly figure of all values and of the best one so far.

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
        """Return a plotly figure of how much each parameter mattered, by PED-ANOVA.

        Returns:
            A plotly.graph_objects.Figure; without bars where too few trials have a value.

        Raises:
            MissingExtraError: `pip install "kerastune_optuna[plots]"` is needed.
        """
        return _report.plot("importance", self._home.existing)

    if not TYPE_CHECKING:  # a type checker is to know which attributes there are

        def __getattr__(self, name):
            """Say what an attribute of KerasTuner's tuners is called here."""
            return absent(self, name)

    def __repr__(self) -> str:
        return f"OptunaTuner({_report.glance(self._home, self.n_trials)})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows of the tuner, without making a study."""
        if not self._home.may_be_read:
            return f"<p>Study <b>{escape(self._home.name)}</b> is not open yet: call search().</p>"
        return _report.summary_html(self._home.existing, 10)

    @cached_property
    def _home(self) -> Home:
        """Where the study lives: all methods of the tuner share this Home."""
        return Home(
            self.study_name or _study.opening.default_name(self.build_model),
            self.directory,
            _study.parse_objectives(self.objective, self.direction),
            self.storage,
            self.artifact_store,
            self.sampler if isinstance(self.sampler, BaseSampler) else None,
            _search.Chooser(self.sampler, self.pruner).pruner_for,
            overwrite=self.overwrite,
        )

    def _recipe(self, call: str, given: tuple[Any, ...], callbacks: Any, **folds: Any) -> Recipe:
        """Return what all trainings of a call share, once Model.fit's arguments are checked."""
        fit = replace(FitArguments(*given), is_free=_trial.trains_itself(self.build_model))
        check_fit_arguments(fit.others, call, is_free=fit.is_free)
        return _workers.recipe_of(self, self._home, fit, callbacks, **folds)
