"""What a host of the storm runs: a search with two workers, and a diary of what they trained."""

import json
import os
import sys
import time
from functools import lru_cache, partial
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

from kerastune_optuna import OptunaTuner, TunerError
from tests.support import s3
from tests.support.faults import finished
from tests.support.models import build_model, in_classes

STUDY = "storm"
EPOCHS, KEEP = 30, 2
_PAUSE = 1.0  # seconds after each epoch, so that most faults come in the midst of a training
_NOT_FULL = 3  # the exit status of a search that ended before the study was full

_x, _y = in_classes()
X, Y, VALIDATION = _x[:48], _y[:48], (_x[48:], _y[48:])


class Line(NamedTuple):
    """One line of the diary: the epoch that a process ended, in its training of a trial."""

    trial: int
    epoch: int  # -1 where the training begins
    process: tuple[str, int, int]  # the host, how often it had been started, the id there
    when: float  # seconds on the clock that no fault moves, which all hosts share


def diary(path, trial):
    """Return a callback that writes each epoch of a trial into a file that all hosts share."""

    def note(epoch):
        process = (os.environ["STORM_HOST"], int(os.environ["STORM_BOOT"]), os.getpid())
        append(path, Line(trial.number, epoch, process, time.monotonic()))

    def note_and_last(epoch, logs):
        note(epoch)
        time.sleep(_PAUSE)

    return keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: note(-1), on_epoch_end=note_and_last
    )


def append(path, value):
    """Add a line of JSON to a file, in one write."""
    with open(path, "ab", buffering=0) as file:
        file.write(json.dumps(value).encode() + b"\n")


def read_diary(path):
    """Return the lines of a diary."""
    lines = map(json.loads, path.read_text().splitlines() if path.exists() else [])
    return [Line(trial, epoch, tuple(process), when) for trial, epoch, process, when in lines]


@lru_cache(maxsize=1)
def open_bucket(endpoint):
    """Return the store of an S3 server, whose client tries again as it comes."""
    return s3.opened(endpoint, patience=60, attempts=5)


def make_tuner(storage, store, directory, n_trials, **others):
    """Return the tuner that all copies of a script have, each by its own way to the servers."""
    places = {"storage": storage, "artifact_store": store, "directory": directory}
    options = {"study_name": STUDY, "n_trials": n_trials, "keep_best": KEEP, "backup_every": 0}
    return OptunaTuner(build_model, "val_loss", **places, **options, **others)


def search(database, endpoint, n_trials, path):
    """Search with two workers; exit with another status where the study is not full after it."""
    tuner = make_tuner(database, partial(open_bucket, endpoint), "tuning", n_trials)
    fit = {"epochs": EPOCHS, "batch_size": 16, "callbacks": [partial(diary, path)]}
    tuner.search(X, Y, validation_data=VALIDATION, n_workers=2, verbose=0, **fit)
    if (done := len(finished(tuner))) < n_trials:
        print(f"search() returned with {done} of {n_trials} trials", flush=True)
        raise SystemExit(_NOT_FULL)


def main():
    """Search as the JSON on the command line says, and write down how it ended."""
    *given, ends = json.loads(sys.argv[1])
    how = "the study is full"
    try:
        search(*given)
    except BaseException as error:
        ours = isinstance(error, (TunerError, KeyboardInterrupt, SystemExit))
        how = type(error).__name__ if ours else f"UNTOLD {type(error).__name__}: {error}"
        raise
    finally:
        append(ends, [os.environ["STORM_HOST"], how])
