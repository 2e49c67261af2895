"""Trainings that a builder does itself, by a method `fit`, and what they return."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import keras

from kerastune_optuna._callbacks import Logs, PruningCallback
from kerastune_optuna._exceptions import BuilderError

if TYPE_CHECKING:
    import optuna
    from optuna.trial import BaseTrial

    from kerastune_optuna._monitor import Objective


def trains_itself(build_model: Callable[..., Any]) -> bool:
    """Whether a builder has a `fit(trial, model, **fit_arguments)` to be called for Model.fit."""
    return callable(getattr(build_model, "fit", None))


def pruning_for(
    build_model: Callable[..., Any], trial: optuna.Trial, objective: Objective
) -> PruningCallback:
    """Return the callback that reports a trial."""
    kind = OwnPruning if trains_itself(build_model) else PruningCallback
    return kind(trial, objective.name)


def fit(
    build_model: Callable[..., Any],
    trial: optuna.Trial,
    pruning: PruningCallback,
    keywords: Mapping[str, Any],
    model: keras.Model,
) -> None:
    """Train the model, by the builder's own fit where it has one.

    Args:
        build_model: The builder.
        trial: The trial that is trained.
        pruning: Its callback, which is among the callbacks too.
        keywords: What Model.fit takes.
        model: Its model.

    Raises:
        BuilderError: The builder's fit returned what is no result.
        MetricNotFoundError: The objective is not among the metrics that it returned.
        KeyboardInterrupt: The training was cut off.
    """
    if not isinstance(pruning, OwnPruning):
        model.fit(**keywords)
        return
    try:
        came = train(build_model, trial, keywords, model)
    except Exception:  # the user's code may raise anything over a training that was cut off
        if pruning.cut_off:
            raise KeyboardInterrupt from None
        raise
    if not pruning.cut_off:
        pruning.take(came)


def train(
    build_model: Callable[..., Any],
    trial: BaseTrial,
    keywords: Mapping[str, Any],
    model: keras.Model,
) -> Any:
    """Train the model likewise without a report, and return what its fit returned."""
    if not trains_itself(build_model):
        return model.fit(**keywords)
    # A loop of the builder's own may call no more than on_epoch_end, which needs the model.
    keras.callbacks.CallbackList(keywords["callbacks"], model=model, epochs=keywords["epochs"])
    return build_model.fit(trial, model, **keywords)  # type: ignore[attr-defined] # which it has


class OwnPruning(PruningCallback):
    """Report a training of the builder's own, whose value its fit may return after all epochs."""

    returned: Mapping[str, Any] = MappingProxyType({})  # the metrics, where its fit returned some

    def _pass_over(self, logs: Mapping[str, Any]) -> None:
        """Wait for what fit will return."""

    def on_train_end(self, logs: Logs = None) -> None:
        """Write what the training came to, where the epochs have shown it."""
        if self._values_seen or self._error is not None:
            super().on_train_end(logs)

    def take(self, came: Any) -> None:
        """Take what the builder's fit returned for the value of the trial.

        Raises:
            BuilderError: It is no result.
            MetricNotFoundError: It is without the objective.
        """
        if _is_history(came) and self._values_seen:
            return  # its epochs are known
        self.returned = came if isinstance(came, Mapping) else {}
        value = worth(came, self.objective)
        self.best_value = value if math.isfinite(value) else None
        if not self._values_seen and self.best_value is not None:
            self._unsent[self._first_step] = self._series.mean_with(value)
        self._send_late_reports()
        for key, known in self._series.outcome(self.outcome()).items():
            self._trial.set_user_attr(key, known)

    @property
    def stop_reason(self) -> str:
        """Why training ended, as far as the callbacks were called."""
        if self.epochs_run == 0 and self.best_value is not None:
            return "all of the builder's own training"
        return super().stop_reason


def returned(pruning: PruningCallback) -> Mapping[str, Any]:
    """Return the metrics that a builder's fit returned; none where it returned something else."""
    return pruning.returned if isinstance(pruning, OwnPruning) else {}


def _is_history(came: Any) -> bool:
    return isinstance(came, keras.callbacks.History)


def worth(came: Any, objective: Objective) -> float:
    """Return the value in what a builder's fit returned, as KerasTuner reads it.

    Raises:
        BuilderError: It is no result.
        MetricNotFoundError: It is without the objective.
    """
    if isinstance(came, list | tuple) and came:
        return math.fsum(worth(one, objective) for one in came) / len(came)
    if isinstance(came, Real):
        return float(came)
    if _is_history(came):
        return _best(_found(came.history, objective), objective)
    if isinstance(came, Mapping):
        return float(_found(came, objective))
    raise BuilderError(
        f"The builder's fit returned {came!r}{' (is its `return` missing?)' * (came is None)}. "
        "Return what Model.fit returns, a number, a dict of metrics, or a list of these."
    )


def _found(metrics: Mapping[str, Any], objective: Objective) -> Any:
    name = objective.find(metrics)
    if name is None:
        raise objective.missing(metrics)
    return metrics[name]


def _best(values: Sequence[float], objective: Objective) -> float:
    """Return the best of the finite values of all epochs; NaN where there is none."""
    return min(filter(math.isfinite, values), key=objective.cost, default=math.nan)
