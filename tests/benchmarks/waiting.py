"""Measure what waiting costs: `python -m tests.benchmarks.waiting [--copies 8] [--seconds 120]`.

Copies of a script share a study, as on several machines. One trial lasts, and the other copies have
nothing left to do but to see whether it has to be run again. The table has the processor seconds
that each of them uses for ten minutes of this.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.support.untrained import build, run, tuner_in

SETTLED = 10  # seconds after the last short trial, in which imports and checks end


def take_part(folder, n_trials):
    """Search as one of the copies; the first trial lasts until there is a file `over`."""

    def lasting(trial):
        if trial.number:
            (folder / f"{trial.number}.ended").touch()
        else:
            (folder / "busy").write_text(str(psutil.Process().pid))
            while not (folder / "over").exists():
                time.sleep(1)
        return build(trial)

    run(tuner_in(folder, lasting, "val_mae", n_trials=n_trials), verbose=0)


def used(process):
    """Return the processor seconds that a process has used."""
    times = process.cpu_times()
    return times.user + times.system


def measure(folder, copies, seconds):
    """Return the processor seconds, for ten minutes, of each copy that waits."""
    n_trials = copies + 1
    command = [sys.executable, "-m", "tests.benchmarks.waiting", "--part", str(folder)]
    started = [subprocess.Popen([*command, "--trials", str(n_trials)]) for _ in range(copies)]
    while len(list(folder.glob("*.ended"))) < n_trials - 1:
        time.sleep(0.1)
    time.sleep(SETTLED)
    busy = int((folder / "busy").read_text())
    waiting = [psutil.Process(copy.pid) for copy in started if copy.pid != busy]
    before = [used(process) for process in waiting]
    time.sleep(seconds)
    after = [used(process) for process in waiting]
    (folder / "over").touch()
    for copy in started:
        if copy.wait():
            raise RuntimeError(f"A copy ended with exit code {copy.returncode}")
    return [(now - then) * 600 / seconds for now, then in zip(after, before, strict=True)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--copies", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=120, help="for which they wait")
    parser.add_argument("--part", type=Path, help=argparse.SUPPRESS)  # the folder of a copy
    parser.add_argument("--trials", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part is not None:
        take_part(options.part, options.trials)
        return
    with tempfile.TemporaryDirectory() as folder:
        each = measure(Path(folder), options.copies, options.seconds)
    shown = " ".join(f"{seconds:.1f}" for seconds in sorted(each))
    print(f"Processor seconds of a copy that waits for ten minutes: {shown}; all {sum(each):.1f}")


if __name__ == "__main__":
    main()
