"""The objective's direction and its name in the epoch logs."""

import math

import pytest

from kerastune_optuna import ArgumentError
from kerastune_optuna._study.monitor import Objective, parse_objective
from tests.support import untrained

SMALLER = "loss val_loss val_mean_absolute_error val_digit_loss val_iou_loss val_dice_loss".split()
LARGER = (
    "val_accuracy val_f1_score val_r2_score val_auc_3 digit_sparse_categorical_accuracy val_iou "
    "val_mask_miou val_mean_iou val_mean_io_u_1 val_dice_coef dice_coefficient "
    "val_f1 val_AUC val_r2 val_prc val_sold_acc macro_F1".split()
)


@pytest.mark.parametrize(
    ("name", "direction"),
    [*((one, "minimize") for one in SMALLER), *((one, "maximize") for one in LARGER)],
)
def test_certain_names_have_a_direction(name, direction):
    """A direction of "auto" is the one that a metric's name makes certain."""
    assert parse_objective(name, "auto").direction == direction


@pytest.mark.parametrize(
    "name",
    ["val_cosine_similarity", "val_dice", "val_score", "profit", "val_neg_mean_squared_error"],
)
def test_other_names_ask_for_a_direction(name):
    """A name that leaves a doubt is an error, and an explicit direction settles it."""
    with pytest.raises(
        ArgumentError, match=r'[Pp]ass direction="maximize" or direction="minimize"'
    ):
        parse_objective(name, "auto")
    assert parse_objective(name, "maximize") == Objective(name, "maximize")


def test_a_misspelt_name_is_asked_about():
    """The error names what may be meant, and what to do otherwise."""
    told = r"Did you mean 'val_accuracy'\? If not, pass direction="
    with pytest.raises(ArgumentError, match=told):
        parse_objective("val_acuracy", "auto")


@pytest.mark.parametrize(
    ("objective", "direction"),
    [("val_accuracy", "minimize"), ("loss", "maximize"), (["loss", "auc"], ["auto", "minimize"])],
)
def test_a_direction_to_the_worst_warns(make_tuner, objective, direction):
    """The wrong way round is asked for on purpose, if ever: the tuner says so, and does it."""
    with pytest.warns(UserWarning, match="searches for the worst '.*'. Pass direction") as got:
        make_tuner(objective=objective, direction=direction)
    assert [warning.filename for warning in got] == [untrained.__file__]


@pytest.mark.parametrize(
    ("objective", "logged", "found"),
    [
        ("val_accuracy", ["loss", "val_accuracy", "val_binary_accuracy"], "val_accuracy"),
        ("val_accuracy", ["accuracy", "val_categorical_accuracy"], "val_categorical_accuracy"),
        ("accuracy", ["sparse_categorical_accuracy"], "sparse_categorical_accuracy"),
        ("val_accuracy", ["val_binary_accuracy", "val_categorical_accuracy"], None),
        ("val_auc", ["val_loss", "val_auc_7"], "val_auc_7"),
        ("val_auc", ["val_auc_7", "val_auc_8"], None),
        ("val_loss", ["loss"], None),
        ("val_sparse_accuracy", ["val_sparse_categorical_accuracy"], None),
        ("val_top_k_accuracy", ["val_top_k_categorical_accuracy"], None),
        ("val_sold_acc", ["val_sold_accuracy", "val_sold_auc"], "val_sold_accuracy"),
        ("sold_accuracy", ["kind_accuracy", "sold_binary_accuracy"], "sold_binary_accuracy"),
    ],
)
def test_the_metric_is_found_where_one_name_can_be_meant(objective, logged, found):
    """Keras's other names of a metric are found when there is just one of them."""
    assert parse_objective(objective, "auto").find(logged) == found


BETTER = [("minimize", 1.0, 2.0), ("maximize", 2.0, 1.0), ("maximize", 1.0, None)]
OTHERS = [("minimize", 2.0, 2.0), ("maximize", math.inf, 1.0), ("minimize", math.nan, None)]


@pytest.mark.parametrize(("direction", "value", "than"), [*BETTER, *OTHERS])
def test_better_means_further_in_the_direction(direction, value, than):
    """A value is better when it is finite and strictly further in the direction."""
    is_better = Objective("metric", direction).is_better(value, than=than)
    assert is_better is ((direction, value, than) in BETTER)
