"""One training of a trial: its callbacks in their order, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import optuna

from kerastune_optuna._backend import symbolic_inputs
from kerastune_optuna._data import FitArguments, GeneratorFunction, lacks_targets
from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._search import watched_alone
from kerastune_optuna._study import Ending
from kerastune_optuna._trial import custom_fit, failure
from kerastune_optuna._trial.archive import Archive
from kerastune_optuna._trial.backup import Backup, BackupOfFits
from kerastune_optuna._trial.callbacks import BestWeights, PruningCallback
from kerastune_optuna._trial.custom_fit import BestOfFits, OwnPruning
from kerastune_optuna._trial.fits import Fits, gate
from kerastune_optuna._trial.history import EpochLogs
from kerastune_optuna._trial.recipe import TrainingInputs
from kerastune_optuna._trial.rehearsal import make_ready_to_keep, names_of_metrics
from kerastune_optuna._trial.steps import has_own
from kerastune_optuna._trial.stop import StopOnRequest, Stopwatch
from kerastune_optuna._trial.trainings import Series
from kerastune_optuna._trial.user_callbacks import may_add_metrics
from kerastune_optuna._trial.variables import check_are_there, checksum


class Training:
    """Hold the callbacks of one training, in the order in which they are called.

    Args:
        trial: The trial.
        inputs: The inputs of the training.
        series: The trainings of the trial.
        archive: The archive of the trial's backups.
    """

    left_untrained = False  # whether the builder's own fit left the model as it got it

    def __init__(
        self, trial: optuna.Trial, inputs: TrainingInputs, series: Series, archive: Archive
    ) -> None:
        self.inputs, self._trial, recipe = inputs, trial, inputs.recipe
        self._is_first = series.number == 0
        kinds = PruningCallback, BestWeights, Backup
        if custom_fit.trains_itself(recipe.build_model):
            kinds = OwnPruning, BestOfFits, BackupOfFits
        pruning_kind, best_kind, backup_kind = kinds
        shown = watched_alone(trial, recipe.objectives)
        self.pruning = pruning_kind(shown, recipe.objectives.watched.name)
        self.pruning.join(series)
        self.pruning.set_params({"epochs": inputs.fit.epochs})  # a model's own fit may not call it
        limit, before = recipe.constraints.max_seconds, series.so_far.seconds
        self.watch = Stopwatch(self.pruning, limit, before)
        self.best = best_kind(self.pruning)
        self.logs = EpochLogs()
        validated = keras.callbacks.LambdaCallback(on_test_end=self.best.take_validated)
        ends = [StopOnRequest(self.pruning.break_off), self.watch, validated, *inputs.callbacks]
        held, backups = (self.pruning, self.best, self.logs), []
        if (every := recipe.backup_every) is not None:
            others = self.watch, every, inputs.fit
            backups = [backup_kind(archive, series, *held, *others)]
        self.callbacks = [*ends, *held, *backups]
        if isinstance(self.pruning, OwnPruning):
            self.pruning.fits = Fits(self.logs, held, of_first=backups)
            self.callbacks = [gate(self.pruning.begin_fit), *ends, self.pruning.fits]

    def fit(self, model: keras.Model) -> None:
        """Train the model; if the user's code raises optuna.TrialPruned, prune the trial."""
        try:
            self._fit(model)
        except optuna.TrialPruned as error:
            own = self.pruning
            own.end(Ending.PRUNED, failure.of_pruned(error))
            (own.fits.end if isinstance(own, OwnPruning) else own.on_train_end)()

    def _fit(self, model: keras.Model) -> None:
        """Train the model; if the builder has its own fit, take its return value as the result."""
        own, before = self.pruning, model.weights
        if not isinstance(own, OwnPruning):
            self.inputs.train(self._trial, model, self.callbacks)
            return
        untrained = checksum(model)
        came = self.inputs.train(self._trial, model, self.callbacks, lambda: own.is_over)
        check_are_there(before, model)
        self.left_untrained = checksum(model) == untrained
        if not own.is_over:
            own.take(came)
        own.fits.end()

    @property
    def came_to_its_end(self) -> bool:
        """Whether the training has a value and was not pruned."""
        return self.ending is Ending.COMPLETE

    @property
    def ending(self) -> Ending:
        """How the trial ends if this training is its last."""
        own = self.pruning
        if own.ended_as is not None:
            return Ending.FORBIDDEN if self._is_first and not own.epochs_run else own.ended_as
        if own.diverged is not None:
            is_late = own.best_value is not None and not (self._is_first and own.epochs_run == 1)
            return Ending.DIVERGED if is_late else Ending.DIVERGED_AT_ONCE
        if own.best_value is None:
            return Ending.FAILED
        return Ending.PRUNED if own.pruned else Ending.COMPLETE

    @property
    def logs_of_best_epoch(self) -> Mapping[str, Any]:
        """The logs of the best epoch, and other metrics that the builder's own fit returned."""
        rows = (row for row in self.logs.rows if row["epoch"] == self.pruning.best_epoch)
        logs = next(rows, {})
        return self.pruning.complete(logs) if isinstance(self.pruning, OwnPruning) else logs


