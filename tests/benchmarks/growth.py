"""Measure what each trial adds: `python -m tests.benchmarks.growth [trials]`.

The network of examples/iris.py trains for two epochs a trial, in one process for each side.
"""

import tempfile
import time

import psutil

from tests.benchmarks import _sides

EPOCHS = 2
WINDOW = 50  # trials at the start and at the end that are compared; memory counts from this trial
LABELS = {"ours": "kerastune_optuna", "optuna": "Optuna", "kerastuner": "KerasTuner RandomSearch"}


def search(side, folder, trials):
    """Search with one side; return seconds and MB at the start of each trial and at the end."""
    if side != "ours":
        _sides.without_ours()
    task = _sides.iris_task(folder, trials, EPOCHS)
    samples, build = [], task.build_model

    def sample():
        samples.append((time.perf_counter(), psutil.Process().memory_info().rss / 1e6))

    def noting(trial):
        if not hasattr(trial, "state"):  # a finished trial's model is built again where it is kept
            sample()
        return build(trial)

    task.build_model = noting
    if side == "kerastuner":
        tuner = _sides.make_keras_tuner(task, "RandomSearch", max_trials=trials)
        samples.clear()  # of a model that is built before, which is no trial
        tuner.search(**task.fit)
    else:
        run = _sides.search_ours if side == "ours" else _sides.search_optuna
        run(task, **_sides.at_random())
    sample()
    if len(samples) != trials + 1:
        raise RuntimeError(f"{side} built {len(samples) - 1} models for {trials} trials")
    return samples


def row(side, trials):
    """Measure one side; return its row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        run = _sides.timed(("growth:search", side, folder, trials))
    times, memory = zip(*run.answers[0], strict=True)
    window = min(WINDOW, (trials - 1) // 2)
    first = (times[1 + window] - times[1]) / window
    last = (times[-1] - times[-1 - window]) / window
    grown = (memory[-1] - memory[window]) / (trials - window)
    print(f"{side}: {trials} trials in {run.seconds:.0f} s, {grown:.3f} MB a trial", flush=True)
    cells = [f"{memory[window]:.0f}", f"{memory[-1]:.0f}", f"{grown:.3f}"]
    cells += [f"{first * 1000:.0f}", f"{last * 1000:.0f}", f"{last / first:.2f}"]
    return [LABELS[side], trials, *cells]


def main():
    options = _sides.command_line(__doc__, LABELS, trials=500).parse_args()
    header = ["side", "trials", f"MB after trial {WINDOW}", "MB at the end", "MB a trial"]
    header += [f"{which} {WINDOW}, ms a trial" for which in ("first", "last")] + ["last / first"]
    rows = [row(side, options.trials) for side in options.only]
    packages = ["kerastune_optuna", "keras", "tensorflow", "optuna", "keras-tuner"]
    _sides.report(packages, header, rows)


if __name__ == "__main__":
    main()
