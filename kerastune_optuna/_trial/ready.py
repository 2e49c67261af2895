"""Make a model ready to train: check what it lacks, and let it train fast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import optuna

from kerastune_optuna import _flops
from kerastune_optuna._backend import build_symbolically, symbolic_inputs
from kerastune_optuna._data import FitArguments, GeneratorFunction, lacks_targets
from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._study import TrialRecord
from kerastune_optuna._trial import failure
from kerastune_optuna._trial.fast import rehearse, set_steps
from kerastune_optuna._trial.training import TrainingInputs
from kerastune_optuna._trial.user_callbacks import may_add_metrics
from kerastune_optuna._trial.variables import (
    OWN_LOOPS,
    OWN_STEPS,
    has_own,
    lacks_variables,
    make_variables,
    scope_of,
    traced,
    unbuildable,
)


def make_ready(model: keras.Model, inputs: TrainingInputs, *, check: bool = False) -> None:
    """Check the model's loss and set the model up to train fast; if asked, check its metrics."""
    fit, callbacks = inputs.fit, inputs.callbacks
    if fit.is_free:  # a builder's own fit may change the data and the model
        set_steps(model, fit, callbacks)
        return
    if not has_own(model, "train_step", "compute_loss"):
        _check_targets(model, fit)
        outputs = None if model.loss is None else getattr(model, "output", None)
        if isinstance(outputs, Mapping | list | tuple):  # a model that is built by a call has none
            _check_names(model, outputs, fit)
    if isinstance(needed := symbolic_inputs(model), Mapping | list | tuple):
        _check_inputs(model, needed, fit)
    rehearse(model, fit.specification())
    set_steps(model, fit, callbacks)
    if check:
        _check_objectives(model, inputs)
        if inputs.call.keep_best != 0 and lacks_variables(model):
            _make_missing_variables(model, fit)


def check_constraints(trial: optuna.Trial, model: keras.Model, inputs: TrainingInputs) -> None:
    """End the trial if its configuration breaks a constraint; record the sizes of its model.

    Raises:
        optuna.TrialPruned: Says which constraint it breaks.
    """
    record, fit = TrialRecord(trial), inputs.fit
    recipe = inputs.call.recipe
    constraints, sizes = recipe.constraints, recipe.objectives.sizes
    if sizes or constraints.are_there:
        if lacks_variables(model):
            _make_missing_variables(model, fit)
        else:
            # Keras leaves this False if the model's own steps call its layers and never the model.
            model.built = True
        record.n_params = model.count_params()
    if TrialRecord.flops in sizes or constraints.max_flops is not None:
        record.flops = _flops_of(model, fit)
    if (why := constraints.take_model(trial, model)) is not None:
        raise optuna.TrialPruned(why)


def _flops_of(model: keras.Model, fit: FitArguments) -> int:
    """Return how many floating-point operations the model takes for one row.

    Raises:
        ArgumentError: They cannot be counted.
    """
    try:
        return _flops.count(model, fit.specification_of_a_batch)
    except Exception as error:  # layers of the user may raise anything
        if failure.is_of_memory(error):
            raise
        why = error if isinstance(error, NotImplementedError) else failure.told(error)
        raise ArgumentError(
            f"The FLOPs of the model {model.name!r} cannot be counted with "
            f'{keras.backend.backend()}: {why}. Pass "n_params" as an objective and max_params= '
            'instead of "flops" and max_flops=.'
        ) from error


def _make_missing_variables(model: keras.Model, fit: FitArguments) -> None:
    """Create a model's missing variables from the data that it is about to be trained on.

    Raises:
        BuilderError: They cannot be created, so weights could not be loaded into the model later.
    """
    if keras.backend.backend() != "tensorflow":
        # With JAX and PyTorch, the first fit of a model reads, and shuffles, an extra batch to
        # build the model, its metrics and its optimizer. This fit of no epochs reads that batch, so
        # the next fit trains just as the first fit would have.
        model.fit(**{**fit.as_keywords(), "epochs": 0}, verbose=0)
        return
    try:
        make_variables(model, fit.specification_of_a_batch())
    except Exception as error:  # layers of the user may raise anything
        if failure.is_of_memory(error):  # a half-built model could hide it from fit()
            raise
        if not model.run_eagerly:
            return  # fit() traces the same code next, and raises the error
        raise unbuildable(model) from error


