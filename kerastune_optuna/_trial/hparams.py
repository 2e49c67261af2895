"""The HParams tab of TensorBoard: what each trial's run was made with, and what it came to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import optuna

from kerastune_optuna import _check
from kerastune_optuna._trial.callbacks import PruningCallback
from kerastune_optuna._trial.history import plain


class HParams(keras.callbacks.Callback):
    """Write a trial's parameters and its value into the folder of its TensorBoard run.

    Args:
        folder: The run's folder.
        trial: The trial that is trained.
        pruning: Its PruningCallback, before this one in the list.
    """

    def __init__(self, folder: str, trial: optuna.Trial, pruning: PruningCallback) -> None:
        super().__init__()
        self._folder = folder
        self._trial = trial
        self._pruning = pruning
        _check.installed("tensorboard", extra="tensorboard")

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Write the parameters, so that a run that is not finished has them too."""
        from tensorboard.plugins.hparams import api

        params = {name: plain(value) for name, value in self._trial.params.items()}
        with self._writing():
            # Without an id, TensorBoard would put trials of equal parameters into one row.
            api.hparams(params, trial_id=f"trial_{self._trial.number:04d}")

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Write the value of the best epoch."""
        if self._pruning.best_value is None or self._pruning.cut_off:
            return
        with self._writing() as summary:
            name, value = self._pruning.objective.name, self._pruning.best_value
            summary.scalar(name, value, step=self._pruning.best_epoch)

    @contextmanager
    def _writing(self) -> Iterator[Any]:
        """Let TensorFlow write summaries into a file of our own, and close it in the end."""
        from tensorflow import summary  # here, since Keras with another backend does without

        writer = summary.create_file_writer(self._folder, filename_suffix=".hparams")
        # Keras's TensorBoard callback with an update_freq lets only some batches be recorded.
        with writer.as_default(), summary.record_if(True):
            yield summary
        writer.close()


def for_boards(
    callbacks: Sequence[keras.callbacks.Callback], trial: optuna.Trial, pruning: PruningCallback
) -> list[HParams]:
    """Return a callback for each folder that a TensorBoard callback of the trial writes into."""
    boards = [one for one in callbacks if isinstance(one, keras.callbacks.TensorBoard)]
    folders = dict.fromkeys(board.log_dir for board in boards)
    return [HParams(folder, trial, pruning) for folder in folders]
