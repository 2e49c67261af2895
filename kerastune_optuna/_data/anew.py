"""Let each training begin with the user's PyDatasets as the search got them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kerastune_optuna import _check, _generators, _source
from kerastune_optuna._data.snapshot import Snapshot


class Beginning:
    """Hold the states of PyDatasets in which each training is to find them.

    Keras lets a PyDataset change itself, as by a shuffle in `on_epoch_end`. The datasets stay the
    same objects, since callbacks may know them.

    Args:
        datasets: The datasets by the names of their arguments.
    """

    def __init__(self, datasets: Mapping[str, Any]) -> None:
        self._datasets, self._snapshot = datasets, Snapshot()
        self._first: _generators.First = {}
        self._restore_generators()  # which notes their states
        for name, one in datasets.items():
            if errors := self._snapshot.note(name, one):
                why = f"cannot be copied ({type(errors[0]).__name__}: {errors[0]})"
                self._warn(name, f"holds what {why}. If that")

    @contextmanager
    def of_training(self) -> Iterator[None]:
        """Restore the datasets for the training in a block, and after it for the user."""
        self._restore()
        try:
            yield
        finally:
            self._restore()

    def skip(self, epochs: int, is_evaluated: Callable[[int], bool]) -> None:
        """Let the datasets change as in some epochs, which an earlier process has trained.

        Args:
            epochs: How many epochs.
            is_evaluated: Whether Keras evaluates the validation data after such an epoch.
        """
        for epoch in range(epochs):
            for name, one in self._datasets.items():
                if name == "validation_data":
                    if not is_evaluated(epoch):
                        continue
                    one.on_epoch_end()  # Keras ends an epoch before each evaluation
                one.on_epoch_begin()
                one.on_epoch_end()

    def _restore(self) -> None:
        if not self._datasets:
            return
        self._restore_generators()
        for name in self._snapshot.restore():
            self._warn(name, "holds a large array, which is not copied. If this")

    def _restore_generators(self) -> None:
        for one in self._datasets.values():
            _generators.restore(_source.values(type(one)), self._first)

    def _warn(self, name: str, why: str) -> None:
        kind = type(self._datasets[name]).__name__
        _check.warn(
            f"{name} is a {kind} that {why} changes while it is read, as by a shuffle in "
            "on_epoch_end(), a trial depends on those before it. Pass a function instead: "
            f"{name}=lambda trial: {kind}(...)."
        )
