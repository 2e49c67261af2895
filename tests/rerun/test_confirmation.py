"""What a confirmation found: its intervals, ties, the luck of the search, and its table."""

import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import create_trial

from kerastune_optuna._rerun.confirmation import Confirmation, Confirmed
from kerastune_optuna._study.objectives import Objective

ACCURACY = Objective("val_accuracy", "maximize")


def row(number, values, searched=0.9, **options):
    space = {"units": IntDistribution(0, 9)}
    trial = create_trial(value=searched, params={"units": number}, distributions=space)
    trial.number = number
    return Confirmed(trial, values, **options)


def ranked(*rows):
    return Confirmation("test-confirm", ACCURACY, rows)


def test_a_tie_is_called_a_tie():
    """Means that chance may have set apart are a tie, and the table says with whom."""
    found = ranked(row(4, [0.90, 0.94]), row(2, [0.91, 0.92]), row(7, [0.5, 0.51], searched=0.8))
    assert not found.is_clear
    assert "Trial 4 leads, but that is a tie with 2 (Welch's t-test, p >= 0.05)." in str(found)


def test_a_clear_winner_is_called_clear():
    """Means that are far apart make a clear winner."""
    found = ranked(row(4, [0.95, 0.951, 0.952]), row(2, [0.90, 0.91, 0.92]))
    assert found.is_clear
    assert found.winner.number == 4
    assert "Trial 4 is the clear winner (Welch's t-test, p < 0.05)." in str(found)


def test_a_configuration_prints_as_one_line():
    """Without all that its trial has on record."""
    winner = ranked(row(4, [0.25, 0.75]), row(2, [0.1, 0.2])).winner
    assert str(winner) == repr(winner) == "<trial 4: mean 0.5 of 2 executions, units=4>"


def test_a_configuration_prints_without_control_characters():
    """A study of somebody else may not command the terminal."""
    params = {"a\x1b[31m": "b\x1b]0;c\x07"}
    space = {name: CategoricalDistribution([value]) for name, value in params.items()}
    winner = Confirmed(create_trial(value=0.5, params=params, distributions=space), [0.25, 0.75])
    assert repr(winner).isprintable()


def test_equal_values_have_no_spread():
    """Executions that all came to one value give an interval without width, and no warning."""
    same, other = row(1, [0.1 + 0.2] * 5), row(2, [0.3] * 5)
    assert same.interval == (same.mean, same.mean)
    assert ranked(same, other).is_clear
    assert not ranked(same, row(3, [0.1 + 0.2] * 5)).is_clear


def test_luck_is_what_the_best_value_was_too_good_by():
    """Luck compares the search's best value with the mean of that configuration, whoever won."""
    found = ranked(row(2, [0.93, 0.94], searched=0.92), row(4, [0.90, 0.91], searched=0.97))
    assert found.luck == pytest.approx(0.97 - 0.905)
    assert "best value, 0.97 of trial 4, was 0.065 better than the mean of its" in str(found)
    losses = Confirmation("x", Objective("val_loss", "minimize"), [row(1, [0.2, 0.3], 0.1)])
    assert losses.luck == pytest.approx(0.25 - 0.1)


def test_the_table_holds_what_was_found():
    """Each configuration has a row with mean, interval, p-value, and brackets as they are."""
    found = ranked(row(4, [0.94, 0.95]), row(2, [0.90, 0.91], failed=1))
    lines = [line.split() for line in str(found).splitlines()]
    assert "1 4 0.945 0.8815 to 1.009 2 0.9 units=4".split() in lines
    assert "2 2 0.905 0.8415 to 0.9685 2, 1 failed 0.03 0.9 units=2".split() in lines
    assert "<pre> Study &#x27;test-confirm&#x27;: maximize" in found._repr_html_()