def _check_targets(model: keras.Model, fit: FitArguments) -> None:
    """Raise an error if the loss gets no targets: Keras's own error does not say so."""
    loss = model.loss  # if there are several losses, some may need no targets
    compares = isinstance(loss, str) or callable(loss)
    if not compares:
        return
    validation = fit.validation_data
    is_alone = validation is not None and not isinstance(validation, list | tuple)
    if lacks_targets(fit.x, fit.y):
        wrong = "y=None"
    elif is_alone and lacks_targets(validation, None):
        wrong = f"validation_data is a {type(validation).__name__} without targets"
    else:
        return
    raise ArgumentError(
        f"{wrong}: the loss {loss!r} compares with targets, but there are none. Pass y= and "
        "validation_data=(x, y), or datasets of (inputs, targets)."
    )


def _check_inputs(
    model: keras.Model, needed: Mapping[Any, Any] | Sequence[Any], fit: FitArguments
) -> None:
    """Raise an error if a dict of inputs lacks one that the model takes."""
    if not isinstance(needed, Mapping):  # Keras then finds the inputs by their names
        needed = {getattr(one, "name", None): one for one in needed}
    optional = any(getattr(layer, "optional", False) for layer in model.layers)
    if optional or has_own(model, "train_step"):
        return
    for name, inputs in fit.inputs.items():
        for key in needed if isinstance(inputs, Mapping) else ():
            if key not in inputs:
                raise ArgumentError(
                    f"{name} has no input {key!r}, but the inputs of the model are "
                    f"{', '.join(map(repr, needed))}. Pass all of them."
                )


def _check_names(
    model: keras.Model, outputs: Mapping[Any, Any] | Sequence[Any], fit: FitArguments
) -> None:
    """Raise an error if there are targets for unknown outputs, or none for one that has a loss."""
    names = list(outputs) if isinstance(outputs, Mapping) else model.output_names
    loss = model.loss
    if isinstance(loss, Mapping):
        needed = [name for name in names if loss.get(name) is not None]
    else:
        of_each = loss if isinstance(loss, list | tuple) else [loss] * len(names)
        needed = [name for name, one in zip(names, of_each, strict=False) if one is not None]
    listed = ", ".join(map(repr, names))
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


def _check_objectives(model: keras.Model, inputs: TrainingInputs) -> None:
    """Raise an error before training if the model will not log one of the objectives."""
    own_step = has_own(model, "train_step")
    metrics = [
        metric
        for metric in inputs.call.recipe.objectives.metrics
        if metric.name.startswith("val_") or not own_step
    ]
    # Reading one batch of a generator starts a thread of TensorFlow that keeps drawing from it.
    is_generated = isinstance(inputs.fit.x, GeneratorFunction)
    if any(map(may_add_metrics, inputs.callbacks)) or not metrics or is_generated:
        return  # only the first epoch shows which names are logged
    names = names_of_metrics(model, inputs.fit)
    if inputs.fit.has_validation:
        names |= {f"val_{name}" for name in names}
    missing = [one for one in metrics if one.find(names) is None]
    if names and missing:
        raise missing[0].missing(names)


def names_of_metrics(model: keras.Model, fit: FitArguments) -> set[str]:
    """Return the names that an evaluation will log, without changing variables or generators.

    Returns:
        The names without "val_"; an empty set if only training shows them, as with JAX and PyTorch.
    """
    if keras.backend.backend() != "tensorflow" or has_own(model, *OWN_LOOPS):
        return set()
    try:
        batch = fit.specification_of_a_batch()
        if has_own(model, *OWN_STEPS):
            if lacks_variables(model):
                make_variables(model, batch)
            return set(traced(model, model.test_step, batch))
        with scope_of(model):
            build_symbolically(model, batch)
        return set(model.get_metrics_result())
    except Exception as error:  # layers, losses and metrics of the user may raise anything
        if failure.is_of_memory(error):  # a half-built model could hide it from fit()
            raise
        return set()  # fit() makes the same calls next, with data, and raises the error
