"""Variables that a model shares with others because they existed before its builder was called.

A base model that is loaded once and stays frozen can serve all trials. If it were trained, each
trial would start from what earlier trials learnt, and models already returned would change.
"""

from __future__ import annotations

import random
from collections.abc import Container, Iterable
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

import keras

from kerastune_optuna._backend import optimizer_of
from kerastune_optuna._exceptions import BuilderError
from kerastune_optuna._trial.variables import checksum_of

_STATE = "seed_generator_state"  # the end of the path of a SeedGenerator's variable
_seen: WeakValueDictionary[int, keras.Variable] = WeakValueDictionary()  # of earlier models
_optimizers: WeakSet[keras.optimizers.Optimizer] = WeakSet()  # of earlier models
_frozen: WeakKeyDictionary[keras.Model, dict[int, int]] = WeakKeyDictionary()  # checksums by id


def variables_of(read: Iterable[Any]) -> set[int]:
    """Return the ids of the variables of layers among the values that a builder reads."""
    layers = (one for one in read if isinstance(one, keras.Layer))
    return {id(variable) for layer in layers for variable in layer.variables}


def check(model: keras.Model, before: set[int], own: Container[int]) -> None:
    """Reject a model whose training would change variables that other models use too.

    Shared seed generators are reset from the trial's seed instead.

    Args:
        model: The model that a builder returned after the random generators were seeded.
        before: The ids of the variables that existed before the builder was called.
        own: The ids of the states of generators that the builder reads, which are as at first.

    Raises:
        BuilderError: The model trains shared variables, or has the optimizer of an earlier model.
    """
    variables = model.variables
    shared = [one for one in variables if id(one) in before or _seen.get(id(one)) is one]
    _seen.update((id(one), one) for one in variables)
    if shared:
        trained = {id(one) for one in model.trainable_variables}
        _refuse(one for one in shared if id(one) in trained)
        chance = random.Random()  # so that Python's generator does not advance
        chance.setstate(random.getstate())
        for one in shared:
            if one.path.endswith(_STATE) and id(one) not in own:
                one.assign([chance.getrandbits(31), 0])
        weights = [one for one in shared if not one.path.endswith(_STATE)]
        _frozen[model] = {id(one): checksum_of(one) for one in weights}
    # An optimizer keeps its state for the variables of the model that it was compiled with.
    if (optimizer := optimizer_of(model)) is None:
        return
    if optimizer in _optimizers:
        raise BuilderError(
            f"build_model compiled its model with an optimizer, {optimizer.name!r}, that an "
            "earlier model was compiled with and that keeps state for that model's variables. "
            "Make the optimizer inside of build_model, or pass its name."
        )
    _optimizers.add(optimizer)


def check_trained(model: keras.Model) -> None:
    """Reject a training that changed variables of other models, such as those of a shared base.

    Raises:
        BuilderError: The training changed a shared variable.
    """
    if (before := _frozen.get(model)) is not None:
        shared = [one for one in model.variables if id(one) in before]
        _refuse(one for one in shared if before[id(one)] != checksum_of(one))


def _refuse(changing: Iterable[keras.Variable]) -> None:
    """Reject a training that changes shared variables, if it changes any."""
    if (first := next(iter(changing), None)) is not None:
        raise BuilderError(
            f"build_model returned a model with the variable {first.path!r}, which existed "
            "before the call and which its training changes: each trial would start from what "
            "earlier trials learnt. Load the base inside of build_model, or clone it there "
            "(clone_model and set_weights), or freeze it (trainable = False) in all trials."
        )
