"""Sentences on what a search can conclude, each on a study made for it, and silence elsewhere."""

from __future__ import annotations

import math
import warnings

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from kerastune_optuna import _report
from kerastune_optuna._report.facts import Facts
from kerastune_optuna._report.hints import hints
from kerastune_optuna._study import StudyRecord
from tests.support.untrained import Untrained, X, run, tuner_in

RATE = FloatDistribution(1e-4, 1e-1, log=True)
UNITS = IntDistribution(1, 64)
ROWS = np.zeros((48, 1))
STEPS = (0.6180339887, 0.7548776662)  # whose multiples fill a range evenly


def study_of(value, n=60, direction="minimize", **distributions):
    """Return a study whose trials are spread over their ranges, and have the value of a function.

    Args:
        value: Takes where the parameters stand on their ranges, and returns the value.
        n: How many trials.
        direction: Of the study.
        **distributions: Those of the parameters.
    """
    study = optuna.create_study(study_name="made", direction=direction)
    for number in range(1, n + 1):
        steps = zip(distributions, STEPS, strict=False)
        at = {name: number * step % 1 for name, step in steps}
        params = {name: placed(distributions[name], place) for name, place in at.items()}
        study.add_trial(create_trial(value=value(**at), params=params, distributions=distributions))
    return study


