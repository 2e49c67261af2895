"""A script whose search tests interrupt: its path is `__file__`, and its trials wait for a file.

Its arguments: a folder, how many workers, the URL of a database ("" for that in the folder, "-" for
the line on standard input), and how many trials. While the folder has a file "slow", batches last.
"""

import sys
import time
from pathlib import Path

import keras
import numpy as np

from kerastune_optuna import OptunaTuner, _signals
from kerastune_optuna._workers import processes
from tests.support.faults import EpochLog, processes_in, wait_until
from tests.support.models import build_model


def search(directory, n_workers, storage, n_trials):
    """Search, once all workers are there, since one could run all trials alone."""

    def meet(epoch, logs):
        if epoch == 1:
            wait_until(lambda: len(processes_in(f"{directory}/log")) >= n_workers)

    def slow(batch, logs):
        if Path(directory, "slow").exists():
            time.sleep(0.4)

    def waiting(trial):
        return keras.callbacks.LambdaCallback(on_epoch_begin=meet, on_train_batch_end=slow)

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(480, 4)), rng.integers(0, 3, 480)
    options = {"directory": directory, "study_name": "test", "storage": storage or None}
    tuner = OptunaTuner(build_model, n_trials=n_trials, **options)
    fit = {"validation_data": (x, y), "epochs": 4, "n_workers": n_workers, "verbose": 2}
    return tuner.search(x[:48], y[:48], callbacks=[EpochLog(f"{directory}/log"), waiting], **fit)


if __name__ == "__main__":
    # A busy machine needs more than five seconds to end.
    _signals._GRACE = processes._PATIENCE = 60
    folder, workers, url, trials = sys.argv[1:]
    url = sys.stdin.readline().strip() if url == "-" else url
    tuner = search(folder, int(workers), url, int(trials))
    print(len(tuner.study.trials), "in all")
    tuner.best_model()
