"""Sentences on what a search can conclude, each on a study made for it, and silence elsewhere."""

import math

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from kerastune_optuna import _report
from kerastune_optuna._report.facts import Facts
from kerastune_optuna._report.hints import hints
from kerastune_optuna._study import StudyRecord
from tests.support.untrained import run, tuner_in

RATE = FloatDistribution(1e-4, 1e-1, log=True)
UNITS = IntDistribution(1, 64)
STEPS = (0.6180339887, 0.7548776662)  # whose multiples fill a range evenly


ODD = {
    "kerastune_optuna:excluded:abc": "why",
    "kerastune_optuna:excluded:0": [1],
    "kerastune_optuna:ended": [1],
    "kerastune_optuna:asked_to_stop": "x",
    "kerastune_optuna:keep_best": "x",
    "kerastune_optuna:card": [1],
}


@pytest.mark.parametrize(("key", "value"), ODD.items())
def test_odd_attributes_of_another_program_count_as_none(tmp_path, key, value):
    """A study is searched, stopped and shown though it has attributes that are not ours."""
    tuner = tuner_in(tmp_path, objective="val_mae", n_trials=2, pruner="none")
    tuner.study._storage.set_study_system_attr(tuner.study._study_id, key, value)
    run(tuner)
    assert tuner.results()["state"].tolist() == ["COMPLETE"] * 2
    tuner.report(tmp_path / "report.html")
    tuner.summary()


def study_of(value, **distributions):
    """Return a study of trials all over their ranges, whose values follow from their places."""
    study = optuna.create_study(study_name="made")
    for number in range(1, 61):
        steps = zip(distributions, STEPS, strict=False)
        at = {name: number * step % 1 for name, step in steps}
        params = {name: placed(distributions[name], place) for name, place in at.items()}
        study.add_trial(create_trial(value=value(**at), params=params, distributions=distributions))
    return study


def placed(distribution, place):
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(place * len(distribution.choices))]
    low, high = distribution.low, distribution.high
    if distribution.log:
        return float(low * (high / low) ** place)
    value = low + place * (high - low)
    return round(value) if isinstance(distribution, IntDistribution) else value


def said(study, part):
    return [sentence for sentence in hints(Facts(study)) if part in sentence]


def with_values(*values):
    study = optuna.create_study(study_name="made", direction="maximize")
    study.add_trials(create_trial(value=value) for value in values)
    return study


def test_the_best_at_an_end_of_a_range_is_told():
    """Which end of which parameter, and which way to widen it, on a logarithmic range too."""
    space = {"rate": RATE, "units": IntDistribution(8, 64)}
    study = study_of(lambda rate, units: 0.1 * units - 2 * rate, **space)
    assert said(study, "end of the range") == [
        "The best trials lie at the upper end of the range of rate, 0.1: let it go higher."
    ]
    study = study_of(lambda rate, units: units, **space)
    assert said(study, "end of the range") == [
        "The best trials lie at the lower end of the range of units, 8: let it go lower."
    ]


def test_pruned_trials_count_where_few_are_complete():
    """The end of a range is told where the cost falls with the rate, and 4 of 30 are COMPLETE."""
    study = optuna.create_study()
    for number in range(30):
        own = {"params": {"rate": 10 ** (-3 + number / 15)}, "distributions": {"rate": RATE}}
        epochs = 10 if number >= 26 else 3
        steps = {epoch: 1 - number / 30 + 1 / (epoch + 1) for epoch in range(epochs)}
        ended = {"value": steps[9]} if number >= 26 else {"user_attrs": {"best_value": steps[2]}}
        state = TrialState.COMPLETE if number >= 26 else TrialState.PRUNED
        study.add_trial(create_trial(state=state, intermediate_values=steps, **ended, **own))
    assert said(study, "upper end of the range of rate, 0.1")


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


def test_an_end_of_few_values_must_be_better():
    """Of a range of three values each has a third of the trials, and so mostly of the best."""
    layers = IntDistribution(2, 4)
    one = study_of(lambda layers, rate: -layers, layers=layers, rate=RATE)
    assert said(one, "upper end of the range of layers, 4")
    by_chance = study_of(lambda layers, rate: (rate - 0.5) ** 2, layers=layers, rate=RATE)
    assert said(by_chance, "layers, 4") == said(by_chance, "layers, 2") == []


def test_an_end_that_was_widened_is_told_no_more():
    """The range of the latest trial counts."""
    study = study_of(lambda rate: -rate, rate=RATE)
    assert said(study, "rate, 0.1: let it go higher")
    wider = {"rate": FloatDistribution(1e-4, 10, log=True)}
    study.add_trial(create_trial(value=0.0, params={"rate": 1.0}, distributions=wider))
    assert said(study, "end of the range") == []


def test_where_a_search_was_ended_is_told():
    """And why; nothing once others have ended since."""
    study = with_values(*range(20))
    StudyRecord(study).ended = [len(study.trials), "Stopped: 5 trials brought no better value"]
    told = ["The search ended after 20 trials. Stopped: 5 trials brought no better value."]
    assert said(study, "The search ended") == told
    study.add_trial(create_trial(value=0.0))
    assert said(study, "The search ended") == []


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
