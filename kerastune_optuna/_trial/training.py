"""One training of a trial: its hooks, its fit, and what the ledger has of it in the end."""

from __future__ import annotations

import keras
import optuna

from kerastune_optuna import _optuna
from kerastune_optuna._search import watched_alone
from kerastune_optuna._study import Ending, TrialRecord, liveness
from kerastune_optuna._trial import failure, shared
from kerastune_optuna._trial.archive import Archive
from kerastune_optuna._trial.backup import Backup
from kerastune_optuna._trial.best import Best
from kerastune_optuna._trial.bridge import Bridge
from kerastune_optuna._trial.inputs import TrainingInputs
from kerastune_optuna._trial.ledger import Ledger
from kerastune_optuna._trial.own_fit import take_returned
from kerastune_optuna._trial.report import Report, next_step
from kerastune_optuna._trial.score import score
from kerastune_optuna._trial.stop import StopOnRequest, limits_of
from kerastune_optuna._trial.variables import check_are_there, checksum


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
        Whether the builder's own fit did not change the model's weights.

    Raises:
        KeyboardInterrupt: A signal cut the training off, so that the trial is to be run again.
        UpdateFinishedTrialError: Another process runs the trial.
        TunerError: The training has no result, for example because no epoch had the objective.
    """
    recipe, is_untrained = inputs.recipe, False
    report, best = Report(watched_alone(trial, recipe.objectives)), Best(model)
    hooks = [*limits_of(recipe.constraints), best, report, StopOnRequest()]
    if (every := recipe.backup_every) is not None:
        hooks.append(Backup(archive, best, every, inputs.fit))
    given, of_search = inputs.fit.epochs_per_training, recipe.fit.epochs_per_training
    ledger.begin(given, max(given, of_search), next_step(trial))
    try:
        bridge = Bridge(ledger, hooks, model, inputs.fit.epochs)
        is_untrained = _fit(trial, model, inputs, ledger, bridge)
    except optuna.TrialPruned as error:  # raised by code of the user
        ledger.stop(Ending.PRUNED, failure.of_pruned(error))
    shared.check_trained(model)
    if ledger.ending is Ending.CUT_OFF:
        raise KeyboardInterrupt
    liveness.check_signature(_optuna.storage_of(trial.study), _optuna.id_of(trial))
    ledger.end()
    report.send(ledger)
    for name, value in ledger.attributes().items():
        trial.set_user_attr(name, value)
    if ledger.is_open:
        counted = TrialRecord(trial).flops or 0
        ledger.close(score(ledger, inputs, model, counted), best.state_of(ledger))
    return is_untrained


def _fit(
    trial: optuna.Trial,
    model: keras.Model,
    inputs: TrainingInputs,
    ledger: Ledger,
    bridge: Bridge,
) -> bool:
    """Fit the model; if the builder has its own fit, take what it returns as the result.

    Returns:
        Whether the builder's own fit did not change the model's weights.
    """
    if not inputs.recipe.has_own_fit:
        inputs.train(trial, model, ledger, bridge)
        return False
    before, untrained = model.weights, checksum(model)
    came = inputs.train(trial, model, ledger, bridge)
    check_are_there(before, model)
    if ledger.is_open:
        take_returned(ledger, came)
    return checksum(model) == untrained
