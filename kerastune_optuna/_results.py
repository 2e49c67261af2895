"""What a tuner's study came to: its best trials, their models, and tables."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from kerastune_optuna import _check, _report
from kerastune_optuna._exceptions import ArgumentError, NoTrialsError, WeightsError
from kerastune_optuna._plots import Plots
from kerastune_optuna._report import Dashboard
from kerastune_optuna._report import dashboard as _dashboard
from kerastune_optuna._search import made_pruner
from kerastune_optuna._storage import StoreAwayError, StoreSource, WholeFileStore, database, one_try
from kerastune_optuna._study import Objectives, opening, parse_objectives
from kerastune_optuna._trial import Builder, keeps, overwrite, rebuild, weights
from kerastune_optuna._workers import card

if TYPE_CHECKING:
    import pandas
    from optuna.storages import BaseStorage


class Results(Plots):
    """Read results from the study that the arguments of a tuner name."""

    build_model: Builder
    objective: str | Sequence[str]
    direction: str | Sequence[str]
    sampler: BaseSampler | str | None
    pruner: BasePruner | str | None
    directory: str | Path
    study_name: str | None
    storage: str | BaseStorage | None
    artifact_store: StoreSource | None
    keep_best: int | None
    n_trials: int | None
    storage_patience: float

    @cached_property
    def study(self) -> optuna.Study:
        """The Optuna study, with everything that Optuna offers for it; made where there is none."""
        with opening.quiet_optuna():
            study = opening.open_study(self._connected, self._name, self._objectives)
        if isinstance(self.sampler, BaseSampler):  # one of a name is made when a search begins
            study.sampler = self.sampler
        study.pruner = made_pruner(self.pruner, opening.epochs_known(study) or 1)
        return study

    @property
    def _existing(self) -> optuna.Study:
        """The study, for who only reads, which makes no folder and no database."""
        if not self._may_be_read and self.storage is None:
            _check.has_study(self.directory, self._name, self._names_on_disk)
        return self.study

    @property
    def best_trial(self) -> FrozenTrial:
        """The COMPLETE trial with the best value; the earliest of equals."""
        return copy.deepcopy(self._ranked(1)[0])

    @property
    def best_trials(self) -> list[FrozenTrial]:
        """The trials that no other one dominates; of one objective, the best trial alone."""
        several = self._objectives.are_several
        return copy.deepcopy(opening.front(self._existing)) if several else [self.best_trial]

    @property
    def best_params(self) -> dict[str, Any]:
        """The parameters of the best trial."""
        return self.best_trial.params

    @property
    def best_value(self) -> float:
        """The objective of the best trial at its best epoch; of several trainings the mean."""
        return self._objectives.watched.value_of(self.best_trial)

    def best_model(self, trial: int | None = None) -> keras.Model:
        """Rebuild the best trial's model, compiled, with the weights of its best epoch.

        Args:
            trial: Number of another trial whose weights are kept. Default None: the best, which
                there is of one objective alone.

        Returns:
            The model; evaluating it on the validation data gives `best_value`. Of a trial of
            several trainings it is that of the best one, and gives the best of the trial's user
            attr `values`, with the validation data of that training where they are folds.

        Raises:
            ArgumentError: There are several objectives, and no trial was named.
            NoTrialsError: No trial is COMPLETE yet, or not the one of that number.
            WeightsError: The weights are not kept, are damaged, or no longer fit what build_model
                returns; the text names the next best trial whose weights are whole.
        """
        return self.best_models(1)[0] if trial is None else self._model_of(self._complete(trial))

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
        _check.integer("n", n, least=1, instead="Pass how many models to rebuild.")
        self._check_single()
        if n > (count := keeps(self._existing, self.keep_best)):
            raise ArgumentError(
                f"n={n} is more than keep_best={count}, the trials that keep their "
                f"weights. Pass keep_best={n} to the tuner before it searches."
            )
        return [self._model_of(trial) for trial in self._ranked(n)]

    def results(self) -> pandas.DataFrame:
        """Return a pandas DataFrame with one row for each trial that began.

        Returns:
            Columns number, state, value (of several objectives `values_<name>` for each),
            `params_<name>` for each parameter, best_value, best_epoch (counted from 0), epochs (how
            many it was given), epochs_run, seconds, seed, stop_reason, n_params, worker; and where
            trials have several trainings std, values, seeds, best_epochs.
        """
        return _report.results(self._existing)

    def summary(self, n: int = 10) -> None:
        """Print the best `n` trials and what the search came to, as Model.summary prints a model.

        Args:
            n: How many trials to list. Default 10.
        """
        _check.integer("n", n, least=1, instead="Pass how many trials to list.")
        print(_report.summary(self._existing, n), end="")

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
        return _report.write_page(self._existing, path)

    def __repr__(self) -> str:
        if not self._may_be_read:
            return f"OptunaTuner(study {self._name!r}: {self._objectives.aim}, not open yet)"
        with one_try():  # a database that is away is not waited for
            return f"OptunaTuner({_report.line(self.study, self.n_trials)})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows of the tuner; a study is not made for it."""
        if not self._may_be_read:
            return f"<p>Study <b>{escape(self._name)}</b> is not open yet: call search().</p>"
        return _report.summary_html(self.study, 10)

    @property
    def _may_be_read(self) -> bool:
        """Whether the study was opened, or is in the directory: a storage far away is not asked."""
        return "study" in self.__dict__ or (not self.storage and self._name in self._names_on_disk)

    @property
    def _names_on_disk(self) -> list[str]:
        """The studies in the directory's own database, which is not made for the answer."""
        is_there = database.has_database(Path(self.directory))
        return optuna.get_all_study_names(self._connected) if is_there else []

    def dashboard(self, port: int | None = None) -> Dashboard:
        """Show the study in optuna-dashboard, in a browser on this machine.

        Each trial has its curve, the logs of all epochs as a table, and its weights where they are
        kept. The page follows a running search.

        Args:
            port: Where to listen. Default None: a port that is free.

        Returns:
            An object with the page's `url`, which serves until `stop()`, or until a `with` block
            around it ends.

        Raises:
            ArgumentError: The port cannot be used.
            MissingExtraError: `pip install "kerastune_optuna[dashboard]"` is needed.
        """
        _dashboard.add_note(self.study)  # which may have its first search later
        if database.is_of_one_thread(self._connected):
            raise ArgumentError(
                "storage= is SQLite in memory, which a page in another thread cannot read. Pass a "
                "file, storage=None, or optuna.storages.InMemoryStorage()."
            )
        # A page that is asked for while the database is away need not wait as a search does.
        storage = database.connect(self._storage_source)
        study = optuna.load_study(study_name=self._name, storage=storage)
        return _dashboard.serve(study, self._store, port)

    @contextmanager
    def _telling_of_deletion(self) -> Iterator[None]:
        """Say in one line that the study was deleted, where that is why something is not found."""
        try:
            yield
        except KeyError as error:
            if "study" not in self.__dict__ or (why := overwrite.deletion_of(self.study)) is None:
                raise
            del self.__dict__["study"]  # the next call opens the one that has its name
            raise why from error

    @property
    def _objectives(self) -> Objectives:
        return parse_objectives(self.objective, self.direction)

    @property
    def _name(self) -> str:
        return self.study_name or opening.default_name(self.build_model)

    @property
    def _folder(self) -> Path:
        """The folder of the study's files, wherever the current folder will be later."""
        return Path(self.directory).absolute() / self._name

    @property
    def _store(self) -> StoreSource:
        return self.artifact_store or WholeFileStore(self._folder / "weights")

    @property
    def _storage_source(self) -> str | BaseStorage:
        return self.storage or database.in_directory(Path(self.directory))

    @property
    def _has_directory(self) -> bool:
        """Whether anything of the study is kept in `directory`."""
        return self.storage is None or self.artifact_store is None

    @cached_property
    def _connected(self) -> BaseStorage:
        if self.storage is None:
            database.make_directory(Path(self.directory))
        return database.connect(self._storage_source, self.storage_patience)

    def _model_of(self, trial: FrozenTrial) -> keras.Model:
        try:
            return self._rebuilt(self.study, trial)
        except StoreAwayError:
            raise  # which has no other model either
        except WeightsError as error:
            raise WeightsError(f"{error} {self._next_whole(trial)}") from error.__cause__

    def _rebuilt(self, study: optuna.Study, trial: FrozenTrial) -> keras.Model:
        """Return the model of a trial, with a warning where nothing shows that it is the same."""
        # The builder gets a copy: what it does to its trial must not reach Optuna's cache.
        own = copy.deepcopy(trial)
        model = rebuild(self.build_model, self._store, self._connected, own)
        card.warn_where_code_decides(study, trial, self.build_model, model)
        return model

    def _next_whole(self, lost: FrozenTrial) -> str:
        """Return a sentence that names the best other trial whose weights can be loaded."""
        objectives = self._objectives
        several, watched = objectives.are_several, objectives.watched
        for trial in opening.front(self.study) if several else opening.ranked(self.study, watched):
            is_other = trial.number != lost.number and weights.has(self._connected, trial)
            if is_other and weights.are_whole(self._store, self._connected, trial):
                return (
                    f"The next best whose weights are whole is trial {trial.number} "
                    f"({watched.name} {watched.value_of(trial):.6g}): "
                    f"best_model(trial={trial.number})."
                )
        return "No other trial's weights are kept."

    def _complete(self, number: int) -> FrozenTrial:
        """Return the COMPLETE trial of that number."""
        complete = {trial.number: trial for trial in opening.complete(self._existing)}
        if number not in complete:
            listed = ", ".join(str(known) for known in sorted(complete)) or "none"
            raise NoTrialsError(f"trial={number!r} is no COMPLETE trial. Pass one of: {listed}.")
        return complete[number]

    def _check_single(self) -> None:
        """Refuse to choose one of the trials on a front."""
        if self._objectives.are_several:
            best = opening.front(self._existing)
            numbers = ", ".join(str(trial.number) for trial in best) or "none yet"
            raise ArgumentError(
                f"Study {self._name!r} has several objectives, and none of its best trials is "
                f"better than the others: {numbers}. Look at them in best_trials, and pass the "
                "number of one, as to best_model(trial=...)."
            )

    def _ranked(self, n: int) -> list[FrozenTrial]:
        """Return the best `n` trials, which must be there."""
        self._check_single()
        best = opening.best(self._existing, self._objectives.watched, n)
        if len(best) < n:
            there = _check.count(len(best), "COMPLETE trial")
            raise NoTrialsError(
                f"Study {self._name!r} has {there}, fewer than {n}. Call search() first, with "
                "the directory or storage of the study you mean."
            )
        return best
