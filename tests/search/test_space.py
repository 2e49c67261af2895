"""The space of a builder is printed before anything is trained."""

import re

import pytest

from kerastune_optuna import from_keras_tuner
from tests.support.keras_tuner_builders import branches, same_names


def nested(trial):
    """Ask for parameters under plain Python conditions, two of them one within the other."""
    for layer in range(trial.suggest_int("layers", 1, 3)):
        trial.suggest_int(f"units_{layer}", 4, 64, log=True)
    is_sgd = trial.suggest_categorical("optimizer", ["sgd", "adam"]) == "sgd"
    if is_sgd and trial.suggest_categorical("nesterov", [False, True]):
        trial.suggest_float("momentum", 0.5, 0.9, step=0.2)


def printed(tuner, capsys):
    """Return the lines of space() as their cells, between which there are two spaces at least."""
    tuner.space()
    lines = capsys.readouterr().out.splitlines()
    return [re.split("  +", line.strip()) for line in lines]


def test_what_the_defaults_ask_for_is_told(make_tuner, capsys, tmp_path):
    """Ranges and defaults are there, in a table, and that there may be more; no study is made."""
    title, head, *rows, more = printed(make_tuner(nested, "val_loss"), capsys)
    assert title == ["Search space: 5 parameters"]
    assert head == ["parameter", "values", "default", "only with"]
    assert rows == [
        ["layers", "1 to 3", "2"],
        ["units_0", "4 to 64 on a log scale", "16"],
        ["units_1", "4 to 64 on a log scale", "16"],
        ["optimizer", "one of 'sgd', 'adam'", "sgd"],
        ["nesterov", "one of False, True", "False"],
    ]
    assert more[0].endswith("only with other values than the defaults is not shown.")
    assert list(tmp_path.iterdir()) == []


def test_the_builders_own_defaults_are_told(make_tuner, capsys):
    """They also decide what it asks for."""

    def build(trial):
        nested(trial)

    build.default_params = lambda: {"layers": 1, "optimizer": "adam"}
    rows = printed(make_tuner(build), capsys)[2:-1]
    told = [(row[0], row[-1]) for row in rows]
    assert told == [("layers", "1"), ("units_0", "16"), ("optimizer", "adam")]


@pytest.mark.parametrize(
    ("build", "rows"),
    [
        (
            branches,
            [
                ["units", "2 to 6", "2", "kind=dense,wide"],
                ["rate", "0.1 to 0.5 in steps of 0.1", "0.1", "kind=dense,wide and dropout=True"],
                ["note", "one of 'linear'", "linear", "kind=none"],
            ],
        ),
        (same_names, [["activation", "one of 'relu', 'tanh'", "relu", "kind=a"]]),
    ],
)
def test_keras_tuners_conditions_and_defaults_are_told(make_tuner, capsys, build, rows):
    """A builder for KerasTuner says them itself, of what is not active with the defaults too."""
    found = printed(make_tuner(from_keras_tuner(build)), capsys)
    assert [row for row in found if row[0] in {name for name, *_ in rows}] == rows