def placed(distribution, place):
    """Return the value at a place of a range."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(place * len(distribution.choices))]
    low, high = distribution.low, distribution.high
    if distribution.log:
        return float(low * (high / low) ** place)
    value = low + place * (high - low)
    return round(value) if isinstance(distribution, IntDistribution) else value


def said(study, part):
    """Return the sentences on a study that have a text in them."""
    return [sentence for sentence in hints(Facts(study)) if part in sentence]


def with_values(*values, direction="maximize", metric=None, **attrs):
    """Return a study of COMPLETE trials without parameters, the first with attributes."""
    study = optuna.create_study(study_name="made", direction=direction)
    for number, value in enumerate(values):
        study.add_trial(create_trial(value=value, user_attrs={} if number else attrs))
    if metric:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([metric])
    return study


def test_the_best_at_an_end_of_a_range_is_told():
    """Which end of which parameter, and which way to widen it, on a logarithmic range too."""
    study = study_of(
        lambda rate, units: 0.1 * units - 2 * rate, rate=RATE, units=IntDistribution(8, 64)
    )
    assert said(study, "end of the range") == [
        "The best trials lie at the upper end of the range of rate, 0.1: let it go higher."
    ]
    study = study_of(lambda rate, units: units, rate=RATE, units=IntDistribution(8, 64))
    assert said(study, "end of the range") == [
        "The best trials lie at the lower end of the range of units, 8: let it go lower."
    ]


def pruned_study(n_complete):
    """Return 30 trials whose cost falls with the rate, of which the best alone are COMPLETE."""
    study = optuna.create_study()
    for number in range(30):
        cost, rate = 1 - number / 30, 10 ** (-3 + number / 15)
        steps = {epoch: cost + 1 / (epoch + 1) for epoch in range(10)}
        own = {"params": {"rate": rate}, "distributions": {"rate": RATE}}
        if number >= 30 - n_complete:
            study.add_trial(create_trial(value=steps[9], intermediate_values=steps, **own))
            continue
        first = {epoch: steps[epoch] for epoch in range(3)}
        attrs = {"user_attrs": {"best_value": steps[2]}, "intermediate_values": first}
        study.add_trial(create_trial(state=TrialState.PRUNED, **attrs, **own))
    return study


def test_pruned_trials_count_where_few_are_complete():
    """The end of a range is told, whichever trials are COMPLETE."""
    assert said(pruned_study(4), "upper end of the range of rate, 0.1")


@pytest.mark.parametrize(
    ("value", "space"),
    [
        (lambda rate: (rate - 0.8) ** 2, {"rate": RATE}),
        (lambda rate: math.sin(1e6 * rate), {"rate": RATE}),
        (lambda kind: kind, {"kind": CategoricalDistribution(list("abcdefghij"))}),
        (lambda units: units, {"units": UNITS}),  # 1 is an end by nature
        (lambda rate: rate, {"rate": FloatDistribution(0, 1)}),
    ],
    ids=["inside", "by chance", "choices", "one unit", "none"],
)
def test_no_end_is_told_where_there_is_none(value, space):
    """The best inside, values by chance, choices, and ends that nobody can go beyond."""
    assert said(study_of(value, **space), "end of the range") == []


def test_few_values_need_more_of_the_best_at_the_end():
    """Of a range of three values each has a third of the trials: three of the best say nothing."""
    layers = IntDistribution(2, 4)
    one = study_of(lambda layers, rate: -layers, 60, layers=layers, rate=RATE)
    assert said(one, "upper end of the range of layers, 4")
    by_chance = study_of(lambda layers, rate: (rate - 0.5) ** 2, 60, layers=layers, rate=RATE)
    assert said(by_chance, "layers, 4") == said(by_chance, "layers, 2") == []


def test_where_a_search_was_ended_is_told():
    """And why; nothing once others have ended since."""
    study = with_values(*range(20))
    StudyRecord(study).ended = [len(study.trials), "Stopped: 5 trials brought no better value"]
    (sentence,) = said(study, "The search ended")
    assert sentence == (
        "The search ended after 20 trials. Stopped: 5 trials brought no better value."
    )
    study.add_trial(create_trial(value=0.0))
    assert said(study, "The search ended") == []


def with_rows(values, count, **arguments):
    """Return a study of an accuracy on so many validation rows."""
    study = with_values(*values, metric="val_accuracy", card="key")
    data = {
        "x": "float32(500, 4) abcd",
        "validation_data": f"float32({count}, 4) ab, int64({count},) cd",
    }
    study.set_user_attr("card:key", {"data": data, "arguments": arguments})
    return study


def test_too_few_validation_rows_are_told():
    """Where many trials are within the standard error of an accuracy; not where there are many."""
    values = [0.9, 0.895, 0.89, 0.885, *[0.5] * 8]
    assert said(with_rows(values, 100), "validation rows") == [
        "4 of 12 COMPLETE trials are within one standard error of the best, 0.03 for 100 "
        "validation rows: these are too few to tell them apart."
    ]
    assert said(with_rows(values, 100_000), "validation rows") == []
    assert said(with_rows(values, 100, cv="5 folds"), "validation rows") == []
    loss = with_values(*values, direction="minimize", metric="val_loss", card="key")
    assert said(loss, "validation rows") == []


@pytest.mark.parametrize(
    ("given", "rows"),
    [({"validation_split": 0.25}, 12), ({"validation_data": (ROWS[:24], ROWS[:24])}, 24)],
    ids=["split", "data"],
)
def test_the_rows_of_a_search_count(tmp_path, given, rows):
    """The card of a search says on how many rows its trials were validated."""

    def good(trial):
        model = Untrained(1, [{"val_accuracy": 0.9}])
        model.compile("sgd", "mse", metrics=["accuracy"])
        return model

    memory = optuna.storages.InMemoryStorage()
    tuner = tuner_in(tmp_path, good, "val_accuracy", n_trials=1, storage=memory)
    tuner.search(ROWS, ROWS, epochs=1, verbose=0, **given)
    for value in (0.89, 0.89, 0.89, *[0.1] * 8):
        tuner.study.add_trial(create_trial(value=value))
    (sentence,) = said(tuner.study, "within one standard error")
    assert f" for {rows} validation rows:" in sentence


def test_luck_that_is_larger_than_the_lead_is_told():
    """The standard error of the mean of several trainings beside the lead of the best."""
    assert said(with_values(0.9, 0.895, values=[0.88, 0.92]), "no lead") == [
        "The best trial leads the second by 0.005, and chance moves its value by 0.02 (standard "
        "error, from its 2 trainings): that is no lead."
    ]
    assert said(with_values(0.9, 0.8, values=[0.88, 0.92]), "no lead") == []
    assert said(with_values(0.9, 0.899), "no lead") == []


@pytest.mark.parametrize("chance", [0.0, 0.5])
def test_the_luck_that_confirm_saw_is_told(tmp_path, chance):
    """Of the executions of the search's best; where all come to one value there was none."""

    def lucky(trial):
        level = trial.suggest_float("level", 0, 1)
        is_searched = trial.study.study_name == "test"  # and not a study of executions
        luck = 0.0 if is_searched else chance * np.random.random()
        return Untrained(1, [{"val_mae": level + luck}])

    memory = optuna.storages.InMemoryStorage()
    tuner = tuner_in(tmp_path, lucky, "val_mae", n_trials=2, storage=memory)
    for level in (0.1, 0.11):
        tuner.enqueue({"level": level})
    run(tuner).confirm(2, 3, x=X, y=X, validation_data=(X, X), verbose=0)
    told = ["from confirm()'s 3 trainings" in sentence for sentence in said(tuner.study, "no lead")]
    assert told == ([True] if chance else [])


def test_sentences_are_in_the_summary_and_on_the_page(tmp_path):
    """Below the table of the one, above the figures of the other, and in a notebook."""
    study = study_of(lambda rate, units: 0.1 * units - 2 * rate, rate=RATE, units=UNITS)
    sentences = hints(Facts(study))
    assert sentences
    for told in (
        _report.summary(study, 3),
        _report.summary_html(study, 3),
        _report.write_page(study, tmp_path / "report.html").read_text().partition('id="curves"')[0],
    ):
        words = " ".join(told.split())
        assert all(sentence in words for sentence in sentences)


def test_nothing_is_said_of_several_objectives():
    """There is no single best trial."""
    study = optuna.create_study(directions=["maximize", "minimize"])
    study.add_trials([create_trial(values=[value, value]) for value in range(40)])
    assert hints(Facts(study)) == []
