"""What a builder's own method `fit` leaves: the model's variables, and the value it returns."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import keras
import numpy as np

from kerastune_optuna import _check
from kerastune_optuna._exceptions import BuilderError, MetricNotFoundError
from kerastune_optuna._study import Objective
from kerastune_optuna._trial.ledger import Ledger, plain

_DEFAULT = "val_accuracy"  # the default objective of a tuner


def check_are_there(variables: Iterable[keras.Variable], model: keras.Model) -> None:
    """Reject a training after which a model no longer has its original variables.

    Raises:
        BuilderError: The builder's fit has replaced variables.
    """
    there = set(map(id, model.weights))
    if (gone := next((one for one in variables if id(one) not in there), None)) is not None:
        raise BuilderError(
            f"The builder's fit has put other variables in the place of {gone.path!r}, as "
            "Model.quantize() does. best_model() calls build_model and loads weights, so it could "
            'never return such a model. Do that after the search: best_model().quantize("int8").'
        )


def take_returned(ledger: Ledger, came: Any) -> None:
    """Use what the builder's fit returned as the value of its training.

    Args:
        ledger: The ledger, with the epochs that the callbacks saw.
        came: What fit returned.

    Raises:
        BuilderError: It is neither a number, nor a dict, nor a History, nor a list of these.
        MetricNotFoundError: It does not contain the objective.
    """
    objective, best, was_logged = ledger.objective, ledger.now.best_value, ledger.has_values
    came = _mean_of(came, objective) if isinstance(came, list | tuple) else came
    is_history = isinstance(came, keras.callbacks.History)
    if is_history:
        came = {name: values[-1] for name, values in came.history.items() if values}
        name = objective.find(came)
        if was_logged and not (name is not None and objective.is_better(came[name], than=best)):
            return  # the weights of the best epoch are kept
    named = came if isinstance(came, Mapping) else {}
    ledger.now.returned = {str(name): plain(value) for name, value in named.items()}
    value = _value_in(came, objective)
    if is_history:
        _check.warn(
            "The builder's fit returned a History of epochs that the callbacks did not get, so "
            "nothing is pruned, and a trial has the value and weights of its last epoch, not "
            "of its best one. Pass callbacks= on to each Model.fit."
        )
    elif not was_logged:
        _warn_of_default(objective, came, value)
    # A fit may round its return value.
    elif best is not None and math.isclose(value, best, rel_tol=1e-3, abs_tol=1e-4):
        return  # the weights of the best epoch are kept here too
    elif best is not None and objective.is_better(best, than=value):
        _check.warn(
            f"The builder's fit returned another {objective.name} than that of its best "
            "epoch, which was better. The returned value counts, with the final weights. To "
            "use the best epoch and its weights, return what Model.fit returns."
        )
    ledger.take_final_value(value)


def _warn_of_default(objective: Objective, came: Any, value: float) -> None:
    """Warn if a number without a name counts as the default objective.

    KerasTuner minimizes such a number if its tuner has no objective.
    """
    is_named = isinstance(came, Mapping) or objective.name != _DEFAULT
    if not is_named and math.isfinite(value):
        _check.warn(
            f"The builder's fit returned a number ({value:.6g}), which counts as {_DEFAULT} "
            f"and is {objective.direction}d. If it is another metric, pass objective= and "
            f"direction=. Otherwise return it with its name: {{{_DEFAULT!r}: value}}."
        )


def _mean_of(came: Sequence[Any], objective: Objective) -> Any:
    """Return the mean of a list of results, as KerasTuner does, or the list if it has others."""
    parts = [_best_logs(one, objective) for one in came]
    if parts and all(isinstance(one, Real) for one in parts):
        return statistics.fmean(parts)
    rows = [{objective.name: one} if isinstance(one, Real) else one for one in parts]
    if not (rows and all(isinstance(one, Mapping) for one in rows)):
        return came
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}


def _best_logs(came: Any, objective: Objective) -> Any:
    """Return the logs of the best epoch of a History; anything else as it is."""
    if not isinstance(came, keras.callbacks.History):
        return came
    values = came.history.get(objective.find(came.history), [])
    costs = np.nan_to_num([objective.cost(value) for value in values], nan=np.inf)
    best = int(np.argmin(costs)) if values else 0
    return {name: logged[best] for name, logged in came.history.items() if best < len(logged)}


def _value_in(came: Any, objective: Objective) -> float:
    """Return the objective's value from what a builder's fit returned.

    Raises:
        BuilderError: It is neither a number nor a dict.
        MetricNotFoundError: It does not contain the objective.
    """
    if isinstance(came, Real):
        return float(came)
    if not isinstance(came, Mapping):
        raise BuilderError(
            f"The builder's fit returned {came!r}{' (is its `return` missing?)' * (came is None)}. "
            "Return what Model.fit returns, a number, a dict of metrics, or a list of these."
        )
    if (name := objective.find(came)) is None:
        raise MetricNotFoundError(
            f"The builder's fit returned {', '.join(sorted(came)) or 'no metric'}, but not "
            f"{objective.name}. Return it under that name, or return what Model.fit returns."
        )
    return float(came[name])
