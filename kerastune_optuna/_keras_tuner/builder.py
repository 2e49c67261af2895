"""from_keras_tuner: make a `build_model` from code that was written for KerasTuner."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from optuna.trial import BaseTrial, FixedTrial

from kerastune_optuna._exceptions import ArgumentTypeError
from kerastune_optuna._keras_tuner.entries import FirstRanges
from kerastune_optuna._keras_tuner.hyperparameters import HyperParameters

_BY_POSITION = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_OR_KEYWORD}
_TWICE = re.compile(r"got multiple values for (?:keyword )?argument '(\w+)'")


def from_keras_tuner(hypermodel: Any) -> Callable[[BaseTrial], Any]:
    """Return a `build_model` that runs a builder or HyperModel for KerasTuner unchanged.

    If a HyperModel has its own `fit`, that method trains the model and returns the value of the
    trial: a History, a number, a dict of metrics that includes the objective, or a list of these,
    whose mean counts. If `fit` passes callbacks= on and returns a History, the best epoch and its
    weights count; otherwise the returned value counts, with the final weights. Arguments that `fit`
    sets itself, as in
    `model.fit(*args, epochs=hp.Int("epochs", 5, 20), **kwargs)`, take precedence over those of
    search(). Such a training makes one step per call unless search(steps_per_execution=) sets more.
    best_model() returns the model that `fit` gets: if `fit` trains other models, as for a
    cross-validation, it must train that one too.

    Args:
        hypermodel: A function that takes KerasTuner's `hp` and returns a compiled model, or an
            instance of a HyperModel. KerasTuner need not be installed unless this code imports it.

    Returns:
        A function of an Optuna trial, or of HyperParameters, as `tuner.hypermodel.build` is in
        KerasTuner. Its study is named after the function or the HyperModel.

    Raises:
        ArgumentTypeError: `hypermodel` is neither.

    Example:
        >>> import keras, optuna
        >>> from kerastune_optuna import from_keras_tuner
        >>> def build(hp):
        ...     units = hp.Int("units", 4, 16, step=4)
        ...     model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(units)])
        ...     model.compile("adam", "mse")
        ...     return model
        >>> build_model = from_keras_tuner(build)
        >>> build_model(optuna.trial.FixedTrial({"units": 8})).output_shape
        (None, 8)
    """
    build = getattr(hypermodel, "build", None)
    is_model = hasattr(hypermodel, "compile")
    if isinstance(hypermodel, type) or is_model or not (callable(build) or callable(hypermodel)):
        raise ArgumentTypeError(
            f"from_keras_tuner() got {hypermodel!r}, which is no builder for KerasTuner. Pass a "
            "function that takes hp and returns a compiled model, or an instance of a HyperModel."
        )
    fit = getattr(type(hypermodel), "fit", None)
    is_own = fit is not None and not fit.__module__.startswith("keras_tuner.")
    return _TrainingBuilder(hypermodel) if is_own else _Builder(hypermodel)


class _Builder:
    """Call a builder for KerasTuner with the hyperparameters of an Optuna trial."""

    def __init__(self, func: Any) -> None:
        self.func = func  # named as in functools.partial, since the study is named after it
        self._first = FirstRanges()

    def __call__(self, trial: BaseTrial | HyperParameters) -> Any:
        hp = trial if isinstance(trial, HyperParameters) else HyperParameters(trial, self._first)
        if (declare := getattr(self.func, "declare_hyperparameters", None)) is not None:
            declare(hp)
        return getattr(self.func, "build", self.func)(hp)

    def learn_ranges(self) -> None:
        """Build the model with the defaults, as KerasTuner does first, and keep its ranges.

        A builder may ask for the same name with other ranges in another branch of its code.
        """
        if self._first.fixed is None:
            self(HyperParameters(None, self._first))
            self._first.fixed = frozenset(self._first.entries)

    def default_params(self) -> dict[str, Any]:
        """Return the defaults with which KerasTuner begins, for enqueue()."""
        hp = HyperParameters(None, self._first)
        self(hp)
        asked = FixedTrial(hp.values)  # its params record the parameters that are suggested
        self(asked)
        return asked.params


class _TrainingBuilder(_Builder):
    """Build as _Builder does, and train with the HyperModel's own fit."""

    def fit(self, trial: BaseTrial, model: Any, **keywords: Any) -> Any:
        """Return what HyperModel.fit returns, called as KerasTuner would call it."""
        hp = HyperParameters(trial, self._first)
        data, offered = _as_called(self.func.fit, keywords)
        while True:
            try:
                return self.func.fit(hp, model, *data.values(), **offered)
            except KeyError as error:  # a fit(*args, **kwargs) may look up data by name
                if not data.keys() & set(error.args):
                    raise
                data, offered = {}, {**data, **offered}
            except TypeError as error:
                twice = _TWICE.search(str(error))
                if twice is None or offered.pop(twice[1], None) is None:
                    raise


def _as_called(
    fit: Callable[..., Any], keywords: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the positional data and the keyword arguments with which KerasTuner would call a fit.

    KerasTuner passes on exactly what the user passed to search(). Data is passed by name if the fit
    has parameters with these names, and by position otherwise.
    """
    offered = {name: value for name, value in keywords.items() if value is not None}
    if not offered.get("validation_split"):
        offered.pop("validation_split", None)
    parameters = list(inspect.signature(fit).parameters.values())[2:]  # after hp and model
    kinds = {parameter.kind for parameter in parameters}
    taken = {parameter.name for parameter in parameters}
    given = [name for name in ("x", "y") if name in offered]
    data: dict[str, Any] = {}
    if not taken.issuperset(given) and kinds & _BY_POSITION:
        data = {name: offered.pop(name) for name in given}
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        offered = {name: value for name, value in offered.items() if name in taken}
    return data, offered