def make_ready(model: keras.Model, inputs: TrainingInputs, *, check: bool) -> None:
    """Check the model's loss and set the model up to train fast; if asked, check its metrics."""
    trains_itself = custom_fit.trains_itself(inputs.recipe.build_model)
    if not trains_itself:
        _check_targets(model, inputs.fit)
        _check_inputs(model, inputs.fit)
        _check_names(model, inputs.fit)
    inputs.let_train_fast(model)
    if check and not trains_itself:
        _check_objectives(model, inputs)
        if inputs.recipe.keep_best != 0:
            make_ready_to_keep(model, inputs.fit)


def _check_targets(model: keras.Model, fit: FitArguments) -> None:
    """Raise an error if the loss gets no targets: Keras's own error does not say so."""
    loss = model.loss  # if there are several losses, some may need no targets
    compares = isinstance(loss, str) or callable(loss)
    if not compares or has_own(model, "train_step", "compute_loss"):
        return
    validation = fit.validation_data
    is_alone = validation is not None and not isinstance(validation, list | tuple)
    wrong = None
    if lacks_targets(fit.x, fit.y):
        wrong = "y=None"
    elif is_alone and lacks_targets(validation, None):
        wrong = f"validation_data is a {type(validation).__name__} without targets"
    if wrong is not None:
        raise ArgumentError(
            f"{wrong}: the loss {loss!r} compares with targets, but there are none. Pass y= and "
            "validation_data=(x, y), or datasets of (inputs, targets)."
        )


def _check_inputs(model: keras.Model, fit: FitArguments) -> None:
    """Raise an error if a dict of inputs lacks one that the model takes."""
    known = symbolic_inputs(model)
    if isinstance(known, list | tuple):  # Keras then finds the inputs by their names
        known = {getattr(one, "name", None): one for one in known}
    optional = any(getattr(layer, "optional", False) for layer in model.layers)
    if not isinstance(known, Mapping) or optional or has_own(model, "train_step"):
        return
    for name, inputs in fit.inputs.items():
        for key in known if isinstance(inputs, Mapping) else ():
            if key not in inputs:
                raise ArgumentError(
                    f"{name} has no input {key!r}, but the inputs of the model are "
                    f"{', '.join(map(repr, known))}. Pass all of them."
                )


def _check_names(model: keras.Model, fit: FitArguments) -> None:
    """Raise an error if there are targets for unknown outputs, or none for one that has a loss."""
    if model.loss is None or has_own(model, "train_step", "compute_loss"):
        return
    outputs = getattr(model, "output", None)  # a model that is built by a call has none
    if not isinstance(outputs, Mapping | list | tuple):
        return
    names = list(outputs) if isinstance(outputs, Mapping) else model.output_names
    listed, needed = ", ".join(map(repr, names)), _with_a_loss(model.loss, names)
    for name, targets in fit.targets.items():
        keys = list(targets) if isinstance(targets, Mapping) else needed
        if unknown := [key for key in keys if key not in names]:
            raise ArgumentError(
                f"{name} has targets for {unknown[0]!r}, but the outputs of the model are "
                f"{listed}. Pass targets for these names only."
            )
        if missing := [key for key in needed if key not in keys]:
            raise ArgumentError(
                f"{name} has no targets for {missing[0]!r}, which the loss of the model compares. "
                f"Pass targets for {listed}, or give this output no loss."
            )


def _with_a_loss(loss: Any, names: Sequence[str]) -> list[str]:
    """Return the names of the outputs that a model's loss compares with targets."""
    if isinstance(loss, Mapping):
        return [name for name in names if loss.get(name) is not None]
    of_each = loss if isinstance(loss, list | tuple) else [loss] * len(names)
    return [name for name, one in zip(names, of_each, strict=False) if one is not None]


def _check_objectives(model: keras.Model, inputs: TrainingInputs) -> None:
    """Raise an error before training if the model will not log one of the objectives."""
    own_step = has_own(model, "train_step")
    metrics = [
        one for one in inputs.recipe.objectives.metrics if one.needs_validation or not own_step
    ]
    # Reading one batch of a generator starts a thread of TensorFlow that keeps drawing from it.
    is_generated = isinstance(inputs.fit.x, GeneratorFunction)
    if may_add_metrics(inputs.callbacks) or not metrics or is_generated:
        return  # only the first epoch shows which names are logged
    logs = names_of_metrics(model, inputs.fit)
    if not logs:
        return  # only the first epoch shows which names are logged
    validated = {f"val_{name}" for name in logs} if inputs.fit.has_validation else set()
    names = logs | validated
    for one in metrics:
        if one.find(names) is None:
            raise one.missing(names)
