"""Greedy selection of models by what the mean of their predictions is worth on some rows.

Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble selection from libraries of models" (2004).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
import numpy as np
from numpy.typing import NDArray

from kerastune_optuna._backend import batches_of, compiled_metrics
from kerastune_optuna._data import FitArguments, check_evaluated_data
from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._study import Objective

Outputs: TypeAlias = list[NDArray[Any]]  # for each output of a model, what is averaged of it

_PICKS = 50  # each gives a member 1/50 of the weight, or more if the best mean has fewer
_PATIENCE = 10  # picks without a better mean after which the selection ends


@dataclass(frozen=True)
class Rows:
    """Hold data as Model.evaluate takes it."""

    x: Any
    y: Any
    sample_weight: Any
    batch_size: int | None

    def check(self) -> None:
        """Refuse data that Model.evaluate does not take, or not with targets."""
        check_evaluated_data(self.x, self.y, self.sample_weight)
        self._fit.check_kinds()

    @property
    def _fit(self) -> FitArguments:
        """The rows as arguments of Model.fit, which know what a batch is."""
        others = {"sample_weight": self.sample_weight}
        return FitArguments(self.x, self.y, 1, None, 0.0, others)

    @property
    def inputs(self) -> Any:
        """Symbolic inputs with the shapes of a batch."""
        return keras.utils.unpack_x_y_sample_weight(self._fit.specification_of_a_batch())[0]

    def evaluate(self, model: keras.Model) -> Mapping[str, float]:
        """Return what Model.evaluate returns, by name."""
        for metric in compiled_metrics(model):  # Keras resets only those that it has built
            if isinstance(metric, keras.metrics.Metric):
                metric.reset_state()
        given = {"sample_weight": self.sample_weight, "batch_size": self.batch_size}
        logs: Mapping[str, float] = model.evaluate(
            self.x, self.y, **given, verbose=0, return_dict=True
        )
        return logs

    def predict(self, model: keras.Model) -> tuple[Any, Any, Any]:
        """Read the rows once; return what a model predicts, the targets and the weights."""
        batches = batches_of(self.x, self.y, self.sample_weight, self.batch_size)
        found = [(model.predict_on_batch(x), y, weights) for x, y, weights in batches]
        predicted, y, weights = (
            keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *parts)
            if parts[0] is not None
            else None
            for parts in zip(*found, strict=True)
        )
        if y is None:
            raise ArgumentError("The batches of x have no targets. Pass batches of (x, y).")
        return predicted, y, weights


@dataclass(frozen=True)
class Judge:
    """Compute what a mean of outputs is worth.

    Args:
        model: Takes means of outputs; it is compiled with the loss and metrics.
        objective: The objective.
        y: The targets.
        weights: The weights of the rows, or None.
    """

    model: keras.Model
    objective: Objective
    y: Any
    weights: Any

    def value(self, means: Outputs) -> float:
        """Return the objective on the rows."""
        return self.objective_in(self._logs(means))

    def cost(self, means: Outputs) -> tuple[float, float]:
        """Return what is to be minimized: the objective's cost, then the loss, to break ties."""
        logs = self._logs(means)
        cost, loss = self.objective.cost(self.objective_in(logs)), logs["loss"]
        return math.inf if math.isnan(cost) else cost, math.inf if math.isnan(loss) else loss

    def objective_in(self, logs: Mapping[str, float]) -> float:
        """Return the objective from the logs of an evaluation.

        Raises:
            ArgumentError: The logs do not have it.
        """
        known = {**logs, **{f"val_{name}": value for name, value in logs.items()}}
        if (name := self.objective.find(known)) is None:
            raise ArgumentError(
                f"objective={self.objective.name!r} is not among what compile() lets Keras compute "
                f"from predictions: {', '.join(sorted(logs))}. Add it to compile(metrics=) in "
                "build_model."
            )
        return float(known[name])

    def _logs(self, means: Outputs) -> Mapping[str, float]:
        """Return the loss and the metrics of means."""
        data = [mean.astype("float32") for mean in means], self.y, self.weights
        logs: Mapping[str, float] = self.model.test_on_batch(*data, return_dict=True)
        return logs


def select(candidates: Sequence[Outputs], judge: Judge) -> dict[int, float]:
    """Return the weights of the candidates whose mean is best, by their places.

    The best candidate is picked first, and then, each time, the one with which the mean of all
    picks is best; a candidate may be picked again. The best of these means counts.

    Args:
        candidates: What is averaged of the outputs of each model.
        judge: Says what a mean is worth.
    """
    picks: list[int] = []
    best, length = (math.inf, math.inf), 0
    sums = [np.zeros(one.shape) for one in candidates[0]]
    while not length or len(picks) < min(_PICKS, length + _PATIENCE):
        n = len(picks) + 1  # models in each mean: those picked so far, and a candidate
        costs = [
            judge.cost([(total + more) / n for total, more in zip(sums, one, strict=True)])
            for one in candidates
        ]
        picks.append(min(range(len(costs)), key=costs.__getitem__))
        sums = [total + one for total, one in zip(sums, candidates[picks[-1]], strict=True)]
        if not length or costs[picks[-1]] < best:
            best, length = costs[picks[-1]], len(picks)
    return {place: count / length for place, count in Counter(picks[:length]).items()}
