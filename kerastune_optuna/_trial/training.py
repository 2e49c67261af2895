"""One training of a trial: what it gets, its fit, and what the ledger has of it in the end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, cast

import keras
import numpy as np
import optuna
from optuna.trial import BaseTrial

from kerastune_optuna import _optuna
from kerastune_optuna._data import (
    FitArguments,
    Given,
    check_builders_arguments,
    check_training,
    resumed,
)
from kerastune_optuna._keras_tuner import is_fatal
from kerastune_optuna._search import watched_alone
from kerastune_optuna._study import Ending, Objective, Objectives, TrialRecord, own_runs
from kerastune_optuna._trial import failure
from kerastune_optuna._trial.backup import Archive, Backup, BackupOfOwnFit
from kerastune_optuna._trial.bridge import Bridge, Hook, TrainingOver
from kerastune_optuna._trial.fast import batched
from kerastune_optuna._trial.hooks import Best, Limits, Report, StopOnRequest
from kerastune_optuna._trial.ledger import Ledger
from kerastune_optuna._trial.own_fit import check_are_there, take_returned
from kerastune_optuna._trial.recipe import Call, check_trained
from kerastune_optuna._trial.user_callbacks import for_trial, may_add_metrics
from kerastune_optuna._trial.variables import checksum

_N_PARAMS, _FLOPS, _SECONDS = Objectives.MEASURED


@dataclass(frozen=True)
class TrainingInputs:
    """Hold the inputs of one training: those of its call, and what its trial and builder add.

    Args:
        call: What the trials of the call share.
        fit: The data and arguments of this training.
        callbacks: The callbacks of the user and of the builder for this training.
    """

    call: Call
    fit: FitArguments
    callbacks: Sequence[keras.callbacks.Callback]

    @classmethod
    def of(
        cls,
        call: Call,
        fit: Given,
        trial: BaseTrial,
        arguments: Mapping[str, Any],
        folder: str,
        number: int,
        seed: int,
    ) -> TrainingInputs:
        """Return the inputs of one training of a trial.

        Args:
            call: What the trials of the call share.
            fit: What the trial passes to Model.fit.
            trial: The trial.
            arguments: The arguments of Model.fit that its builder returned with the model.
            folder: The subfolder of the user's folders in which its callbacks write.
            number: The number of the training, which determines its fold.
            seed: The seed of the training.

        Raises:
            ArgumentError: The builder's arguments are invalid.
        """
        recipe = call.recipe
        if arguments:
            check_builders_arguments(arguments)
        others = dict(arguments)
        of_builder = others.pop("callbacks", None)
        callbacks: list[keras.callbacks.Callback] = []
        if recipe.callbacks or of_builder is not None:
            callbacks = for_trial(recipe.callbacks, of_builder, trial, folder)
        of_training = fit.of_training(others, number, seed)
        may_add = any(map(may_add_metrics, callbacks))
        check_training(of_training, recipe.objectives, may_add=may_add)
        return cls(call, of_training, callbacks)

    def run_fit(
        self,
        trial: BaseTrial,
        model: keras.Model,
        ledger: Ledger,
        hooks: Sequence[Hook],
        verbose: str | int = 0,
    ) -> Any:
        """Fit the model, with the builder's own fit if it has one.

        Args:
            trial: The trial that is trained.
            model: Its model.
            ledger: Its ledger.
            hooks: What acts on the training, in this order.
            verbose: As for Model.fit.

        Returns:
            What the fit returned. If it was left since the training was over, the History of the
            last Model.fit that ended.
        """
        bridge = Bridge(ledger, hooks, model, self.fit.epochs)
        # It acts where the user's callbacks would be too early or would change the weights.
        first = keras.callbacks.LambdaCallback(
            on_train_begin=bridge.refuse_if_over,
            on_test_end=bridge.validated,
            on_train_end=lambda logs=None: ledger.measure_seconds(),
        )
        callbacks = [first, *self.callbacks, bridge]
        beginning, before = self.fit.beginning, ledger.backed_up
        with nullcontext() if beginning is None else beginning.of_training():
            calls = int(model.steps_per_execution)
            fit = self.fit if before is None else resumed(self.fit, len(before.rows), calls)
            keywords = {**fit.as_keywords(), "verbose": verbose, "callbacks": callbacks}
            try:
                if not self.fit.is_free:
                    return model.fit(**batched(model, keywords))
                # Callbacks need the model in on_epoch_end. The builder's own loop may call
                # on_epoch_end without setting the model first, so this CallbackList sets it.
                keras.callbacks.CallbackList(callbacks, model=model, epochs=self.fit.epochs)
                builder: Any = self.call.recipe.build_model
                return builder.fit(trial, model, **keywords)
            except TrainingOver:
                return bridge.history
            except Exception as error:  # the user's code may raise anything after half a training
                if is_fatal(error) or ledger.is_open or not self.fit.is_free:
                    raise
                return bridge.history


def train(
    trial: optuna.Trial,
    model: keras.Model,
    inputs: TrainingInputs,
    ledger: Ledger,
    archive: Archive,
) -> bool:
    """Train the model, and enter in the ledger what the training has come to.

    Args:
        trial: The running trial.
        model: Its model.
        inputs: What the training gets.
        ledger: The trainings of the trial.
        archive: The archive of the trial's backups.

    Returns:
        Whether a weight of the model has changed in a builder's own fit; True for Model.fit.

    Raises:
        KeyboardInterrupt: A signal cut the training off, so that the trial is to be run again.
        UpdateFinishedTrialError: Another process runs the trial.
        TunerError: The training has no result, for example because no epoch had the objective.
    """
    call, recipe, best = inputs.call, inputs.call.recipe, Best(model)
    are_several = recipe.objectives.are_several
    report = Report(watched_alone(trial, recipe.objectives) if are_several else trial)
    limits = [Limits(recipe.constraints)] if recipe.constraints.end_trainings else []
    hooks: list[Hook] = [*limits, best, report, StopOnRequest()]
    if (every := recipe.backup_every) is not None:
        kind = BackupOfOwnFit if call.fit.is_free else Backup
        hooks.append(kind(archive, best, every, inputs.fit))
    planned, of_search = inputs.fit.epochs_per_training, call.fit.epochs_per_training
    ledger.begin(planned, max(planned, of_search), report.first_step)
    before, untrained = model.weights, checksum(model) if call.fit.is_free else None
    try:
        returned = inputs.run_fit(trial, model, ledger, hooks)
        if call.fit.is_free:
            check_are_there(before, model)
            if ledger.is_open:
                take_returned(ledger, returned)
    except optuna.TrialPruned as error:  # raised by code of the user
        ledger.stop(Ending.PRUNED, failure.of_pruned(error))
    check_trained(model)
    # Keras leaves this False if the model's own steps call its layers and never the model.
    model.built = True
    if ledger.ending is Ending.CUT_OFF:
        raise KeyboardInterrupt
    is_trained = untrained is None or untrained != checksum(model)
    own_runs.check(_optuna.storage_of(trial.study), _optuna.id_of(trial))
    ledger.end()
    report.send(ledger)
    for name, value in ledger.attributes().items():
        trial.set_user_attr(name, value)
    if ledger.is_open:
        state = best.final() if ledger.now.counts_final_weights else best.state
        ledger.close(_scores(trial, model, inputs, ledger), state)
    return is_trained


def _scores(
    trial: optuna.Trial, model: keras.Model, inputs: TrainingInputs, ledger: Ledger
) -> list[float]:
    """Return the value of each objective for a training that has come to its end.

    Raises:
        MetricNotFoundError: The logs lack a metric.
        ValueError: A metric is NaN, which Optuna does not accept as a value.
    """
    objectives, now, scores = inputs.call.recipe.objectives, ledger.now, []
    for objective in objectives.each:
        if objective == objectives.watched:
            value = cast(float, now.best_value)  # every completed training has one
        elif objective.name == _N_PARAMS:
            value = float(model.count_params())
        elif objective.name == _FLOPS:
            value = float(TrialRecord(trial).flops or 0)
        elif objective.name == _SECONDS:
            value = now.seconds
        else:
            value = _logged(objective, now.logs)
        scores.append(value)
    return scores


def _logged(objective: Objective, epoch: Mapping[str, Any]) -> float:
    """Return the value of a metric in the logs of an epoch."""
    name = objective.find(epoch)
    if name is None:
        raise objective.missing(epoch)
    if shape := np.shape(epoch[name]):
        raise objective.without_number(shape)
    if math.isnan(value := float(epoch[name])):
        raise ValueError(f"{name} is NaN at the best epoch")
    return value
