"""KerasTuner's Objective, alone and in lists, says what a search is for."""

import keras_tuner
import pytest

from kerastune_optuna import ArgumentError
from kerastune_optuna._study import Objectives

BEST, LEAST = keras_tuner.Objective("my_score", "max"), keras_tuner.Objective("val_loss", "min")


@pytest.mark.parametrize(
    ("objective", "aim"),
    [
        (BEST, "maximize my_score"),
        (LEAST, "minimize val_loss"),
        ([BEST, LEAST], "maximize my_score, minimize val_loss"),
        (
            ["val_accuracy", LEAST, "n_params"],
            "maximize val_accuracy, minimize val_loss, minimize n_params",
        ),
        ([LEAST], "minimize val_loss"),
    ],
)
def test_an_objective_of_keras_tuner_is_taken(make_tuner, objective, aim):
    """With its direction, also beside names."""
    assert Objectives.parse(objective, "auto").aim == aim
    assert make_tuner(objective=objective).study.directions[0].name.lower() == aim.split()[0]


def test_two_directions_are_refused(make_tuner):
    """The one of the Objective counts, and another is left out."""
    with pytest.raises(ArgumentError, match="Leave direction= out"):
        make_tuner(objective=BEST, direction="minimize")


def test_another_direction_is_refused(make_tuner):
    """In one line, which says what an Objective may have."""
    with pytest.raises(ArgumentError, match="the direction 'up' for 'my_score'"):
        make_tuner(objective=keras_tuner.Objective("my_score", "up"))
