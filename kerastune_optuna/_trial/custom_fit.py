"""Trainings by a builder's own method `fit`, and the values that it returns."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from types import MappingProxyType
from typing import Any

import keras
import numpy as np

from kerastune_optuna import _check, _signals
from kerastune_optuna._exceptions import BuilderError, MetricNotFoundError
from kerastune_optuna._study import Objective, TrialRecord
from kerastune_optuna._trial.callbacks import BestWeights, Logs, PruningCallback
from kerastune_optuna._trial.fits import Fits, TrainingOver
from kerastune_optuna._trial.state import State

_DEFAULT = "val_accuracy"  # the default objective of a tuner


def trains_itself(build_model: Callable[..., Any]) -> bool:
    """Whether a builder has a `fit(trial, model, **fit_arguments)` that replaces Model.fit."""
    return callable(getattr(build_model, "fit", None))


class OwnPruning(PruningCallback):
    """Report a training by the builder's own fit, which may return its value at the end."""

    is_of_end = False  # whether the value is that of the final weights, not of the best epoch
    fits: Fits  # the callback that presents all fits to this callback as one
    _trained: keras.Model | None = None  # the trial's model
    _returned: Mapping[str, Any] = MappingProxyType({})  # the metrics that fit returned, if any
    _given = 0  # the epochs= that was passed to the builder's fit

    @property
    def is_over(self) -> bool:
        """Whether the training was stopped early, by pruning, a signal or an error."""
        went_wrong = self._error is not None or self.diverged is not None
        return self.pruned or self.cut_off or went_wrong

    def begin_fit(self) -> None:
        """Prevent another fit from starting if the training is over or a signal requested its end.

        Raises:
            TrainingOver: The training is over, or a signal requested its end.
        """
        self.cut_off = self.cut_off or _signals.requested()
        if self.is_over:
            raise TrainingOver

    def set_model(self, model: keras.Model) -> None:
        """Note the trial's model, which is the first one that is set."""
        super().set_model(model)
        self._trained = model if self._trained is None else self._trained

    @property
    def _is_other(self) -> bool:
        """Whether the model being trained lacks weights of the trial's model, or that has none."""
        own = _ids(self._trained)
        return self.model is not self._trained and not (own and own <= _ids(self.model))

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Note how many epochs the training may have in all, including those of further fits."""
        super().set_params(params)
        epochs = params.get("epochs", 0)
        self._given = self._given or epochs
        if epochs > self._given:
            self._series.begin(epochs)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Record the value of an epoch; stop if another model logged it."""
        if self._is_other and self.objective.find(logs or {}) is not None:
            self._give_up(self._other())
        else:
            super().on_epoch_end(epoch, logs)

    def _may_go_on(self, epoch: int) -> bool:
        """Return True, since another fit may follow."""
        return True

    def _pass_over(self, logs: Mapping[str, Any]) -> None:
        """Do nothing: another fit may log the objective, or the builder's fit may return it."""

    def take(self, came: Any) -> None:
        """Use what the builder's fit returned as the value of the trial.

        Raises:
            BuilderError: It is neither a number, nor a dict, nor a History, nor a list of these.
            MetricNotFoundError: It does not contain the objective.
        """
        if isinstance(came, list | tuple):
            came = _mean_of(came, self.objective)
        is_history = isinstance(came, keras.callbacks.History)
        if is_history:
            came = {name: values[-1] for name, values in came.history.items() if values}
            if self._values_seen and not self._is_better(came):
                return  # the weights of the best epoch are kept
        self._returned = came if isinstance(came, Mapping) else {}
        value, best = _worth(came, self.objective), self.best_value
        if is_history:
            _check.warn(
                "The builder's fit returned a History of epochs that the callbacks did not get, so "
                "nothing is pruned, and a trial has the value and weights of its last epoch, not "
                "of its best one. Pass callbacks= on to each Model.fit."
            )
        elif not self._values_seen:
            self._warn_of_default(came, value)
        elif best is not None and _are_close(value, best):
            return  # the weights of the best epoch are kept here too
        elif best is not None and self.objective.is_better(best, than=value):
            _check.warn(
                f"The builder's fit returned another {self.objective.name} than that of its best "
                "epoch, which was better. The returned value counts, with the final weights. To "
                "use the best epoch and its weights, return what Model.fit returns."
            )
        self._take_end(value)

    def _is_better(self, logs: Mapping[str, Any]) -> bool:
        """Whether the logs of an epoch contain a better value than the callbacks saw."""
        name = self.objective.find(logs)
        return name is not None and self.objective.is_better(logs[name], than=self.best_value)

    def _take_end(self, value: float) -> None:
        """Make the returned value and the final weights count for the trial."""
        if not self._values_seen:
            self._unsent[self._first_step] = self._series.mean_with(value)
        self.is_of_end, self._values_seen = True, self._values_seen + 1
        self.best_value = value if math.isfinite(value) else None
        self.best_epoch = self.last_epoch if self.epochs_run else None

    def complete(self, logs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the logs of the best epoch, with other metrics that the builder's fit returned."""
        return {**logs, **self._returned} if self.is_of_end else {**self._returned, **logs}

    def _warn_of_default(self, came: Any, value: float) -> None:
        """Warn if a number without a name counts as the default objective.

        KerasTuner minimizes such a number if its tuner has no objective.
        """
        is_named = isinstance(came, Mapping) or self.objective.name != _DEFAULT
        if not is_named and math.isfinite(value):
            _check.warn(
                f"The builder's fit returned a number ({value:.6g}), which counts as {_DEFAULT} "
                f"and is {self.objective.direction}d. If it is another metric, pass objective= and "
                f"direction=. Otherwise return it with its name: {{{_DEFAULT!r}: value}}."
            )

    def _other(self) -> BuilderError:
        return BuilderError(
            f"The builder's fit trained {self.model.name!r} with callbacks=, which logs "
            f"{self.objective.name} and is another model than its trial's: best_model() could not "
            "return its weights. Train the model that fit gets, or leave out callbacks= there."
        )

    def outcome(self) -> dict[str, Any]:
        """Return the outcome of the training, with the epochs of each fit if there are several."""
        outcome, epochs = super().outcome(), self.params.get("epochs", 0)
        if len(lengths := self.fits.lengths) > 1:
            outcome[TrialRecord.fits] = lengths
        if epochs > self._given:
            outcome[TrialRecord.epochs] = epochs - self._first_epoch
        return outcome

    @property
    def stop_reason(self) -> str:
        """Why training ended, as far as the callbacks know."""
        if self.is_of_end and self.best_value is None:
            return f"the builder's fit returned a {self.objective.name} that is not finite"
        if self.epochs_run == 0 and self.best_value is not None:
            return "all of the builder's own training"
        return super().stop_reason


class BestOfFits(BestWeights):
    """Hold the state of the trial's model at the best epoch, even if another model is trained."""

    _pruning: OwnPruning

    def set_model(self, model: keras.Model) -> None:
        """Keep the first model, the trial's, since a builder may train others that contain it."""
        if self.model is None:
            super().set_model(model)

    def best_or_last(self) -> State:
        """Return the state of the best epoch, or the final state if the returned value counts."""
        if self._pruning.is_of_end:
            return [*self.model.get_weights(), *self._generators]
        return super().best_or_last()


def _ids(model: keras.Model) -> set[int]:
    return {id(weight) for weight in model.weights}


def _are_close(value: float, best: float) -> bool:
    """Whether two values are equal up to rounding, since a fit may round its return value."""
    return math.isclose(value, best, rel_tol=1e-3, abs_tol=1e-4)


def _mean_of(came: Sequence[Any], objective: Objective) -> Any:
    """Return the mean of what several trainings came to, as KerasTuner takes it; else `came`."""
    parts = [_best_of(one, objective) for one in came]
    if parts and all(isinstance(one, Real) for one in parts):
        return statistics.fmean(parts)
    rows = [{objective.name: one} if isinstance(one, Real) else one for one in parts]
    if not (rows and all(isinstance(one, Mapping) for one in rows)):
        return came
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}


def _best_of(came: Any, objective: Objective) -> Any:
    """Return the logs of the best epoch of a History; anything else as it is."""
    if not isinstance(came, keras.callbacks.History):
        return came
    values = came.history.get(objective.find(came.history), [])
    costs = np.nan_to_num([objective.cost(value) for value in values], nan=np.inf)
    best = int(np.argmin(costs)) if values else 0
    return {name: logged[best] for name, logged in came.history.items() if best < len(logged)}


def _worth(came: Any, objective: Objective) -> float:
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
