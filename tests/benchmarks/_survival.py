"""Copies of a script that search while they are disturbed, for `kills` and `cuts`.

Run as a module it is the script.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras

from tests.benchmarks._aftermath import Aftermath
from tests.benchmarks._leader import VALIDATION, Line, X, Y, make_tuner
from tests.support.faults import ROOT, EpochLog, logged, meet
from tests.support.storages import opened

EPOCHS = 20
_PAUSE = 0.1  # seconds after each epoch: most of the faults would come before the first one else
_DEATHS = 1_000  # in a row end a copy: how many there are, the pace of the killer decides
_A_MOMENT = 0.3  # seconds from the arrival of the last copy to their common start


def tuner_in(folder, storage, n_trials):
    """Return the tuner that each copy has."""
    place = folder / "tuning"
    return make_tuner(opened(storage), None, place, n_trials, max_failed_trials=_DEATHS)


def search(folder, storage, n_trials, copies):
    """Let copies of this script search, from the same moment on; return how they failed, if so."""
    (folder / "tmp").mkdir()
    given = json.dumps([str(folder), storage, n_trials, copies])
    command = [sys.executable, "-m", "tests.benchmarks._survival", given]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder / "tmp")}
    running = [subprocess.Popen(command, env=env) for _ in range(copies)]
    ends = [one.wait() for one in running]
    return [f"a copy of the script ended with {status}" for status in ends if status]


def main():
    """Be one of the copies, each of which has two workers."""
    place, storage, n_trials, copies = json.loads(sys.argv[1])
    folder = Path(place)
    meet(folder, copies)
    last = max(one.stat().st_mtime for one in folder.glob("*.pid"))
    time.sleep(max(0, last + _A_MOMENT - time.time()))
    slow = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: time.sleep(_PAUSE))
    fit = {"validation_data": VALIDATION, "epochs": EPOCHS, "verbose": 0, "n_workers": 2}
    fit["callbacks"] = [EpochLog(folder / "log"), lambda trial: slow]
    tuner_in(folder, storage, n_trials).search(X, Y, **fit)


def left_in(folder, tuner, seen, outages=()):
    """Return what a search left in its folder, of which the tuner has the study."""
    numbers = {"begin": -1}
    lines = [
        Line(trial, int(numbers.get(what, what)), ("", 0, pid), when)
        for trial, what, pid, when in logged(folder / "log")
        if what != "end"
    ]
    weights = tuner._home.folder / "weights"
    known = {*folder.glob("tuning/study.db*"), *weights.glob("*"), weights, *weights.parents}
    there = {one for place in ("tmp", "tuning") for one in folder.glob(f"{place}/**/*")}
    remains = [str(one.relative_to(folder)) for one in there - known]
    stored = {one.name for one in weights.glob("*")}
    return Aftermath(tuner, lines, EPOCHS, stored, list(outages), remains, seen)


def run_each(survive, kinds, faults, times, n_trials, description):
    """Do what the command line says with each kind; exit with 1 where something was lost.

    `survive` takes a kind, a folder, how many faults and how many trials; it returns whether all is
    well. `faults` names the option that says how many; `times` is its default.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(f"--{faults}", dest="times", type=int, default=times)
    parser.add_argument("--trials", type=int, default=n_trials)
    parser.add_argument("--on", nargs="+", default=kinds, choices=kinds)
    given = parser.parse_args()
    lost = 0
    for kind in given.on:
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            print(f"{kind}: {given.times} {faults}, {given.trials} trials", flush=True)
            lost += not survive(kind, Path(folder), given.times, given.trials)
            print(f"{kind} took {time.monotonic() - began:.0f} s", flush=True)
    sys.exit(lost > 0)


if __name__ == "__main__":
    main()
