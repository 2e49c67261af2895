"""Hold the state of a model at the best epoch of its training: weights and seed generators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerastune_optuna._trial.bridge import Hook
from kerastune_optuna._trial.ledger import Ledger
from kerastune_optuna._trial.state import State, state_of_generators


class Best(Hook):
    """Hold the model's state at its best epoch in memory.

    Args:
        model: The model of the trial; a builder's own fit may train others that contain it.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self.state: State | None = None
        self._generators: State = []
        self._validated: State | None = None

    def before_validation(self) -> None:
        """Copy the seed generators, from which layers may draw during validation too."""
        self._generators = state_of_generators(self._model)

    def validated(self, ledger: Ledger, logs: Mapping[str, Any]) -> None:
        """Copy the weights that were just validated, if their logs are the best so far.

        SwapEMAWeights, a callback of the user, changes the weights right afterwards.
        """
        self._validated = None
        validated = {f"val_{name}": value for name, value in logs.items()}
        name = None if ledger.objective is None else ledger.objective.find(validated)
        if name is not None and np.ndim(value := validated[name]) == 0:
            leads = ledger.leads(float(value))
            self._validated = self._model.get_weights() if leads else None

    def epoch(self, ledger: Ledger, model: keras.Model) -> None:
        """Keep the model's state if the epoch is the best so far."""
        validated, self._validated = self._validated, None
        if ledger.is_best:
            weights = validated or self._model.get_weights()
            self.state = [*weights, *self._generators]
            # TensorFlow's relu may turn NaN into 0: then the loss is finite and the model is dead.
            if any(map(_holds_nan, self._model.weights, weights)):
                ledger.diverge("weights are nan")

    def state_of(self, ledger: Ledger) -> State:
        """Return the state that the value of the training belongs to, or the final one."""
        if self.state is None or ledger.now.counts_final_weights:
            return [*self._model.get_weights(), *self._generators]
        return self.state


def _holds_nan(variable: keras.Variable, value: NDArray[Any]) -> bool:
    """Whether a trainable variable holds NaN; if it does, its minimum is NaN too."""
    with np.errstate(invalid="ignore"):
        return bool(variable.trainable and np.isnan(np.min(value, initial=0)))
