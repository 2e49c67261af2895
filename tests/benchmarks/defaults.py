"""What users run, all defaults on every side: `python -m tests.benchmarks.defaults [task] [seeds]`.

Each side searches as `_tools.py` says. A further column has the time until the value that all sides
came to with all seeds.
"""

import statistics
from functools import partial

from tests.benchmarks import _sides, _tools


def build_model(trial):
    """Return the network of examples/iris.py."""
    from iris import build_model

    return build_model(trial)


def load(seed):
    """Return three fifths of the rows of Iris, and one each for validation and the test."""
    import numpy as np
    from iris import load_iris
    from sklearn.model_selection import train_test_split

    parts = [(x, y) for data in load_iris() for x, y in data.as_numpy_iterator()]
    x, y = (np.concatenate(part) for part in zip(*parts, strict=True))
    options = {"random_state": seed}
    x, x_rest, y, y_rest = train_test_split(x, y, test_size=0.4, stratify=y, **options)
    x_val, x_test, y_val, y_test = train_test_split(
        x_rest, y_rest, test_size=0.5, stratify=y_rest, **options
    )
    return (x, y), (x_val, y_val), (x_test, y_test)


JOB = _tools.Job(build_model, load, "val_categorical_accuracy", 16, trials=30)
TASKS = {"iris": "defaults"}  # the module of each


def row(side, runs, base, common):
    """Return a row of the table, with the time until a value that all sides came to."""
    answers = [run.answers[0] for run in runs]
    seconds, epochs, value, test, whole = (
        [one[key] for one in answers] for key in ("searched", "epochs", "value", "test", "whole")
    )
    until = [next(at for at, value in one["progress"] if value >= common) for one in answers]
    pairs = zip(answers, base or runs, strict=True)
    ratios = [one["searched"] / run.answers[0]["searched"] for one, run in pairs]
    median = statistics.median
    times = [f"{median(seconds):.1f}", f"{median(ratios):.2f}" if base else ""]
    times += [f"{median(until):.1f}", f"{median(whole):.1f}"]
    found = [f"{median(epochs):.0f}", f"{statistics.mean(value):.4f}", _sides.with_error(test, 4)]
    return [_tools.SIDES[side][0], *times, *found]


def main():
    parser = _sides.command_line(__doc__, _tools.SIDES)
    parser.add_argument("task", nargs="?", default="iris", choices=TASKS)
    parser.add_argument("seeds", type=int, nargs="?", default=3)
    options = parser.parse_args()
    measure = partial(_tools.measure, TASKS[options.task])
    runs = _sides.in_turn(options.only, measure, options.seeds)
    header = [f"{options.task}, {JOB.trials} trials of {JOB.epochs} epochs, all defaults"]
    common = min(run.answers[0]["progress"][-1][1] for side in runs.values() for run in side)
    header += ["search, s", "divided by Optuna's", f"until {common:.4g}, s", "with the model, s"]
    header += ["epochs trained", "best value", "accuracy on other rows"]
    _sides.report(
        _tools.PACKAGES,
        header,
        [row(side, runs[side], runs.get("optuna"), common) for side in runs],
    )


if __name__ == "__main__":
    main()
