"""Make a model ready to train: check what it lacks, and let it train fast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import optuna

from kerastune_optuna._backend import symbolic_inputs
from kerastune_optuna._data import FitArguments, GeneratorFunction, lacks_targets
from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._study import TrialRecord
from kerastune_optuna._trial import flops
from kerastune_optuna._trial.rehearsal import make_ready_to_keep, names_of_metrics
from kerastune_optuna._trial.steps import has_own
from kerastune_optuna._trial.training import TrainingInputs
from kerastune_optuna._trial.user_callbacks import may_add_metrics


def make_ready(model: keras.Model, inputs: TrainingInputs, *, check: bool) -> None:
    """Check the model's loss and set the model up to train fast; if asked, check its metrics."""
    if not inputs.recipe.has_own_fit:
        _check_targets(model, inputs.fit)
        _check_inputs(model, inputs.fit)
        _check_names(model, inputs.fit)
    inputs.let_train_fast(model)
    if check and not inputs.recipe.has_own_fit:
        _check_objectives(model, inputs)
        if inputs.recipe.keep_best != 0:
            make_ready_to_keep(model, inputs.fit)


def why_forbidden(trial: optuna.Trial, model: keras.Model, inputs: TrainingInputs) -> str | None:
    """Return which constraint a configuration violates, or None; record the sizes of its model."""
    record, fit = TrialRecord(trial), inputs.fit
    constraints, sizes = inputs.recipe.constraints, inputs.recipe.objectives.sizes
    if sizes or constraints.are_there:
        make_ready_to_keep(model, fit)
        record.n_params = model.count_params()
    if TrialRecord.flops in sizes or constraints.max_flops is not None:
        record.flops = flops.count(model, fit.specification_of_a_batch)
    return constraints.check(trial, model)


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
